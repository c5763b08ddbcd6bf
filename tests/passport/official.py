"""The official schemas, and what they let through: keys nobody knows, times without a zone, odd numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import FormatChecker
from jsonschema.validators import validator_for

from packbook.core.formats.groups import Model

UPDATED = re.compile(r"(?:last|.*)update[d]?|date", re.IGNORECASE)
DAY_UTC = re.compile(r"\d{4}-\d{2}-\d{2}T00:00:00Z")


@cache
def document(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def refusals(schema: Any, made: object) -> list[str]:
    """What the official schema says against it, by the draft that the schema itself names."""
    return [f"{error.json_path}: {error.message}" for error in validator(json.dumps(schema)).iter_errors(made)]


@cache
def validator(schema: str) -> Any:
    loaded = json.loads(schema)
    draft = validator_for(loaded)
    draft.check_schema(loaded)
    return draft(loaded, format_checker=FormatChecker())


def strangers(schema: Any, made: object) -> list[str]:
    """Keys that the schema does not know. It would take them in silence, and a misspelt one with them."""
    return list(_strangers(schema, schema, made, "$"))


def _strangers(root: Any, node: Any, made: object, at: str) -> Iterator[str]:
    parts = list(_parts(root, node))
    if isinstance(made, Mapping):
        known = {key: inner for part in parts for key, inner in part.get("properties", {}).items()}
        for key, value in made.items():
            if key in known:
                yield from _strangers(root, known[key], value, f"{at}.{key}")
            else:
                yield f"{at}.{key}"
    elif isinstance(made, list):
        items = next((part["items"] for part in parts if "items" in part), {})
        for number, value in enumerate(made):
            yield from _strangers(root, items, value, f"{at}[{number}]")


def _parts(root: Any, node: Any) -> Iterator[Any]:
    """A schema with all that it refers to."""
    yield node
    if "$ref" in node:
        yield from _parts(root, root["components"]["schemas"][node["$ref"].rpartition("/")[2]])
    for part in node.get("allOf", ()):
        yield from _parts(root, part)


def odd_times(made: object, at: str = "$") -> list[str]:
    """Times that are not the beginning of a day in UTC: ambiguous without a zone, and telling with an hour."""
    return [
        f"{path}: {value}"
        for path, key, value in leaves(made, at)
        if UPDATED.fullmatch(key) and not DAY_UTC.fullmatch(str(value))
    ]


def odd_numbers(made: object, model: Model) -> list[str]:
    """Numbers outside what the place believes, fractions where the model counts, and true for one."""
    places = {place.name: place for group in model.groups for place in group.places}
    odd = []
    for path, key, value in leaves(made):
        place = places.get(key)
        if place is None:
            continue
        within = isinstance(value, int | float) and place.least <= value * place.divide <= place.most
        whole = not place.whole or type(value) is int
        if not (within and whole) or isinstance(value, bool):
            odd.append(f"{path}: {value}")
    return odd


def leaves(made: object, at: str = "$", key: str = "") -> Iterator[tuple[str, str, object]]:
    if isinstance(made, Mapping):
        for name, value in made.items():
            yield from leaves(value, f"{at}.{name}", name)
    elif isinstance(made, list):
        for number, value in enumerate(made):
            yield from leaves(value, f"{at}[{number}]", key)
    else:
        yield at, key, made
