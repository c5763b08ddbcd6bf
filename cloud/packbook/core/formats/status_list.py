"""Which credentials were taken back: W3C Bitstring Status List 1.0, one bit a credential.

In:  the numbers of revoked credentials. Out: the unsigned status list credential; or whether a list has a bit set.
Refuses with `BadStatusList`. A list has 131072 bits at least, so that asking for one tells nobody which is meant;
unpacking stops at `BITS_MAX`, because a small file may unpack to a large one.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from packbook.core.formats.writing import day_utc

SUFFIX: Final = ".vc.json"
CONTEXT: Final = "https://www.w3.org/ns/credentials/v2"
TYPE: Final = "BitstringStatusListCredential"
BITS: Final = 131_072  # §6.1 Group privacy: the least
BITS_MAX: Final = 8 * 16_777_216
BASE64URL: Final = "u"  # multibase
GZIP_WINDOW: Final = 31


class BadStatusList(ValueError):
    """The list does not say whether the credential stands. It says why."""


def place(number: int) -> tuple[int, int]:
    """Which list and which bit of it a credential has, by its number from 0."""
    return divmod(number, BITS)


def status_list(url: str, issuer: str, at_ms: int, revoked: Iterable[int]) -> dict[str, Any]:
    """`revoked`: bits to set, in 0..BITS-1."""
    bits = bytearray(BITS // 8)
    for index in revoked:
        bits[index // 8] |= 0x80 >> index % 8  # the first bit is the leftmost (§3.2)
    packed = gzip.compress(bytes(bits), mtime=0)  # the same bits always give the same text
    return {
        "@context": [CONTEXT],
        "id": url,
        "type": ["VerifiableCredential", TYPE],
        "issuer": issuer,
        "validFrom": day_utc(at_ms),
        "credentialSubject": {
            "id": f"{url}#list",
            "type": "BitstringStatusList",
            "statusPurpose": "revocation",
            "encodedList": BASE64URL + base64.urlsafe_b64encode(packed).rstrip(b"=").decode(),
        },
    }


def is_revoked(entry: Mapping[str, Any], listed: Mapping[str, Any]) -> bool:
    """`entry`: a credential's status; `listed`: the status list credential, already checked. Raises BadStatusList."""
    subject = listed.get("credentialSubject")
    if not isinstance(subject, dict) or TYPE not in (listed.get("type") or ()):
        raise BadStatusList("not a status list credential")
    if listed.get("id") != entry.get("statusListCredential"):
        raise BadStatusList(f"another list: {listed.get('id')}, expected {entry.get('statusListCredential')}")
    if subject.get("statusPurpose") != entry.get("statusPurpose") or entry.get("statusPurpose") != "revocation":
        raise BadStatusList("not a list of revocations")
    index = str(entry.get("statusListIndex"))
    bits = _unpacked(subject.get("encodedList"))
    if not index.isascii() or not index.isdigit() or int(index) >= 8 * len(bits):
        raise BadStatusList(f"index {index} is not in the list")
    return bool(bits[int(index) // 8] & 0x80 >> int(index) % 8)


def _unpacked(encoded: object) -> bytes:
    if not isinstance(encoded, str) or not encoded.startswith(BASE64URL):
        raise BadStatusList("encodedList: expected base64url, which begins with u")
    text = encoded.removeprefix(BASE64URL)
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        unpacker = zlib.decompressobj(GZIP_WINDOW)
        bits = unpacker.decompress(packed, BITS_MAX // 8)
    except (ValueError, zlib.error) as problem:
        raise BadStatusList(f"encodedList: {problem}") from problem
    if not unpacker.eof or 8 * len(bits) < BITS:
        raise BadStatusList(f"encodedList: expected {BITS} to {BITS_MAX} bits")
    return bits
