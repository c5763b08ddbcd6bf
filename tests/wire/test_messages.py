"""Every message class: what is sent comes back, in one form; what is wrong is refused by field name."""

from __future__ import annotations

from enum import Enum
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from msgspec.structs import FieldInfo, fields, replace

from packwire.cbor import MAX_WHOLE, dumps, loads
from packwire.codec import MAX_COUNTS, MAX_STEPS, Body, FieldPlan, from_wire, plan_of, squeeze, to_wire, unsqueeze
from packwire.errors import Malformed, WireError
from packwire.messages import MESSAGES, Charge, Event, Health, Hello, Message, Soh, Usage
from wire_samples import MAXIMAL, TYPICAL

CLASSES = tuple(MESSAGES.values())

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_WHOLE, MAX_WHOLE) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.integers(0, 50), inner, max_size=5),
    max_leaves=10,
)
counts = st.lists(st.integers(0, 3) | st.integers(0, MAX_WHOLE), max_size=200).map(tuple)


def honest(model: type[Body]) -> st.SearchStrategy[Any]:
    """Any message of a class that can be sealed."""
    return st.builds(model, **{plan.name: _values(model, plan) for plan in plan_of(model)})


def _values(model: type[Body], plan: FieldPlan) -> st.SearchStrategy[Any]:
    field = next(field for field in fields(model) if field.name == plan.name)
    inner = get_args(field.type)[0]
    if plan.wire.counts:
        return counts
    if plan.name in ("battery", "boot"):
        value: st.SearchStrategy[Any] = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
    elif plan.name == "events":
        value = st.lists(st.tuples(st.text("ab", max_size=9), st.integers(0, 9)), max_size=3).map(tuple)
    elif plan.name == "ocv":
        value = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 5)), max_size=8).map(tuple)
    else:
        value = _scalar(plan, _marks(field))
        if plan.many:
            item = st.none() | value if "None" in str(inner) else value
            return st.lists(item, max_size=8).map(tuple)
    return st.none() | value if field.default is None else value


def _marks(field: FieldInfo) -> Meta:
    """All bounds of a field as one, also those of an optional's inside."""
    marks: list[Meta] = []
    hints = [field.type]
    while hints:
        hint = hints.pop()
        marks += [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Meta)]
        hints += [part for part in get_args(hint) if not isinstance(part, Meta)]
    bounds = {name: getattr(mark, name) for mark in marks for name in ("ge", "min_length", "max_length")}
    return Meta(**{name: bound for name, bound in bounds.items() if bound is not None})


def _scalar(plan: FieldPlan, bounds: Meta) -> st.SearchStrategy[Any]:
    if plan.nested is not None:
        return honest(plan.nested)
    if plan.choice is not None:
        return st.sampled_from(list(plan.choice))
    if plan.wire.per is not None:
        top = (MAX_STEPS - 1) / plan.wire.per
        return st.floats(0 if bounds.ge == 0 else -top, top)
    if bool in plan.types:
        return st.booleans()
    if int in plan.types:
        return st.integers(0, MAX_WHOLE)
    if bytes in plan.types:
        return st.binary(min_size=bounds.min_length or 0, max_size=32)
    most = bounds.max_length or 200
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=min(most, 30))


def attempt(model: type[Message], body: dict[int, Any]) -> Message | str:
    """The message, or why not. Anything but a WireError fails the test."""
    try:
        return from_wire(model, body)
    except WireError as problem:
        return str(problem)


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
@given(st.data())
def test_a_message_comes_back_in_fixed_point(model: type[Message], data: st.DataObject) -> None:
    """Rounded once to the wire's steps, then the same for ever: sealing again gives the same bytes."""
    message = data.draw(honest(model))
    first = dumps(to_wire(message))
    read = from_wire(model, loads(first))
    assert dumps(to_wire(read)) == first
    assert from_wire(model, loads(first)) == read
    for plan in plan_of(model):
        if plan.wire.per is not None and isinstance(getattr(message, plan.name), float):
            step = 1 / plan.wire.per
            assert getattr(read, plan.name) == pytest.approx(getattr(message, plan.name), abs=0.51 * step, rel=1e-12)


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
@given(st.dictionaries(st.integers(0, 45), plain, max_size=12))
def test_a_body_of_anything_is_read_or_refused(model: type[Message], body: dict[int, Any]) -> None:
    """A hostile box must not be able to stop the collector with an exception nobody expected."""
    message = attempt(model, body)
    if isinstance(message, str):
        assert message.startswith(model.__name__)
    else:
        dumps(to_wire(message))


@pytest.mark.parametrize("message", TYPICAL + MAXIMAL, ids=lambda message: type(message).__name__)
@given(st.data())
def test_one_field_of_anything_is_read_or_refused_by_name(message: Message, data: st.DataObject) -> None:
    """Near misses: an honest body with one value replaced by any other."""
    body = to_wire(message)
    key = data.draw(st.sampled_from(sorted(body)))
    name = next(plan.name for plan in plan_of(type(message)) if plan.wire.key == key)
    answer = attempt(type(message), body | {key: data.draw(plain)})
    assert isinstance(answer, Message) or f"{type(message).__name__}.{name}" in answer


