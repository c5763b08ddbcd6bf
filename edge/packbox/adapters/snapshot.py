"""The fold's state as bytes, and back.

In:  frozen dataclasses of plain values and numpy arrays. Out: msgpack: `[magic, version, body]`.
Refuses with SnapshotError bytes that are no snapshot, or one of a version this box does not know.
A symmetric matrix is saved as its lower triangle: a state is written with every commit.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, get_origin

import msgspec
import numpy as np

from packbox.core.box import STATE_VERSION
from packbox.core.sample import NEVER_NS, Col
from packbox.ports import PackboxError

MAGIC: Final = "packbox-state"
_KINDS: Final = frozenset("biuf")  # bool, integers, floats: nothing that could hold an object

# Version 1 named the fields of these; they are positions since. Their names tell them apart.
_NAMED_IN_1: Final = {
    frozenset(names): names
    for names in (
        ("first", "last"),
        ("soc_pct", "charge_in_ah", "unknown_s"),
        (
            "at_s", "loud_s", "soc_pct", "sigma_pct", "charge_in_ah", "moved_ah", "counted_s", "unknown_s",
            "sampling_a2s2", "lost_ah2", "soc_told_pct",
        ),
    )
}  # fmt: skip

_BY_COLUMN: Final = frozenset({"held", "held_ns", "newest", "low", "high", "first", "last"})
_COLUMNS_IN_2: Final = 25
# Version 2 named these fields; they are positions since.
_NAMED_IN_2: Final = ("soc_pct", "current_a", "low", "high", "done", "capacity_ah", "at_s", "n", "evidence")

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
    if not 1 <= frame.version <= STATE_VERSION:
        raise SnapshotError(f"saved state: version {frame.version}, this program knows version {STATE_VERSION}")
    try:
        if frame.version < STATE_VERSION:
            body = msgspec.msgpack.decode(frame.body)
            body = _from_2(_from_1(body) if frame.version == 1 else body)
            return msgspec.convert(body, state_type, dec_hook=_from_wire, str_keys=False)
        return msgspec.msgpack.decode(frame.body, type=state_type, dec_hook=_from_wire)
    except (msgspec.DecodeError, ValueError, TypeError, AssertionError) as problem:
        raise SnapshotError(f"saved state: broken ({problem})") from problem


def _to_wire(value: object) -> object:
    if isinstance(value, np.ndarray):
        if value.ndim == 2 and len(value) > 1 and np.array_equal(value, value.T):
            return [value.dtype.str, [-len(value)], value[np.tril_indices(len(value))].tobytes()]
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
    flat = np.frombuffer(data, dtype)
    if len(shape) == 1 and shape[0] < 0:
        whole = np.empty((-shape[0], -shape[0]), dtype)
        rows, columns = np.tril_indices(-shape[0])
        whole[rows, columns] = whole[columns, rows] = flat
        return whole
    return flat.reshape(shape)


def _from_1(value: object) -> object:
    """A charge that is being counted while the software changes gives no reading of its own."""
    if isinstance(value, dict):
        if {"rise", "fall", "legs"} <= value.keys():
            value = value | {"rise": None, "fall": None, "legs": []}
        names = _NAMED_IN_1.get(frozenset(value))
        if names is not None:
            return [_from_1(value[name]) for name in names]
        return {key: _from_1(item) for key, item in value.items()}
    return [_from_1(item) for item in value] if isinstance(value, list) else value


def _from_2(value: object) -> object:
    """Swings were kept as pairs of anchors: those of the session under way give no reading of their own.

    And samples had fewer columns: nothing is known of those that came since.
    """
    if isinstance(value, dict):
        value = value | {"moves": []} if "moves" in value else value
        value = {key: _widened(item) if key in _BY_COLUMN else _from_2(item) for key, item in value.items()}
        return [value[name] for name in _NAMED_IN_2] if value.keys() == set(_NAMED_IN_2) else value
    return [_from_2(item) for item in value] if isinstance(value, list) else value


def _widened(value: object) -> object:
    """An array over the columns of samples, where it is one."""
    match value:
        case [str(kind), [int(n)], bytes(data)] if n == _COLUMNS_IN_2:
            held = np.frombuffer(data, kind)
            later = np.full(len(Col) - n, NEVER_NS if held.dtype.kind == "i" else np.nan, held.dtype)
            return [kind, [len(Col)], np.concatenate((held, later)).tobytes()]
        case _:
            return _from_2(value)
