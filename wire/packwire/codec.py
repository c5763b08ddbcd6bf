"""CBOR with integer keys and fixed-point numbers, driven by the marks on a message's fields.

Each field of a message carries `Wire(key, per=...)`: its key on the wire and how many wire steps one unit has
(`per=10` on a percent sends tenths). Rules of the contract: fields are only added; an unknown key is ignored;
an absent key is the field's default; `None` and empty are not sent. Encoding is canonical (RFC 8949 §4.2.1).
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import cbor2
from pydantic import BaseModel, ConfigDict, ValidationError

from packwire.errors import Malformed

MAX_MESSAGE_BYTES: Final = 131_072  # AWS IoT Core's limit for one publish: managed brokers stay possible
MAX_COUNTS: Final = 4096  # no histogram of the contract comes near; a longer one is an attack on memory


@dataclass(frozen=True, slots=True)
class Wire:
    """How one field travels. `per`: wire steps per unit, for numbers that may have a fraction."""

    key: int
    per: int | None = None
    counts: bool = False  # a histogram: runs of zeros travel as one negative number


class Body(BaseModel):
    """Base of everything that travels in a record: frozen, unknown keys ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings", allow_inf_nan=False)


BodyT = TypeVar("BodyT", bound=Body)


@dataclass(frozen=True, slots=True)
class _Plan:
    name: str
    wire: Wire
    nested: type[Body] | None


@cache
def plan_of(model: type[Body]) -> tuple[_Plan, ...]:
    """The wire plan of a message class, in key order. A field without a mark or a key twice is our own mistake."""
    plans: list[_Plan] = []
    for name, hint in get_type_hints(model, include_extras=True).items():
        if name not in model.model_fields:
            continue
        marks = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Wire)]
        assert len(marks) == 1, f"{model.__name__}.{name} needs exactly one Wire mark"
        plans.append(_Plan(name, marks[0], _nested(hint)))
    keys = [p.wire.key for p in plans]
    assert len(set(keys)) == len(keys), f"{model.__name__} uses a key twice"
    return tuple(sorted(plans, key=lambda p: p.wire.key))


def _nested(hint: Any) -> type[Body] | None:
    if isinstance(hint, type):
        return hint if issubclass(hint, Body) else None
    if get_origin(hint) in (Annotated, tuple, Union, types.UnionType):
        return next((found for arg in get_args(hint) if (found := _nested(arg))), None)
    return None


def to_wire(message: Body) -> dict[int, Any]:
    """A message as integer-keyed plain values, defaults and `None` left out."""
    out: dict[int, Any] = {}
    for plan in plan_of(type(message)):
        value = getattr(message, plan.name)
        if value is None or value == type(message).model_fields[plan.name].default or value == ():
            continue
        out[plan.wire.key] = _pack(value, plan.wire)
    return out


def _pack(value: Any, wire: Wire) -> Any:
    if isinstance(value, Body):
        return to_wire(value)
    if isinstance(value, Enum):
        return value.value
    if wire.counts:
        return squeeze(value)
    if isinstance(value, tuple):
        return [_pack(item, wire) for item in value]
    if wire.per is not None:
        return round(value * wire.per)
    return value


def from_wire(model: type[BodyT], raw: object) -> BodyT:
    """Read integer-keyed plain values. Raises Malformed with class, field and reason."""
    if not isinstance(raw, Mapping):
        raise Malformed(f"{model.__name__}: expected a map, got {type(raw).__name__}")
    values: dict[str, Any] = {}
    for plan in plan_of(model):
        if plan.wire.key not in raw:
            continue
        try:
            values[plan.name] = _unpack(raw[plan.wire.key], plan)
        except (TypeError, ValueError, OverflowError) as problem:
            raise Malformed(f"{model.__name__}.{plan.name}: {problem}") from problem
    try:
        return model.model_validate(values)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Malformed(f"{model.__name__}.{field}: {first['msg']}") from problem


def _unpack(raw: Any, plan: _Plan) -> Any:
    if plan.wire.counts:
        return unsqueeze(raw)
    if isinstance(raw, list):
        return tuple(_unpack(item, plan) for item in raw)
    if plan.nested is not None:
        return from_wire(plan.nested, raw)
    if plan.wire.per is not None:
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise TypeError(f"expected a whole number of 1/{plan.wire.per}, got {type(raw).__name__}")
        return raw / plan.wire.per
    return raw


def squeeze(counts: Sequence[int]) -> list[int]:
    """A sparse histogram: -k stands for k zero cells, trailing zeros are left out."""
    out: list[int] = []
    zeros = 0
    for count in counts:
        if count < 0:
            raise ValueError(f"a count of {count} is below zero")
        if count == 0:
            zeros += 1
            continue
        if zeros:
            out.append(-zeros)
            zeros = 0
        out.append(count)
    return out


def unsqueeze(raw: object) -> tuple[int, ...]:
    """The inverse of `squeeze`, without the trailing zeros. Bounded: a hostile run length is refused."""
    if not isinstance(raw, list):
        raise TypeError(f"expected a list of counts, got {type(raw).__name__}")
    out: list[int] = []
    for step in raw:
        if isinstance(step, bool) or not isinstance(step, int):
            raise TypeError(f"expected whole numbers, got {type(step).__name__}")
        out.extend([step] if step > 0 else [0] * min(-step, MAX_COUNTS + 1))
        if step == 0 or len(out) > MAX_COUNTS:
            raise ValueError(f"a histogram has at most {MAX_COUNTS} cells and no zero steps")
    return tuple(out)


def dumps(value: object) -> bytes:
    """Canonical CBOR bytes."""
    return cbor2.dumps(value, canonical=True)


def loads(data: bytes) -> Any:
    """One CBOR value and nothing behind it. Raises Malformed."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise Malformed(f"{len(data)} bytes; a message has at most {MAX_MESSAGE_BYTES}")
    try:
        value = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as problem:
        raise Malformed(f"not CBOR: {problem}") from problem
    if isinstance(value, float) and not math.isfinite(value):
        raise Malformed("not a finite number")
    return value
