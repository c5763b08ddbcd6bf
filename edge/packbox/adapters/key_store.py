"""The box's keys in files of one folder that only its user may enter.

In:  the folder with the record key.
Out: `FileKeyStore`: that key, the TLS key and certificate in force, and the TLS key that waits for its certificate.
Key and chain in force are one file, so that a power cut leaves the old pair or the new one, never half of each. Its
first line says from when to when the certificate is good, in milliseconds since 1970: to read that out of the
certificate itself takes libraries that would cost a running box 11 MB (docs/budgets.md). TLS passes over such a line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packbox.adapters.durable import write_atomically
from packbox.adapters.identity import FILE_MODE, KeyFileError, only_ours
from packbox.ports import HeldCertificate, Signer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

TLS_FILE: Final = "tls.pem"
NEXT_FILE: Final = "tls-next.pem"
GOOD: Final = re.compile(rb"good ([0-9]+) ([0-9]+)\n")
CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\n.+?-----END CERTIFICATE-----\n", re.DOTALL)


class FileKeyStore:
    """`ports.KeyStore`. Raises KeyFileError for files that are not as we wrote them."""

    def __init__(self, folder: Path, records: Signer) -> None:
        self._folder = folder
        self._records = records

    @property
    def records(self) -> Signer:
        return self._records

    @property
    def tls_files(self) -> tuple[Path, Path]:
        return self._folder / TLS_FILE, self._folder / TLS_FILE

    def next_tls_key(self) -> EllipticCurvePrivateKey:
        file = self._folder / NEXT_FILE
        if file.exists():
            waiting = _read_key(file)
            if not self._is_in_force(waiting):  # else the power went between the two steps of `keep`
                return waiting
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        _write(file, _pem(key))
        return key

    def keep(self, chain: bytes) -> None:
        waiting = self._folder / NEXT_FILE
        held = _read_chain(chain, waiting)
        good = f"good {held.from_ms} {held.until_ms}\n".encode()
        _write(self._folder / TLS_FILE, good + held.chain + _pem(_read_key(waiting)))
        waiting.unlink(missing_ok=True)

    def held(self) -> HeldCertificate | None:
        file = self._folder / TLS_FILE
        if not file.exists():
            return None
        pem = _read(file)
        good, chain = GOOD.match(pem), b"".join(CERTIFICATE.findall(pem))
        if good is None or not chain:  # brought along, or damaged
            return _read_chain(pem, file)
        return HeldCertificate(int(good[1]), int(good[2]), chain)

    def _is_in_force(self, key: EllipticCurvePrivateKey) -> bool:
        from cryptography import x509

        held = self.held()
        return held is not None and x509.load_pem_x509_certificate(held.chain).public_key() == key.public_key()


def _read_chain(pem: bytes, file: Path) -> HeldCertificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError as problem:
        raise KeyFileError(f"{file}: holds no certificate; enrol again") from problem
    return HeldCertificate(
        int(chain[0].not_valid_before_utc.timestamp() * 1000),
        int(chain[0].not_valid_after_utc.timestamp() * 1000),
        b"".join(one.public_bytes(Encoding.PEM) for one in chain),
    )


def _read_key(file: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    try:
        key = serialization.load_pem_private_key(_read(file), password=None)
    except (ValueError, TypeError) as problem:
        raise KeyFileError(f"{file}: not a readable private key; remove it, a new one is made") from problem
    if not isinstance(key, EllipticCurvePrivateKey):
        raise KeyFileError(f"{file}: holds a {type(key).__name__}, expected a P-256 key; remove it")
    return key


def _read(file: Path) -> bytes:
    try:
        only_ours(file)
        return file.read_bytes()
    except OSError as problem:
        raise KeyFileError(f"{file}: cannot be read ({problem.strerror})") from problem


def _write(file: Path, data: bytes) -> None:
    try:
        write_atomically(file, data, FILE_MODE)
    except OSError as problem:
        raise KeyFileError(f"{file}: cannot be written ({problem.strerror})") from problem


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
