"""Messages as integer-keyed maps of fixed-point numbers, driven by the marks on a message's fields.

In:  a message, or the plain values that `packwire.cbor` read.
Out: the other of the two.
Each field carries `Wire(key, per=...)`: its key on the wire and how many wire steps one unit has (`per=10` on a
percent sends tenths). Rules of the contract: fields are only added; an unknown key is ignored; an absent key is the
field's default; a default, `None` and empty are not sent. Refuses wrong types without guessing: "12" is not 12.
A message is checked whenever it is packed and whenever it is read, not when it is made (docs/decisions/0013).
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, NewType, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct

from packwire.cbor import MAX_WHOLE
from packwire.errors import Malformed

MAX_STEPS: Final = 2**50  # up to here a scaled number comes back as the same number of steps, exactly
MAX_COUNTS: Final = 4096  # no histogram of the contract comes near; a longer one is an attack on memory
MISSING: Final = "Object missing required field `"  # as msgspec says it
SHOWN_CHARACTERS: Final = 40  # of a stranger's text, in our error messages


@dataclass(frozen=True, slots=True)
class Wire:
    """How one field travels. `per`: wire steps per unit, for numbers that may have a fraction."""

    key: int
    per: int | None = None
    counts: bool = False  # a histogram: runs of zeros travel as one negative number


class Body(Struct, frozen=True, kw_only=True):
    """Base of everything that travels in a record."""


BodyT = TypeVar("BodyT", bound=Body)


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """How one field of a message travels, worked out from its annotation."""

    name: str
    wire: Wire
    required: bool
    default: Any  # as it would travel; such a value is left out
    types: tuple[type, ...]  # every plain class its annotation is made of
    many: bool  # a tuple
    nested: type[Body] | None
    choice: type[Enum] | None


@cache
def plan_of(model: type[Body]) -> tuple[FieldPlan, ...]:
    """The wire plan of a message class, in key order. A field without a mark or a key twice is our own mistake."""
    plans: list[FieldPlan] = []
    for field in msgspec.structs.fields(model):
        marks = [m for m in getattr(field.type, "__metadata__", ()) if isinstance(m, Wire)]
        assert len(marks) == 1, f"{model.__name__}.{field.name} needs exactly one Wire mark"
        types_inside = tuple(_types_in(field.type))
        assert (marks[0].per is not None) == (float in types_inside), f"{model.__name__}.{field.name}: floats: a scale"
        plans.append(
            FieldPlan(
                name=field.name,
                wire=marks[0],
                required=field.required,
                default=None if field.default is NODEFAULT else _pack(field.default, marks[0]),
                types=types_inside,
                many=get_origin(get_args(field.type)[0]) is tuple,
                nested=next((t for t in types_inside if issubclass(t, Body)), None),
                choice=next((t for t in types_inside if issubclass(t, Enum)), None),
            )
        )
    keys = [p.wire.key for p in plans]
    assert len(set(keys)) == len(keys), f"{model.__name__} uses a key twice"
    return tuple(sorted(plans, key=lambda p: p.wire.key))


def _types_in(hint: Any) -> Iterator[type]:
    """Every plain class an annotation is made of."""
    if isinstance(hint, NewType):
        yield from _types_in(hint.__supertype__)
    elif get_origin(hint) is Annotated:
        yield from _types_in(get_args(hint)[0])
    elif get_origin(hint) in (tuple, Union, types.UnionType):
        for argument in get_args(hint):
            yield from _types_in(argument)
    elif isinstance(hint, type):
        yield hint


def to_wire(message: Body) -> dict[int, Any]:
    """A message as integer-keyed plain values, defaults and `None` left out. Raises Malformed as the reader would."""
    _check(message)
    out: dict[int, Any] = {}
    for plan in plan_of(type(message)):
        try:
            packed = _pack(getattr(message, plan.name), plan.wire)
        except (ValueError, OverflowError) as problem:  # the latter from infinity
            raise Malformed(f"{type(message).__name__}.{plan.name}: {problem}") from problem
        if packed is not None and packed != plan.default:
            out[plan.wire.key] = packed
    return out


def _check(message: Body) -> None:
    """Better no record than one that nobody can read. Parts are checked when they are packed themselves."""
    values = msgspec.structs.asdict(message)
    try:
        msgspec.convert(values, type(message), builtin_types=(bytes,))
    except msgspec.ValidationError:  # numpy's floats are floats, but msgspec wants to be told
        _built(type(message), {name: _as_float(value) for name, value in values.items()})


def _as_float(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_as_float(item) for item in value)
    return float(value) if isinstance(value, float) else value


def _pack(value: Any, wire: Wire) -> Any:
    if isinstance(value, Body):
        return to_wire(value)
    if isinstance(value, Enum):
        return value.value
    if wire.counts:
        return squeeze(value)
    if isinstance(value, tuple):
        return [_pack(item, wire) for item in value]
    if wire.per is not None and value is not None:
        return _within(round(value * wire.per), MAX_STEPS)
    if isinstance(value, int):
        return _within(value, MAX_WHOLE)
    return value


def _within(whole: int, limit: int) -> int:
    if not -limit <= whole <= limit:
        raise ValueError(f"beyond +-{limit} steps")
    return whole


def from_wire(model: type[BodyT], raw: object) -> BodyT:
    """Read integer-keyed plain values. Raises Malformed with class, field and reason."""
    if not isinstance(raw, dict):
        raise Malformed(f"{model.__name__}: expected a map, got {type(raw).__name__}")
    values: dict[str, Any] = {}
    for plan in plan_of(model):
        if plan.wire.key not in raw:
            continue
        try:
            values[plan.name] = _unpack(raw[plan.wire.key], plan)
        except ValueError as problem:
            raise Malformed(f"{model.__name__}.{plan.name}: {problem}") from problem
    return _built(model, values)


def checked(message: BodyT) -> BodyT:
    """A message without parts whose values a person gave. Raises Malformed with class, field and reason."""
    return _built(type(message), msgspec.structs.asdict(message))


def _built(model: type[BodyT], values: dict[str, Any]) -> BodyT:
    """Each value of its field's type and range, or Malformed. Text is no bytes: builtin_types keeps base64 out."""
    try:
        return msgspec.convert(values, model, builtin_types=(bytes,))
    except msgspec.ValidationError as problem:
        if isinstance(problem.__cause__, Malformed):
            raise problem.__cause__ from problem
        reason, _, place = str(problem).partition(" - at `$")
        if reason.startswith(MISSING):
            reason, place = "is missing", f".{reason.removeprefix(MISSING)}"
        raise Malformed(f"{model.__name__}{place.removesuffix('`')}: {reason}") from problem


