"""One command of the operator to one box (topic `x`, retained until it expires): a closed list, signed.

In:  a `Command` and the operator's key; or the bytes of one, the box it came to and the key that this box trusts.
Out: the bytes that travel; or the `Command`, believed.
Each has an id, so that it is done once however often it comes, and a time after which nobody does it any more.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from packwire.cbor import MAX_WHOLE, dumps, loads
from packwire.codec import Body, Wire, from_wire, to_wire
from packwire.errors import Malformed
from packwire.ids import ID_BYTES, BoxId
from packwire.signed import open_whole, sign_whole
from packwire.topics import Leaf, topic

MAX_COMMAND_BYTES: Final = 512  # the largest honest one is below 180
MAX_LOG_LINES: Final = 64


class CommandKind(StrEnum):
    """All there are. None writes to the car; `inspect` asks it, and only where the owner agreed to that."""

    LOG_SLICE = "log_slice"  # send the newest lines of the box's log (needs the owner's consent to diagnostics)
    RESEND = "resend"  # send the records from `from_seq` on again
    INSPECT = "inspect"  # ask the car everything once more, now (needs the owner's consent to polling)


class Command(Body, frozen=True, kw_only=True):
    id: Annotated[bytes, Wire(0), Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
    command: Annotated[CommandKind, Wire(1)]
    expires_ms: Annotated[int, Wire(2), Meta(ge=1, le=MAX_WHOLE)]
    from_seq: Annotated[Annotated[int, Meta(ge=1, le=MAX_WHOLE)] | None, Wire(3)] = None
    lines: Annotated[int, Wire(4), Meta(ge=1, le=MAX_LOG_LINES)] = MAX_LOG_LINES

    def __post_init__(self) -> None:
        if (self.command is CommandKind.RESEND) != (self.from_seq is not None):
            raise Malformed("Command: from_seq belongs to resend, and resend needs it")


def new_command_id() -> bytes:
    return secrets.token_bytes(ID_BYTES)


def encode_command(command: Command, box: BoxId, sign: Callable[[bytes], bytes], public_key: bytes) -> bytes:
    return sign_whole(dumps(to_wire(command)), topic(box, Leaf.COMMAND), sign, public_key)


def decode_command(data: bytes, box: BoxId, public_key: bytes) -> Command:
    """Raises BadSignature, or Malformed with the field's name."""
    if len(data) > MAX_COMMAND_BYTES:
        raise Malformed(f"command: {len(data)} bytes; at most {MAX_COMMAND_BYTES} are allowed")
    payload = open_whole(data, topic(box, Leaf.COMMAND), public_key, "command")
    return from_wire(Command, loads(payload, "command"))
