"""Whom a stranger trusts beforehand: keys of books, roots of certificates; and what certificates say of a box.

In:  what was given with `--trust`; a bundle's certificates.
Out: `Trust`; for each box's key the certificate that names it, and whether it descends from a trusted root.
Refuses files that hold neither a key nor a certificate. Nothing is fetched: what is not in the file is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509.oid import NameOID, ObjectIdentifier

from packwire.enrolment import BINDING_OID, bound_key
from packwire.errors import WireError
from packwire.ids import PUBLIC_KEY_BYTES

TRUST_FILE_BYTES_MAX: Final = 1_000_000
CHAIN_MAX: Final = 8  # certificates from a box to its root


class TrustError(ValueError):
    """What was given as trusted cannot be used. Nothing was checked."""


@dataclass(frozen=True, slots=True)
class Trust:
    keys: frozenset[bytes] = frozenset()  # Ed25519, of books
    roots: tuple[x509.Certificate, ...] = ()
    enrolled_only: bool = False  # a box whose certificate does not lead to one of the roots is a fault


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate that names a box's record key."""

    key: bytes
    box: str  # the name in it
    fleet: str
    root: str | None  # the trusted root it descends from, if it does
    until: datetime


def read_trust(given: Sequence[str], fleets: Sequence[str] = ()) -> Trust:
    """Each a key in 64 hexadecimal digits, or a file with a key or certificates. Raises TrustError.

    `fleets`: root certificates of fleets. Where one is given, every box must have been enrolled by one of them.
    """
    keys: set[bytes] = set()
    roots: list[x509.Certificate] = []
    for text in given:
        found = _hex_key(text)
        if found is not None:
            keys.add(found)
            continue
        data = _file(text)
        try:
            key = load_pem_public_key(data) if b"PUBLIC KEY" in data else None
            certificates = _certificates(data) if key is None else []
        except (ValueError, UnsupportedAlgorithm) as problem:
            raise TrustError(f"{text}: holds neither a public key nor a certificate") from problem
        if key is not None and not isinstance(key, Ed25519PublicKey):
            raise TrustError(f"{text}: a {type(key).__name__}, expected an Ed25519 key")
        if isinstance(key, Ed25519PublicKey):
            keys.add(key.public_bytes_raw())
        roots += certificates
    for name in fleets:
        data = _file(name)
        try:
            roots += _certificates(data)
        except ValueError as problem:
            raise TrustError(f"{name}: holds no certificate") from problem
    return Trust(frozenset(keys), tuple(roots), enrolled_only=bool(fleets))


def _hex_key(text: str) -> bytes | None:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return None
    return key if len(key) == PUBLIC_KEY_BYTES else None


def _file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return file.read(TRUST_FILE_BYTES_MAX)
    except OSError as problem:
        raise TrustError(f"{name}: cannot be read ({problem.strerror}), and it is no key in hexadecimal") from problem


def _certificates(data: bytes) -> list[x509.Certificate]:
    if data.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificates(data)
    return [x509.load_der_x509_certificate(data)]


def certified(ders: Sequence[bytes], trust: Trust) -> tuple[list[Certified], list[str]]:
    """The certificates that name a record key, and what is wrong with the others."""
    certificates, troubles = [], []
    for number, der in enumerate(ders, 1):
        try:
            certificates.append(x509.load_der_x509_certificate(der))
        except ValueError:
            troubles.append(f"certificate {number} of {len(ders)} cannot be read")
    found = []
    for certificate in certificates:
        try:
            one = _of_box(certificate, certificates, trust)
        except (ValueError, WireError, UnsupportedAlgorithm) as problem:
            troubles.append(f"certificate {certificate.serial_number:x}: {problem}")
            continue
        if one is not None:
            found.append(one)
    return found, troubles


def _of_box(certificate: x509.Certificate, others: Sequence[x509.Certificate], trust: Trust) -> Certified | None:
    try:
        binding = certificate.extensions.get_extension_for_oid(ObjectIdentifier(BINDING_OID)).value
    except x509.ExtensionNotFound:
        return None  # of an authority, or of another kind
    assert isinstance(binding, x509.UnrecognizedExtension)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    root = _root_of(certificate, others, trust)
    return Certified(
        key=bound_key(binding.value, spki),
        box=_name(certificate, NameOID.COMMON_NAME),
        fleet=_name(certificate, NameOID.ORGANIZATION_NAME),
        root=_name(root, NameOID.COMMON_NAME) if root else None,
        until=certificate.not_valid_after_utc,
    )


def _root_of(
    certificate: x509.Certificate, others: Sequence[x509.Certificate], trust: Trust
) -> x509.Certificate | None:
    """Upwards by issuer. Validity in time is not asked: a history outlives the certificates of its time."""
    below = certificate
    for _ in range(CHAIN_MAX):
        for root in trust.roots:
            if _issued(root, below):
                return root
        above = next((one for one in others if one != below and _may_issue(one) and _issued(one, below)), None)
        if above is None:
            return None
        below = above
    return None


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _issued(above: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _name(certificate: x509.Certificate, oid: ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(oid)
    return str(values[0].value)[:64] if values else ""