def _unpack(raw: Any, plan: FieldPlan) -> Any:
    if plan.wire.counts:
        return unsqueeze(raw)
    if isinstance(raw, list):
        return tuple(None if item is None else _unpack(item, plan) for item in raw)  # `_built` says where None may be
    if plan.nested is not None:
        return from_wire(plan.nested, raw)
    if plan.choice is not None:
        return _chosen(plan.choice, raw)
    if plan.wire.per is not None:
        if type(raw) is not int:
            raise ValueError(f"expected a whole number of 1/{plan.wire.per}, got {type(raw).__name__}")
        return _within(raw, MAX_STEPS) / plan.wire.per
    return raw


def _chosen(choice: type[Enum], raw: object) -> Enum:
    for member in choice:
        if type(raw) is type(member.value) and raw == member.value:
            return member
    raise ValueError(f"{str(raw)[:SHOWN_CHARACTERS]!r} is not one that this side knows")


def shown(message: Body, *, all_fields: bool = True) -> dict[str, Any]:
    """By the fields' names, as JSON knows values: bytes in hex, None left out; else only what is not its default."""
    out: dict[str, Any] = {}
    for field in msgspec.structs.fields(type(message)):
        value = getattr(message, field.name)
        if value is not None and (all_fields or value != field.default):
            out[field.name] = _plain(value, all_fields=all_fields)
    return out


def _plain(value: Any, *, all_fields: bool) -> Any:
    if isinstance(value, Body):
        return shown(value, all_fields=all_fields)
    if isinstance(value, tuple):
        return [_plain(item, all_fields=all_fields) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.value if isinstance(value, Enum) else value


def squeeze(counts: Sequence[int]) -> list[int]:
    """A sparse histogram: -k stands for k zero cells, trailing zeros are left out."""
    out: list[int] = []
    zeros = 0
    for count in counts:
        if not 0 <= count <= MAX_WHOLE:
            raise ValueError(f"a count of {count} is not within 0..{MAX_WHOLE}")
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
        raise ValueError(f"expected a list of counts, got {type(raw).__name__}")
    out: list[int] = []
    for step in raw:
        if type(step) is not int:
            raise ValueError(f"expected whole numbers, got {type(step).__name__}")
        out.extend([step] if step > 0 else [0] * min(-step, MAX_COUNTS + 1))
        if len(out) > MAX_COUNTS:
            raise ValueError(f"a histogram has at most {MAX_COUNTS} cells")
    if squeeze(out) != raw:
        raise ValueError("a histogram has no zero steps, no two runs of zeros together and none at the end")
    return tuple(out)
