"""Read a card: what one person or firm says of one battery, or of a battery model, in TOML.

In:  a file with `by`, perhaps `on`, `method`, `document` for all, and `[facts]`: a value, a list of values, or a table
     with `value` and what differs for it (`on`, `method`, `document`, `sigma`, `conditions`).
Out: declarations, checked against the fields' rules.
Refuses the whole card for one wrong line, naming file, key and reason: half a card would be half a truth.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from packbook.core.declared import Declared, Scope, objection
from packbook.core.rules import Fields
from packbook.ports.trouble import PackbookError

CARD_BYTES_MAX: Final = 100_000

Said = bool | int | float | str  # bool only to be refused by name: TOML's true is Python's 1


class CardError(PackbookError):
    """The card cannot be taken. The text names file, key and reason; nothing was kept."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Item(_Strict):
    value: Said
    on: str | None = None
    method: str | None = None
    document: str | None = None
    sigma: float | None = None
    conditions: dict[str, float | str] = Field(default_factory=dict)


class _Card(_Strict):
    by: str
    on: str | None = None
    method: str | None = None
    document: str | None = None
    facts: dict[str, Said | _Item | list[Said | _Item]] = Field(min_length=1)


def read_card(path: Path, fields: Fields, scope: Scope, entered_ms: int) -> list[Declared]:
    """Raises CardError."""
    card = _read(path)
    said = [_declared(card, name, item, scope, entered_ms) for name, item in _items(path, card, fields)]
    for declared in said:
        why = objection(fields.fields.get(declared.name), declared)
        if why is not None:
            raise CardError(f"{path}: facts.{declared.name}: {why}")
    return said


def _read(path: Path) -> _Card:
    try:
        with path.open("rb") as file:
            text = file.read(CARD_BYTES_MAX + 1)
        if len(text) > CARD_BYTES_MAX:
            raise CardError(f"{path}: larger than {CARD_BYTES_MAX} bytes")
        return _Card.model_validate(_dates_as_text(tomllib.loads(text.decode())))
    except OSError as problem:
        raise CardError(f"{path}: cannot be read: {problem.strerror}") from problem
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise CardError(f"{path}: not TOML: {problem}") from problem
    except ValidationError as problem:
        raise CardError(f"{path}: {_said(problem)}") from problem


def _dates_as_text(told: object) -> object:
    """TOML knows dates; a card may write them with or without quotes."""
    match told:
        case dict():
            return {key: _dates_as_text(value) for key, value in told.items()}
        case list():
            return [_dates_as_text(value) for value in told]
        case date() if not isinstance(told, datetime):
            return told.isoformat()
    return told


def _said(problem: ValidationError) -> str:
    """A value may be of several shapes; what is wrong with the one that fitted best is what helps."""
    error = max(problem.errors(include_url=False), key=lambda error: len(error["loc"]))
    shapes = {"_Item", "bool", "int", "float", "str"}
    key = ".".join(str(part) for part in error["loc"] if part not in shapes and "[" not in str(part))
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such key"
    in_facts = error["loc"][0] == "facts" and len(error["loc"]) > 1 and error["type"] != "missing"
    return f"{key}: " + ("expected a number, a text, or a table with `value`" if in_facts else error["msg"])


def _items(path: Path, card: _Card, fields: Fields) -> Iterator[tuple[str, _Item]]:
    for name, said in card.facts.items():
        several = said if isinstance(said, list) else [said]
        rule = fields.fields.get(name)
        if rule is not None and len(several) != 1 and not rule.many:
            raise CardError(f"{path}: facts.{name}: holds one value, not {len(several)}")
        for item in several:
            yield name, item if isinstance(item, _Item) else _Item(value=item)


def _declared(card: _Card, name: str, item: _Item, scope: Scope, entered_ms: int) -> Declared:
    return Declared(
        name=name,
        value=item.value,
        by=card.by,
        entered_ms=entered_ms,
        on=item.on or card.on,
        method=item.method or card.method,
        document=item.document or card.document,
        sigma=item.sigma,
        scope=scope,
        conditions=item.conditions,
    )
