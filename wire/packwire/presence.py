"""What a box says about itself without signing it: the heartbeat (topic `h`) and its status (topic `s`).

In:  a `Health`, or a reason to be gone.
Out: the bytes that travel, and back. Nobody may conclude anything about a battery from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from packwire.cbor import dumps, loads
from packwire.codec import from_wire, to_wire
from packwire.errors import Malformed
from packwire.messages import Health

HEARTBEAT_EVERY_S: Final = 300  # 43 kB a day while awake (facts/transport.md §5)
HEARTBEAT_QUIET_S: Final = (
    3600  # while the car sleeps: the status topic tells who is online, and mobile data costs money
)
HEARTBEAT_EXPIRY_S: Final = 600  # two of them: an older one tells nothing
MAX_STATUS_BYTES: Final = 200

_ONLINE: Final = "online"
_OFFLINE: Final = "offline"


def encode_heartbeat(health: Health) -> bytes:
    return dumps(to_wire(health))


def decode_heartbeat(data: bytes) -> Health:
    """Raises Malformed with the field's name."""
    return from_wire(Health, loads(data, "heartbeat"))


@dataclass(frozen=True, slots=True)
class Status:
    online: bool
    reason: str = ""  # why it is gone: `stopped` (asked to), `lost` (the broker noticed)


ONLINE: Final = Status(online=True)
STOPPED: Final = Status(online=False, reason="stopped")
LOST: Final = Status(online=False, reason="lost")


def encode_status(status: Status) -> bytes:
    word = _ONLINE if status.online else _OFFLINE
    return " ".join(filter(None, (word, status.reason))).encode()


def decode_status(data: bytes) -> Status:
    """Raises Malformed."""
    if len(data) > MAX_STATUS_BYTES:
        raise Malformed(f"status: {len(data)} bytes; at most {MAX_STATUS_BYTES} are allowed")
    try:
        word, _, reason = data.decode().partition(" ")
    except UnicodeDecodeError as problem:
        raise Malformed("status: text is not UTF-8") from problem
    if word not in (_ONLINE, _OFFLINE):
        raise Malformed(f"status: expected `{_ONLINE}` or `{_OFFLINE} <reason>`")
    return Status(word == _ONLINE, reason)
