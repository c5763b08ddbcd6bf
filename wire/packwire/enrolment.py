"""What box and book must agree on to enrol: paths, one-time codes, how a certificate is tied to a box's records.

In:  a code as a person typed it; a box's record key and its TLS public key.
Out: the code in its one form; the binding, a statement of the record key that the TLS key is of the same box.
Paths and formats are those of EST (RFC 7030), so that another EST server can take the book's place.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from packwire.cbor import dumps
from packwire.errors import BadSignature, Malformed
from packwire.seal import Sign
from packwire.signed import open_whole, sign_whole

EST: Final = "/.well-known/est"
CA_CERTS: Final = f"{EST}/cacerts"
ENROL: Final = f"{EST}/simpleenroll"
REENROL: Final = f"{EST}/simplereenroll"
ADDRESSES: Final = "/.well-known/packbook"  # ours, not EST's: JSON that tells a box where its broker is
PKCS10: Final = "application/pkcs10"
PKCS7: Final = "application/pkcs7-mime; smime-type=certs-only"

BOOT_FILE: Final = "packbox-enrol.toml"  # on the boot partition of a new card

# A code: 26 random characters and 2 that check them, in groups of four. Crockford's alphabet: no I, L, O, U.
ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MISREAD: Final = str.maketrans("OIL", "011")
RANDOM_CHARS: Final = 26  # of 5 bits: 130 bits, nothing that anybody guesses
CHECK_CHARS: Final = 2
GROUP_CHARS: Final = 4
CHECK_PRIME: Final = 1021  # largest below 32^2: one wrong or two swapped neighbouring characters always show

# An object identifier made from a random UUID (ITU-T X.667): nobody has to be asked for it.
BINDING_OID: Final = "2.25.294109899502262952482853940167564730164"
BINDING_PURPOSE: Final = "packbook/tls-key/1"
FINGERPRINT_CHARS_MIN: Final = 32  # hex digits: 128 bits, as many as a person types


def new_code() -> str:
    """A one-time code in the form that people see."""
    text = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARS))
    return grouped(text + _check_of(text))


def plain_code(typed: str) -> str:
    """The code without groups, in capitals, misread letters set right. Raises Malformed with what is wrong."""
    text = "".join(typed.upper().replace("-", " ").split()).translate(MISREAD)
    if len(text) != RANDOM_CHARS + CHECK_CHARS:
        raise Malformed(f"code: expected {RANDOM_CHARS + CHECK_CHARS} letters and digits, got {len(text)}")
    if not set(text) <= set(ALPHABET):
        raise Malformed("code: has a character that no code has")
    if _check_of(text[:RANDOM_CHARS]) != text[RANDOM_CHARS:]:
        raise Malformed("code: mistyped, its check characters do not fit")
    return text


def grouped(code: str) -> str:
    return "-".join(code[at : at + GROUP_CHARS] for at in range(0, len(code), GROUP_CHARS))


def code_digest(code: str) -> bytes:
    """What the book keeps of a code. 130 random bits need neither salt nor slowness."""
    return hashlib.sha256(plain_code(code).encode()).digest()


def _check_of(text: str) -> str:
    rest = 0
    for character in text:
        rest = (rest * 32 + ALPHABET.index(character)) % CHECK_PRIME
    return ALPHABET[rest // 32] + ALPHABET[rest % 32]


def fingerprint(certificate_der: bytes) -> str:
    """SHA-256 of a certificate, in hex."""
    return hashlib.sha256(certificate_der).hexdigest()


def plain_fingerprint(typed: str) -> str:
    """As typed or scanned, at least the first 32 digits. Raises Malformed."""
    text = typed.lower().replace(":", "").replace("-", "").replace(" ", "")
    if not FINGERPRINT_CHARS_MIN <= len(text) <= 64 or not set(text) <= set("0123456789abcdef"):
        raise Malformed(f"CA fingerprint: expected {FINGERPRINT_CHARS_MIN} to 64 hexadecimal digits")
    return text


def bind(public_key: bytes, sign: Sign, tls_public_key_der: bytes) -> bytes:
    """The record key's statement about a TLS key, as a certificate extension's content (a DER octet string).

    The record key, then its signature for BINDING_PURPOSE over itself and SHA-256 of the SubjectPublicKeyInfo.
    """
    payload = dumps([public_key, hashlib.sha256(tls_public_key_der).digest()])
    statement = public_key + sign_whole(payload, BINDING_PURPOSE, sign, public_key)
    assert 128 <= len(statement) < 256  # one long-form length byte
    return bytes([0x04, 0x81, len(statement)]) + statement


def bound_key(binding: bytes, tls_public_key_der: bytes) -> bytes:
    """The record key that made this statement about this TLS key. Raises Malformed or BadSignature."""
    if binding[:2] != b"\x04\x81" or len(binding) < 3 or len(binding) - 3 != binding[2]:
        raise Malformed("binding: not an octet string")
    public_key, statement = binding[3:35], binding[35:]
    payload = open_whole(statement, BINDING_PURPOSE, public_key, "binding")
    if payload != dumps([public_key, hashlib.sha256(tls_public_key_der).digest()]):
        raise BadSignature("binding: the record key did not sign this TLS key")
    return public_key