@pytest.mark.parametrize(
    ("model", "key", "value", "reason"),
    [
        (Health, 1, "12", "Health.frames: Expected `int`, got `str`"),
        (Health, 1, True, "Health.frames: Expected `int`, got `bool`"),
        (Health, 1, -1, "Health.frames: Expected `int` >= 0"),
        (Health, 15, b"packbox", "Health.software: Expected `str`, got `bytes`"),
        (Health, 15, "x" * 201, "Health.software: Expected `str` of length <= 200"),
        (Health, 15, "a\x00b", "Health.software: Expected `str` matching"),
        (Health, 0, True, "Health.uptime_s: expected a whole number of 1/1, got bool"),
        (Health, 0, "9", "Health.uptime_s: expected a whole number of 1/1, got str"),
        (Health, 0, MAX_STEPS + 1, "Health.uptime_s: beyond"),
        (Charge, 6, 1, "Charge.interrupted: Expected `bool`, got `int`"),
        (Charge, 1, "b" * 15, "Charge.boot: Expected `str` matching"),
        (Charge, 1, "B" * 16, "Charge.boot: Expected `str` matching"),
        (Charge, 40, "solar", "Charge.charge_kind: 'solar' is not one that this side knows"),
        (Charge, 40, 7, "Charge.charge_kind: '7' is not one that this side knows"),
        (Event, 0, "x" * 9999, f"Event.event: '{'x' * 40}' is not one"),
        (Usage, 15, [1, 0, 2], "Usage.soc_temp_s: a histogram has no zero steps"),
        (Usage, 15, [-1, -1, 2], "Usage.soc_temp_s: a histogram has no zero steps"),
        (Usage, 15, [2, -1], "Usage.soc_temp_s: a histogram has no zero steps"),
        (Usage, 15, [-(2**53) + 1, 1], f"Usage.soc_temp_s: a histogram has at most {MAX_COUNTS} cells"),
        (Usage, 15, {0: 1}, "Usage.soc_temp_s: expected a list of counts"),
        (Usage, 19, [["cell_low"]], "Usage.events[0]: Expected `array` of length 2, got 1"),
        (Usage, 19, [["cell_low", -1]], "Usage.events[0][1]: Expected `int` >= 0"),
        (Soh, 12, [{1: 5}], "Soh.estimates: EstimateItem.method: is missing"),
        (Soh, 12, [[{0: "m/1"}]], "Soh.estimates"),
        (Soh, 12, {0: "m/1"}, "Soh.estimates: Expected `array`, got `EstimateItem`"),
        (Hello, 0, b"short", "Hello.public_key: Expected `bytes` of length >= 32"),
        (Hello, 1, "../../etc", "Hello.battery: Expected `str` matching"),
        (Hello, 1, "LEAF\n", "Hello.battery: Expected `str` matching"),
    ],
)
def test_a_wrong_value_is_refused_by_name(model: type[Message], key: int, value: object, reason: str) -> None:
    """The reason goes to the quarantine table, where a person must be able to act on it. Nothing is guessed."""
    samples = {type(message): message for message in TYPICAL}
    with pytest.raises(Malformed) as caught:
        from_wire(model, to_wire(samples[model]) | {key: value})
    assert str(caught.value).startswith(reason)


def test_fields_of_a_newer_box_are_ignored() -> None:
    """The contract grows by adding: an old book reads a new box."""
    for message in TYPICAL:
        body = to_wire(message) | {900: "news", 901: [1, 2, 3]}
        assert to_wire(from_wire(type(message), body)) == to_wire(message)


def test_a_field_the_box_left_out_is_its_default() -> None:
    """An old box is read by a new book."""
    assert from_wire(Health, {}) == Health()


def test_defaults_and_unknowns_cost_no_bytes() -> None:
    """Mobile data: what says nothing is not sent, also when it only rounds to nothing."""
    assert to_wire(Health()) == {}
    assert to_wire(Usage(observed_s=0.2, soc_temp_s=(0, 0, 0))) == {}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_not_a_number_never_becomes_a_message(bad: float) -> None:
    """A failed division in the box must stop there."""
    with pytest.raises(Malformed, match=r"Health\.uptime_s: cannot convert"):
        to_wire(Health(uptime_s=bad))


def test_a_number_too_large_for_the_wire_is_our_own_mistake_and_named() -> None:
    """Better no record than one that nobody can read."""
    with pytest.raises(Malformed, match=r"Usage\.energy_in_wh: beyond"):
        to_wire(Usage(energy_in_wh=1e300))
    with pytest.raises(Malformed, match=r"Event\.wall_ms: beyond"):
        to_wire(replace(TYPICAL[8], wall_ms=2**60))


@given(counts)
def test_a_histogram_comes_back_without_its_trailing_zeros(cells: tuple[int, ...]) -> None:
    """The reader knows the shape; zeros at the end say nothing."""
    end = max((n + 1 for n, count in enumerate(cells) if count), default=0)
    assert unsqueeze(squeeze(cells)) == cells[:end]


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_a_histogram_has_one_form(steps: list[int]) -> None:
    """Two forms of one meaning would be two digests."""
    try:
        cells = unsqueeze(steps)
    except ValueError:
        return
    assert squeeze(cells) == steps


def test_kinds_keep_their_numbers() -> None:
    """A number used twice would change the meaning of records that exist. (Keys: the contract file, test_schema.)"""
    assert {model.__name__: int(model.KIND) for model in CLASSES} == {
        "Hello": 1, "Charge": 2, "Drive": 3, "Rest": 4, "Usage": 5, "Soh": 6, "Cells": 7, "Event": 8, "Health": 9,
        "Reading": 10,
        "Consent": 11, "Log": 12,
    }  # fmt: skip


def test_every_choice_travels_as_its_word() -> None:
    """Numbers would need a table; words are read by a stranger."""
    for model in CLASSES:
        for plan in plan_of(model):
            if plan.choice is not None:
                assert issubclass(plan.choice, Enum)
                assert all(isinstance(member.value, str) for member in plan.choice)
