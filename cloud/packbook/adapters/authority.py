"""The fleet's certificate authority: a root that the operator takes away, and an issuer that stays online.

In:  a folder (`ca_dir`), the root's file while there is a key ceremony, certificate requests of boxes.
Out: certificates and the list of revoked ones, as files that broker, boxes and book read.
The root signs issuers and server certificates only. The issuer signs clients only: it is limited to client
authentication and to names that are no addresses, so that a thief of the book's disk cannot play the broker.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from packbook.adapters.private_file import PUBLIC_MODE, SECRET_MODE, write_atomically
from packbook.core.enrolment import Issued
from packbook.ports.trouble import AuthorityError

ROOT_DAYS: Final = 20 * 365  # longer than a car: changing it means visiting every box
ISSUER_DAYS: Final = 5 * 365
SERVER_DAYS: Final = 730
BACKDATED: Final = datetime.timedelta(days=1)  # for clocks that are a little wrong, and time zones set wrong
ROOT_FILE: Final = "root.pem"
CA_FILE: Final = "ca.pem"  # root and issuers: what broker and boxes trust
CRL_FILE: Final = "crl.pem"
CLIENT_NAME: Final = re.compile(r"(?![0-9a-f]{16}$)[A-Za-z0-9_-]{1,63}")  # a dot: OpenSSL takes it for a host's name
NO_ADDRESSES: Final = (
    x509.DNSName(""),
    x509.IPAddress(ip_network("0.0.0.0/0")),
    x509.IPAddress(ip_network("::/0")),
)


@dataclass(frozen=True, slots=True)
class Issuer:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Authority:
    """What stays online. Raises AuthorityError when the folder is not one that `packbook ca init` made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = read_certificate(folder / ROOT_FILE)
        self.issuers = tuple(_issuer(path) for path in _issuer_files(folder))
        if not self.issuers:
            raise AuthorityError(f"{folder}: there is no issuer here: run 'packbook ca init'")

    @property
    def issuer(self) -> Issuer:
        """The newest one; earlier ones only keep their lists of revoked certificates."""
        return self.issuers[-1]

    @property
    def certificates(self) -> Sequence[x509.Certificate]:
        """Root first, then the issuers, newest first."""
        return (self.root, *(issuer.certificate for issuer in reversed(self.issuers)))

    def issue(
        self, box: str, fleet: str, tls_key: ec.EllipticCurvePublicKey, binding: x509.Extension[x509.ExtensionType],
        now_ms: int, days: int,
    ) -> x509.Certificate:  # fmt: skip
        """A box's certificate. It carries the binding, so that it also tells whose records these are."""
        now, issuer = _time(now_ms), self.issuer
        until = min(now + datetime.timedelta(days=days), issuer.certificate.not_valid_after_utc)
        if until <= now:
            raise AuthorityError(f"{self.folder}: the issuer has run out: run 'packbook ca renew-issuer'")
        name = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, fleet), x509.NameAttribute(NameOID.COMMON_NAME, box)]
        )
        builder = (
            _builder(name, tls_key, issuer.certificate, now, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(binding.value, critical=False)
        )
        return builder.sign(issuer.key, hashes.SHA256())

    def issue_client(self, name: str, folder: Path, now_ms: int) -> tuple[Path, Path]:
        """Certificate with its issuer's, and key, for a collector or operator: clients of the broker that are no boxes.

        Raises AuthorityError for a name that would be a box's or looks like that of a host, which our issuer may not
        certify.
        """
        if CLIENT_NAME.fullmatch(name) is None:
            raise AuthorityError(f"{name!r}: expected letters, digits, _ and -, and not the name of a box")
        key, now, issuer = ec.generate_private_key(ec.SECP256R1()), _time(now_ms), self.issuer
        until = min(now + datetime.timedelta(days=SERVER_DAYS), issuer.certificate.not_valid_after_utc)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            _builder(subject, key.public_key(), issuer.certificate, now, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        certificate = builder.sign(issuer.key, hashes.SHA256())
        cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
        _write(key_file, _key_pem(key), SECRET_MODE)
        _write(cert_file, _pem(certificate) + _pem(issuer.certificate), PUBLIC_MODE)
        return cert_file, key_file

    def write_revoked(self, revoked: Iterable[Issued], now_ms: int) -> None:
        """One list per issuer, in one file.

        They stay valid as long as their issuer: the file lies on the broker's own disk, an old date would only lock
        every box out when somebody forgot to reload it.
        """
        everyone = list(revoked)
        lists = [_revoked_by(issuer, everyone, _time(now_ms)) for issuer in self.issuers]
        _write(self.folder / CRL_FILE, b"".join(_pem(one) for one in lists), PUBLIC_MODE)


# --- key ceremony: with the root at hand ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Root:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_root(name: str, now_ms: int) -> Root:
    key, now = ec.generate_private_key(ec.SECP256R1()), _time(now_ms)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} root")])
    builder = (
        _builder(subject, key.public_key(), None, now, now + datetime.timedelta(days=ROOT_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return Root(builder.sign(key, hashes.SHA256()), key)


def write_root(root: Root, file: Path, passphrase: bytes | None) -> None:
    """Certificate and key in one file for the operator to take away. Raises AuthorityError when it is there already."""
    if file.exists():
        raise AuthorityError(f"{file}: is there already; a root is never written over")
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    key = root.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    _write(file, _pem(root.certificate) + key, SECRET_MODE)


def read_root(file: Path, passphrase: bytes | None) -> Root:
    try:
        pem = file.read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        key = serialization.load_pem_private_key(pem, passphrase)
    except OSError as problem:
        raise AuthorityError(f"{file}: cannot be read ({problem.strerror})") from problem
    except (ValueError, TypeError) as problem:
        raise AuthorityError(f"{file}: not a root, or not its passphrase: {problem}") from problem
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise AuthorityError(f"{file}: key and certificate do not belong together")
    return Root(certificate, key)


def add_issuer(root: Root, folder: Path, now_ms: int) -> Issuer:
    """The next issuer under this root; the folder is made if there is none. Raises AuthorityError."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    root_file = folder / ROOT_FILE
    if root_file.exists() and read_certificate(root_file) != root.certificate:
        raise AuthorityError(f"{root_file}: the authority here has another root")
    key, now, number = ec.generate_private_key(ec.SECP256R1()), _time(now_ms), len(_issuer_files(folder)) + 1
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{_common_name(root.certificate)} issuer {number}")])
    until = min(now + datetime.timedelta(days=ISSUER_DAYS), root.certificate.not_valid_after_utc)
    builder = (
        _builder(subject, key.public_key(), root.certificate, now, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.NameConstraints(None, list(NO_ADDRESSES)), critical=True)
    )
    issuer = Issuer(builder.sign(root.key, hashes.SHA256()), key)
    _write(root_file, _pem(root.certificate), PUBLIC_MODE)
    file = folder / f"issuer-{number}.pem"
    _write(file.with_suffix(".key"), _key_pem(key), SECRET_MODE)  # first: a certificate without a key is of no use
    _write(file, _pem(issuer.certificate), PUBLIC_MODE)
    authority = Authority(folder)
    _write(folder / CA_FILE, b"".join(_pem(one) for one in authority.certificates), PUBLIC_MODE)
    return issuer


def known_issuers(folder: Path) -> list[bytes]:
    """What stands between a box's certificate and the root, DER: whoever exports needs no key for it."""
    path = folder / CA_FILE
    try:
        known = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise AuthorityError(f"{path}: cannot be read ({problem})") from problem
    return [one.public_bytes(serialization.Encoding.DER) for one in known if one.subject != one.issuer]


def make_server(root: Root, hosts: Sequence[str], folder: Path, now_ms: int) -> tuple[Path, Path]:
    """A server's certificate and key as files named after its first host. Raises AuthorityError."""
    key, now = ec.generate_private_key(ec.SECP256R1()), _time(now_ms)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    builder = (
        _builder(subject, key.public_key(), root.certificate, now, now + datetime.timedelta(days=SERVER_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_address(host) for host in hosts]), critical=False)
    )
    certificate = builder.sign(root.key, hashes.SHA256())
    cert_file, key_file = folder / f"server-{hosts[0]}.pem", folder / f"server-{hosts[0]}.key"
    _write(key_file, _key_pem(key), SECRET_MODE)
    _write(cert_file, _pem(certificate), PUBLIC_MODE)
    return cert_file, key_file


def check_client(pem: bytes, ca_pem: bytes, now_ms: int) -> x509.Certificate:
    """A box's certificate against any authority's certificates. Raises AuthorityError with the first thing wrong."""
    try:
        chain = x509.load_pem_x509_certificates(pem)
        trusted = x509.load_pem_x509_certificates(ca_pem)
    except ValueError as problem:
        raise AuthorityError(f"not certificates in PEM: {problem}") from problem
    leaf, now = chain[0], _time(now_ms)
    _follow(leaf, [*chain[1:], *trusted], set(trusted))
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise AuthorityError(f"valid from {leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}")
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as problem:
        raise AuthorityError("has no extended key usage; client authentication is needed") from problem
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise AuthorityError("is not for client authentication")
    return leaf


def _follow(leaf: x509.Certificate, between: Sequence[x509.Certificate], trusted: set[x509.Certificate]) -> None:
    """From issuer to issuer up to one that is trusted. Raises AuthorityError."""
    one = leaf
    for _ in range(len(between) + 1):
        if one in trusted:
            return
        above = next((other for other in between if _issued(other, one)), None)
        if above is None:
            break
        one = above
    raise AuthorityError(f"does not descend from the authority: nobody issued {one.subject.rfc4514_string()}")


def _issued(above: x509.Certificate, one: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(above)
        return above.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False


# --- helpers ----------------------------------------------------------------------------------------------------


def _builder(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate | None,
    now: datetime.datetime,
    until: datetime.datetime,
) -> x509.CertificateBuilder:
    """`issuer` None: it signs itself."""
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(
        key if issuer is None else _public(issuer.public_key(), "issuer")
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(above, critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _revoked_by(issuer: Issuer, revoked: Iterable[Issued], now: datetime.datetime) -> x509.CertificateRevocationList:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - BACKDATED)
        .next_update(max(issuer.certificate.not_valid_after_utc, now))
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    name = fingerprint_of(issuer.certificate)
    for one in revoked:
        if one.issuer == name and one.revoked_ms is not None:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(one.serial, 16))
                .revocation_date(_time(one.revoked_ms))
                .build()
            )
    return builder.sign(issuer.key, hashes.SHA256())


def fingerprint_of(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def milliseconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp() * 1000)


def _time(at_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)


def _address(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as problem:
        raise AuthorityError(f"{host!r}: neither a host name nor an address: {problem}") from problem


def _issuer_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("issuer-*.pem"), key=lambda path: int(path.stem.removeprefix("issuer-")))


def _issuer(file: Path) -> Issuer:
    key_file = file.with_suffix(".key")
    certificate = read_certificate(file)
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except OSError as problem:
        raise AuthorityError(f"{key_file}: cannot be read ({problem.strerror})") from problem
    except (ValueError, TypeError) as problem:
        raise AuthorityError(f"{key_file}: not a private key: {problem}") from problem
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise AuthorityError(f"{key_file}: does not belong to {file}")
    return Issuer(certificate, key)


def read_certificate(file: Path) -> x509.Certificate:
    """The first one of a PEM file. Raises AuthorityError."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except OSError as problem:
        raise AuthorityError(f"{file}: cannot be read ({problem.strerror}); 'packbook ca init' makes it") from problem
    except ValueError as problem:
        raise AuthorityError(f"{file}: not a certificate: {problem}") from problem


def _common_name(certificate: x509.Certificate) -> str:
    name = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return str(name).removesuffix(" root")


def _public(key: object, what: str) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise AuthorityError(f"{what}: expected a P-256 key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(thing: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return thing.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        write_atomically(path, data, mode)
    except OSError as problem:
        raise AuthorityError(f"{path}: cannot be written ({problem.strerror})") from problem
