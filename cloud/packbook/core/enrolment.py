"""Who may have a certificate: codes, boxes, and how many wrong tries one address has.

In:  what is on file about a code and a box, and what was asked.
Out: nothing, or `Refused` with the reason in words for the person at the box. Pure; the desk keeps and issues.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MS_PER_S: Final = 1000
MS_PER_DAY: Final = 86_400_000
ANSWER_AGAIN_MS: Final = 30 * MS_PER_DAY  # a box that lost the answer on its last day online may ask again this long
WRONG_TRIES_MAX: Final = 10  # of one address within the window: a person mistypes, and many share an address
WINDOW_MS: Final = 10 * 60 * MS_PER_S
ADDRESSES_MAX: Final = 10_000  # remembered at once; beyond it the oldest is forgotten


class BoxState(StrEnum):
    """What an operator decided about a box."""

    ACTIVE = "active"
    REVOKED = "revoked"  # lost or stolen: nobody may speak with its key
    RETIRED = "retired"  # decommissioned: its history stays, it says no more
    REPLACED = "replaced"  # another card took its place


@dataclass(frozen=True, slots=True)
class Code:
    """A one-time code on file. The code itself is nowhere."""

    digest: bytes
    fleet: str
    made_ms: int
    expires_ms: int
    replaces: str | None = None
    used_ms: int | None = None
    used_by: str | None = None


@dataclass(frozen=True, slots=True)
class EnrolledBox:
    box: str
    public_key: bytes  # of its records, Ed25519
    fleet: str
    state: BoxState
    since_ms: int
    enrolled_ms: int
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that a box got."""

    serial: str
    box: str
    issuer: str
    tls_key: bytes  # SHA-256 of the SubjectPublicKeyInfo
    code: bytes | None
    issued_ms: int
    until_ms: int
    der: bytes
    revoked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A certificate request whose signatures hold: the box owns its record key and this TLS key."""

    box: str
    public_key: bytes
    tls_key: bytes


class Refused(Exception):
    """No certificate. `unknown`: who asks did not show that he may; else: he is known, and may not."""

    def __init__(self, reason: str, *, unknown: bool) -> None:
        super().__init__(reason)
        self.unknown = unknown


def refuse_code(code: Code | None, asked: Asked, now_ms: int) -> None:
    """Raise Refused unless this code gives this box a certificate now."""
    if code is None:
        raise Refused("this code was never made here", unknown=True)
    if code.used_by is not None and code.used_by != asked.box:
        raise Refused("this code was used by another box", unknown=True)
    if code.used_by is None and now_ms >= code.expires_ms:
        raise Refused("this code has expired", unknown=True)


def refuse_box(box: EnrolledBox | None) -> None:
    """Raise Refused when an operator decided that this box may not speak."""
    if box is not None and box.state is not BoxState.ACTIVE:
        raise Refused(f"this box is {box.state}", unknown=False)


def refuse_renewal(box: EnrolledBox | None, shown: Issued | None, newest: Issued | None, now_ms: int) -> None:
    """Raise Refused unless this box may have its next certificate.

    `shown`: the certificate of the TLS connection, as we have it on file. A box that was away until its certificate
    ran out cannot show one: then the record key, which signed the request, stands for it.
    """
    if box is None or newest is None:
        raise Refused("this box is not enrolled here", unknown=True)
    refuse_box(box)
    if shown is None:
        if now_ms < newest.until_ms:
            raise Refused("show the certificate that is to be renewed", unknown=True)
    elif shown.box != box.box:
        raise Refused("this certificate is of another box", unknown=False)
    elif shown.revoked_ms is not None:
        raise Refused("this certificate is revoked", unknown=False)


def same_again(issued: Issued | None, asked: Asked, now_ms: int) -> bool:
    """Whether the answer got lost: then the same certificate is the answer once more."""
    return (
        issued is not None
        and issued.revoked_ms is None
        and (issued.box, issued.tls_key) == (asked.box, asked.tls_key)
        and now_ms - issued.issued_ms < ANSWER_AGAIN_MS
        and now_ms < issued.until_ms
    )


class WrongTries:
    """Counts wrong tries by address in a sliding window. Bounded; forgets with the process, which costs nobody."""

    def __init__(self, most: int = WRONG_TRIES_MAX) -> None:
        self._most = most
        self._tries: OrderedDict[str, list[int]] = OrderedDict()

    def wait_ms(self, address: str, now_ms: int) -> int:
        """How long this address must wait, 0 when it may try."""
        recent = [at for at in self._tries.get(address, []) if now_ms - at < WINDOW_MS]
        return 0 if len(recent) < self._most else recent[-self._most] + WINDOW_MS - now_ms

    def count(self, address: str, now_ms: int) -> None:
        tries = self._tries.setdefault(address, [])
        tries.append(now_ms)
        del tries[: -self._most]
        self._tries.move_to_end(address)
        while len(self._tries) > ADDRESSES_MAX:
            self._tries.popitem(last=False)
