"""Keys and certificates of a demo: its own authority, made anew at each start, whose root exists in memory only.

In:  the demo's folder, the names of its programs.
Out: files as a real fleet has them after enrolment, every private one readable by this user alone.
A box keeps its record key from one start to the next, as its history hangs on it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from packbook.adapters import authority
from packbook.adapters.private_file import PUBLIC_MODE, write_atomically
from packbook.adapters.signing_key import read_or_make_key
from packbook.clock import now_ms
from packwire.enrolment import BINDING_OID, bind
from packwire.ids import box_id_of

BINDING: Final = x509.ObjectIdentifier(BINDING_OID)
FLEET: Final = "demo"
BOX_DAYS: Final = 365
FOLDER_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Identity:
    """What a TLS partner needs: the authorities it trusts, its own certificate, its key."""

    ca: Path
    cert: Path
    key: Path


class DemoTrust:
    """Raises AuthorityError when something cannot be written or read."""

    def __init__(self, folder: Path, host: str, collector: str) -> None:
        self._folder = folder / "ca"
        shutil.rmtree(self._folder, ignore_errors=True)
        root = authority.make_root("Packbook demo", now_ms())
        authority.add_issuer(root, self._folder, now_ms())
        self._authority = authority.Authority(self._folder)
        self._authority.write_revoked([], now_ms())
        self.ca = self._folder / authority.CA_FILE
        self.crl = self._folder / authority.CRL_FILE
        self.broker = Identity(self.ca, *authority.make_server(root, [host], self._folder, now_ms()))
        self.collector = Identity(self.ca, *self._authority.issue_client(collector, self._folder, now_ms()))

    def box(self, folder: Path) -> Identity:
        """Provision the box that lives in `folder`, as enrolment would."""
        key_file = folder / "key" / "box.pem"
        key_file.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        record_key = read_or_make_key(key_file)
        tls_key = ec.generate_private_key(ec.SECP256R1())
        spki = tls_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        bound = x509.UnrecognizedExtension(BINDING, bind(record_key.public_key, record_key.sign, spki))
        binding: x509.Extension[x509.ExtensionType] = x509.Extension(BINDING, critical=False, value=bound)
        certificate = self._authority.issue(
            box_id_of(record_key.public_key), FLEET, tls_key.public_key(), binding, now_ms(), BOX_DAYS
        )
        chain = [certificate, self._authority.issuer.certificate]
        made = Identity(self.ca, folder / "key" / "tls.crt", folder / "key" / "tls.key")
        write_atomically(made.key, _pem(tls_key))
        pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
        write_atomically(made.cert, pem, PUBLIC_MODE)
        return made


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
