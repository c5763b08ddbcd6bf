"""What a box says about itself without signing it: the heartbeat (topic `h`) and its status (topic `s`).

In:  a `Health`; a reason to be gone; or that the box is here, and how far it takes the book to hold its store.
Out: the bytes that travel, and back. Nobody may conclude anything about a battery from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from packwire.cbor import MAX_WHOLE, dumps, loads
from packwire.codec import from_wire, to_wire
from packwire.errors import Malformed
from packwire.ids import HEX_ID, StoreId
from packwire.messages import Health

HEARTBEAT_EVERY_S: Final = 300  # 43 kB a day while awake (facts/transport.md §5)
HEARTBEAT_QUIET_S: Final = (
    3600  # while the car sleeps: the status topic tells who is online, and mobile data costs money
)
HEARTBEAT_EXPIRY_S: Final = 600  # two of them: an older one tells nothing
MAX_STATUS_BYTES: Final = 200

STANDING_EVERY_S: Final = 6 * 3600  # how often a box that stays online says again where it takes its store to stand

_ONLINE: Final = "online"
_OFFLINE: Final = "offline"


def encode_heartbeat(health: Health) -> bytes:
    return dumps(to_wire(health))


def decode_heartbeat(data: bytes) -> Health:
    """Raises Malformed with the field's name."""
    return from_wire(Health, loads(data, "heartbeat"))


@dataclass(frozen=True, slots=True)
class Standing:
    """The book holds records 1..`held` of this store, as far as its acks told the box."""

    store: StoreId
    held: int


@dataclass(frozen=True, slots=True)
class Status:
    online: bool
    reason: str = ""  # why it is gone: `stopped` (asked to), `lost` (the broker noticed)
    standing: Standing | None = None  # only of one that is online


ONLINE: Final = Status(online=True)
STOPPED: Final = Status(online=False, reason="stopped")
LOST: Final = Status(online=False, reason="lost")


def encode_status(status: Status) -> bytes:
    word = _ONLINE if status.online else _OFFLINE
    standing = "" if status.standing is None else f"{status.standing.store} {status.standing.held}"
    return " ".join(filter(None, (word, standing, status.reason))).encode()


def decode_status(data: bytes) -> Status:
    """Raises Malformed. What an `online` says besides may be from a newer box: kept as its reason."""
    if len(data) > MAX_STATUS_BYTES:
        raise Malformed(f"status: {len(data)} bytes; at most {MAX_STATUS_BYTES} are allowed")
    try:
        word, _, rest = data.decode().partition(" ")
    except UnicodeDecodeError as problem:
        raise Malformed("status: text is not UTF-8") from problem
    if word not in (_ONLINE, _OFFLINE):
        raise Malformed(f"status: expected `{_ONLINE} [<store> <held>]` or `{_OFFLINE} <reason>`")
    standing = _standing(rest) if word == _ONLINE else None
    return Status(word == _ONLINE, rest if standing is None else "", standing)


_STANDING: Final = re.compile(rf"({HEX_ID.pattern}) (0|[1-9][0-9]{{0,15}})", re.ASCII)


def _standing(text: str) -> Standing | None:
    found = _STANDING.fullmatch(text)
    if found is None or int(found[2]) > MAX_WHOLE:
        return None
    return Standing(StoreId(found[1]), int(found[2]))
