"""The contract as data, read off the marks of the message classes: for other languages, for docs, for review.

In:  nothing; `packwire.messages`, `packwire.topics` and the record's envelope are the source.
Out: `contract()` as plain JSON values, `tables()` as the Markdown of docs/wire.md; `v1.json` beside this file is
     the released text. `python -m packwire.schema --write` brings it up to date; the difference is what to review.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from packwire.codec import Body, FieldPlan, plan_of
from packwire.command import Command
from packwire.config import Config
from packwire.messages import BYTE_BUDGET, EXTREME_UNIT, MESSAGES, SCHEMA, TYPICAL_BYTES
from packwire.seal import ENVELOPE_KEYS
from packwire.topics import MANNERS, ROOT

FILE: Final = Path(__file__).with_name(f"v{SCHEMA}.json")

# What messages are made of beside plain values, in the order of first use.
PARTS: Final = tuple(dict.fromkeys(p.nested for model in MESSAGES.values() for p in plan_of(model) if p.nested))

# The last word of a field's name (style: the unit is the last word).
UNITS: Final = {
    "a": "A", "ah": "Ah", "bytes": "B", "degc": "°C", "k": "K", "km": "km", "kmh": "km/h", "kw": "kW", "kwh": "kWh",
    "h": "h", "lean_pct_per_v": "%/V", "ms": "ms", "mv": "mV", "ohm": "Ω", "pct": "%", "s": "s", "v": "V", "wh": "Wh",
}  # fmt: skip


def contract() -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "topics": [
            {
                "topic": f"{ROOT}/<box>/{leaf.value}",
                "direction": "up" if manner.up else "down",
                "qos": manner.qos,
                "retain": manner.retain,
                "carries": manner.carries,
            }
            for leaf, manner in MANNERS.items()
        ],
        "envelope": [{"key": key, "name": name, "type": kind} for key, (name, kind) in ENVELOPE_KEYS.items()],
        "kinds": [
            {
                "kind": int(kind),
                "name": kind.name.lower(),
                "typical_bytes": TYPICAL_BYTES[kind],
                "largest_bytes": BYTE_BUDGET[kind],
                "fields": _fields(model),
            }
            for kind, model in MESSAGES.items()
        ],
        "down": [{"name": model.__name__.lower(), "fields": _fields(model)} for model in (Config, Command)],
        "parts": [{"name": part.__name__, "fields": _fields(part)} for part in PARTS],
        "extreme_units": {kind.value: unit for kind, unit in EXTREME_UNIT.items()},
    }


def contract_text() -> str:
    return json.dumps(contract(), indent=1, ensure_ascii=False) + "\n"


def tables() -> str:
    """One Markdown table for the topics, one for the envelope, one per kind and part."""
    now = contract()
    parts = [
        "## Topics\n",
        _table(
            ("topic", "direction", "QoS", "retained", "carries"),
            [
                (f"`{t['topic']}`", t["direction"], t["qos"], "yes" if t["retain"] else "no", t["carries"])
                for t in now["topics"]
            ],
        ),
        "## Payload of a record\n",
        _table(("key", "name", "type"), [(e["key"], f"`{e['name']}`", e["type"]) for e in now["envelope"]]),
        "## Kinds\n",
        _table(
            ("kind", "name", "typical B", "largest B"),
            [(k["kind"], f"`{k['name']}`", k["typical_bytes"], k["largest_bytes"]) for k in now["kinds"]],
        ),
    ]
    for body in (*now["kinds"], *now["down"], *now["parts"]):
        rows = [
            (f["key"], f"`{f['name']}`", f["type"], f["unit"] or "", _scale(f), _default(f)) for f in body["fields"]
        ]
        parts += [f"### `{body['name']}`\n", _table(("key", "name", "type", "unit", "step", "when absent"), rows)]
    units = [(f"`{kind}`", unit) for kind, unit in now["extreme_units"].items()]
    parts += ["### `event`: unit of `extreme`\n", _table(("event", "unit"), units)]
    return "\n".join(parts)


def _fields(model: type[Body]) -> list[dict[str, Any]]:
    return [_field(plan) for plan in plan_of(model)]


def _field(plan: FieldPlan) -> dict[str, Any]:
    return {
        "key": plan.wire.key,
        "name": plan.name,
        "type": _type(plan),
        "unit": UNITS.get(plan.name, UNITS.get(plan.name.rsplit("_", 1)[-1])),
        "steps_per_unit": plan.wire.per,
        "required": plan.required,
        "default": _plain(plan.default),
    }


def _type(plan: FieldPlan) -> str:
    if plan.wire.counts:
        return "histogram"
    if plan.choice is not None:
        return "one of " + ", ".join(str(member.value) for member in plan.choice)
    named = {float: "number", int: "whole number", str: "text", bytes: "bytes", bool: "true or false"}
    inside = [getattr(t, "__name__", "") if plan.nested is t else named.get(t, "") for t in plan.types]
    words = [word for word in inside if word]
    if not plan.many:
        return words[0]
    return "list of " + (words[0] if len(words) == 1 else f"[{', '.join(words)}]")


def _plain(packed: Any) -> Any:  # noqa: ANN401 - a default is any plain value
    return packed.hex() if isinstance(packed, bytes) else packed


def _scale(field: dict[str, Any]) -> str:
    per = field["steps_per_unit"]
    return "" if per is None else "1" if per == 1 else f"1/{per}"


def _default(field: dict[str, Any]) -> str:
    if field["required"]:
        return "**required**"
    if field["default"] is None:
        return "unknown"
    shown = json.dumps(field["default"]).strip('"')
    return f"`{shown}`" if shown else "empty"


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"
