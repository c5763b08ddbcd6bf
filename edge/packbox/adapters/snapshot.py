"""The fold's state as bytes, and back.

In:  frozen dataclasses of plain values and numpy arrays. Out: msgpack: `[magic, version, body]`.
Refuses with SnapshotError bytes that are no snapshot, or one of a version this box does not know.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, get_origin

import msgspec
import numpy as np

from packbox.core.box import STATE_VERSION
from packbox.ports import PackboxError

MAGIC: Final = "packbox-state"
_KINDS: Final = frozenset("biuf")  # bool, integers, floats: nothing that could hold an object

State = TypeVar("State")


class SnapshotError(PackboxError):
    """The saved state cannot be used. The records that led to it are safe; start a new store beside them."""


class _Frame(msgspec.Struct, array_like=True, frozen=True):
    magic: str
    version: int
    body: msgspec.Raw


def dump(state: object) -> bytes:
    """The same state always gives the same bytes."""
    body = _in_order(msgspec.to_builtins(state, builtin_types=(bytes,), enc_hook=_to_wire))
    return msgspec.msgpack.encode([MAGIC, STATE_VERSION, body])


def load(data: bytes, state_type: type[State]) -> State:
    """Raises SnapshotError."""
    try:
        frame = msgspec.msgpack.decode(data, type=_Frame)
    except msgspec.DecodeError as problem:
        raise SnapshotError(f"saved state: not a snapshot of this program ({problem})") from problem
    if frame.magic != MAGIC:
        raise SnapshotError("saved state: not a snapshot of this program")
    if frame.version != STATE_VERSION:
        raise SnapshotError(f"saved state: version {frame.version}, this program knows version {STATE_VERSION}")
    try:
        return msgspec.msgpack.decode(frame.body, type=state_type, dec_hook=_from_wire)
    except (msgspec.DecodeError, ValueError, TypeError, AssertionError) as problem:
        raise SnapshotError(f"saved state: broken ({problem})") from problem


def _to_wire(value: object) -> object:
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), value.tobytes()]
    raise NotImplementedError(f"a state holds no {type(value).__name__}")


def _in_order(value: object) -> object:
    """Equal mappings may have been filled in another order, for example by another cut into batches."""
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_in_order(item) for item in value]
    return value


def _from_wire(wanted: type, raw: Any) -> object:  # noqa: ANN401  msgspec hands over plain values
    if (get_origin(wanted) or wanted) is not np.ndarray:
        raise NotImplementedError(f"a state holds no {wanted}")
    kind, shape, data = raw
    dtype = np.dtype(kind)
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array of {kind}")
    return np.frombuffer(data, dtype).reshape(shape)
