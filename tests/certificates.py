"""Certificate authorities for tests, and what they issue: good certificates and every kind of bad one."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR: Final = datetime.timedelta(hours=1)
DAY: Final = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path
    serial: int


class Authority:
    """One self-signed authority. Everything it makes lies in `folder`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")])
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = self._builder(self.name, self.key, -HOUR, DAY, ca=True).add_extension(usage, critical=True)
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(_pem(self.key))

    def issue(
        self,
        name: str,
        *,
        file: str | None = None,
        server: bool = False,
        host: str = "127.0.0.1",
        begins: datetime.timedelta = -HOUR,
        ends: datetime.timedelta = DAY,
    ) -> Pair:
        """A client's certificate, or with `server` that of `host`; times are from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key, begins, ends, ca=False)
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if server:
            builder = builder.add_extension(x509.SubjectAlternativeName([_name_of(host)]), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        pair = Pair(self.folder / f"{file or name}.crt", self.folder / f"{file or name}.key", certificate.serial_number)
        pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(_pem(key))
        return pair

    def revocation_list(self, *revoked: Pair, ends: datetime.timedelta = DAY) -> Path:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now - 2 * HOUR)
            .next_update(now + ends)
        )
        for pair in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(pair.serial).revocation_date(now - HOUR).build()
            builder = builder.add_revoked_certificate(entry)
        file = self.folder / "crl.pem"
        file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return file

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        begins: datetime.timedelta,
        ends: datetime.timedelta,
        *,
        ca: bool,
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )


def make_certificates(folder: Path, client: str) -> None:
    """A CA, a server for 127.0.0.1 and a client named after the box, all for a day."""
    authority = Authority(folder)
    authority.issue("127.0.0.1", file="server", server=True)
    authority.issue(client, file="client")


def _name_of(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
