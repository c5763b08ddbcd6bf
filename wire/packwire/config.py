"""The configuration that the operator sends down to one box (topic `c`, retained): whole, versioned, signed.

In:  a `Config` and the operator's key; or the bytes of one, the box it came to and the key that this box trusts.
Out: the bytes that travel; or the `Config`, believed.
Refuses a setting that this side does not know: a configuration is taken as a whole or not at all. What is not here
cannot be set from afar: no keys but the operator's own successor, no file names, no commands, no TLS, no polling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

from msgspec import Meta

from packwire.cbor import MAX_WHOLE, dumps, loads
from packwire.codec import Body, Wire, from_wire, plan_of, to_wire
from packwire.errors import Malformed
from packwire.ids import BoxId
from packwire.messages import Count
from packwire.signed import open_whole, sign_whole
from packwire.topics import Leaf, topic

MAX_CONFIG_BYTES: Final = 2048  # the largest honest one is below 700
TRIAL_H: Final = 72.0  # hours of trying to reach the book after which a configuration is taken back

Name = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:-]*\Z")]
Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"\A[A-Za-z0-9][A-Za-z0-9.:-]*\Z")]


class Config(Body, frozen=True, kw_only=True):
    """All that may be set from afar. Absent: as the box's own settings say. Each version states everything anew."""

    version: Annotated[int, Wire(0), Meta(ge=1, le=MAX_WHOLE)]  # only a higher one replaces a lower one
    made_ms: Annotated[Count, Wire(1)] = 0
    profile: Annotated[Name | None, Wire(2)] = None
    battery: Annotated[Name | None, Wire(3)] = None
    commit_every_s: Annotated[Annotated[float, Meta(ge=0.1, le=600)] | None, Wire(4, per=10)] = None
    heartbeat_every_s: Annotated[Annotated[float, Meta(ge=60, le=86_400)] | None, Wire(5, per=1)] = None
    usage_every_s: Annotated[Annotated[float, Meta(ge=600, le=2_592_000)] | None, Wire(6, per=1)] = None
    soh_every_s: Annotated[Annotated[float, Meta(ge=600, le=2_592_000)] | None, Wire(7, per=1)] = None
    broker_host: Annotated[Host | None, Wire(8)] = None
    broker_port: Annotated[Annotated[int, Meta(ge=1, le=65_535)] | None, Wire(9)] = None
    trial_h: Annotated[float, Wire(10, per=10), Meta(ge=1, le=720)] = TRIAL_H
    operator_key: Annotated[Annotated[bytes, Meta(min_length=32, max_length=32)] | None, Wire(11)] = (
        None  # from now on this one
    )


SETTABLE: Final = tuple(name for name in Config.__struct_fields__ if name not in ("version", "made_ms"))


def encode_config(config: Config, box: BoxId, sign: Callable[[bytes], bytes], public_key: bytes) -> bytes:
    return sign_whole(dumps(to_wire(config)), topic(box, Leaf.CONFIG), sign, public_key)


def decode_config(data: bytes, box: BoxId, public_key: bytes) -> Config:
    """Raises BadSignature, or Malformed with the field's name."""
    if len(data) > MAX_CONFIG_BYTES:
        raise Malformed(f"config: {len(data)} bytes; at most {MAX_CONFIG_BYTES} are allowed")
    raw = loads(open_whole(data, topic(box, Leaf.CONFIG), public_key, "config"), "config")
    unknown = set(raw) - {plan.wire.key for plan in plan_of(Config)} if isinstance(raw, dict) else set()
    if unknown:
        raise Malformed(f"config: key {min(unknown)} is not a setting that this side knows")
    return from_wire(Config, raw)
