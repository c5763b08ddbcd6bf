"""Which battery a sheet is of, what is not known of it, and how a reader can check the sheet.

In:  a `Record`, the code and the address that go on the sheet. Out: blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from packbook.core.declared import day_ms
from packbook.core.formats.sheet.blocks import Block, Columns, Pair, Pairs, Stack, Text
from packbook.core.formats.sheet.drawings import Code
from packbook.core.formats.sheet.pen import NOTE, Style
from packbook.core.formats.sheet.record import Record, reason
from packbook.core.formats.writing import URI
from packbook.core.passport import Fact
from packbook.core.wording import value_text
from packbook.core.words import ABSENT, Words

IDENTIFIERS_MAX: Final = 1
REASONS_MAX: Final = 8
COLUMNS: Final = (
    ("chemistry", "status"),
    ("rated_capacity_ah", "rated_energy_kwh"),
    ("made_on", "in_service_on"),
    ("identifiers",),
)
COLUMN_SHARES: Final = (0.78, 1.02, 1.14, 1.26)
LABEL_SHARES: Final = (0.54, 0.56, 0.52, 0.3)
QR_SIDE: Final = 62.0
BOXES_MAX: Final = 3
SMALL: Final = Style(size=6.6)
CHEMISTRY_CODE_MAX: Final = 4  # nmc, lfp, lmo
# Of what people ask about a used battery, what a record may lack without a word.
ASKED: Final = (
    "soh_capacity_pct",
    "soh_reported_pct",
    "soce_pct",
    "odometer_km",
    "charges_ac",
    "full_cycles",
    "cell_spread_mv",
    "resistance_ohm",
    "self_discharge_pct_per_month",
    "remaining_power_w",
    "round_trip_efficiency_pct",
    "made_on",
    "in_service_on",
    "accident",
    "guarantee",
    "next_use",
)


@dataclass(frozen=True, slots=True)
class Link:
    """Where the QR code leads. `shared`: to a page for this very reader, which tells the record's code."""

    address: str
    shared: bool


def identity(record: Record) -> Block:
    pairs = (
        Pairs(tuple(_pair(record, name) for name in names), share)
        for names, share in zip(COLUMNS, LABEL_SHARES, strict=True)
    )
    return Columns(tuple(pairs), COLUMN_SHARES)


def _pair(record: Record, name: str) -> Pair:
    t = record.t
    if name == "identifiers":
        told = [_bare(str(fact.value)) for fact in record.some(name, IDENTIFIERS_MAX) if fact.value is not None]
        return Pair(t("field.identifiers"), t.joined(told) if told else ABSENT)
    fact = record.first(name)
    return Pair(t(f"field.{name}"), ABSENT if fact is None else _worded(t, name, fact))


def _bare(identifier: str) -> str:
    """Without the scheme where the rest says it itself."""
    scheme, _, value = identifier.partition(":")
    return value if URI.fullmatch(value) else identifier or scheme


def _worded(t: Words, name: str, fact: Fact) -> str:
    text = value_text(t, fact)
    if name == "chemistry" and text.isascii() and len(text) <= CHEMISTRY_CODE_MAX:
        return text.upper()
    if name in ("made_on", "in_service_on"):
        at_ms = day_ms(text)
        if at_ms is not None:
            return t.date(at_ms) if len(text) > len("2020-02") else t.month(at_ms)
    return text


def unknown(record: Record) -> Block:
    """Facts without a value, each with its reason; then what is not in the record at all."""
    t = record.t
    reasons: dict[str, list[str]] = {}
    for name, facts in record.passport.facts.items():
        for at, fact in enumerate(facts):
            if fact.value is None and fact.why:
                reasons.setdefault(reason(t, fact.why), []).append(t.or_raw("field", name))
                record.account.taken.add((name, at))
    told = [t("sheet.unknown_because", what=t.joined(dict.fromkeys(names)), why=why) for why, names in reasons.items()]
    absent = [t(f"field.{name}") for name in ASKED if name not in record.passport.facts]
    lines = told[:REASONS_MAX]
    if len(told) > REASONS_MAX:
        lines.append(t("sheet.more", n=len(told) - REASONS_MAX))
    if absent:
        lines.append(t("sheet.absent", names=t.joined(absent)))
    if not lines:
        return Text(t("sheet.nothing_unknown"), SMALL, most=2)
    half = (len(lines) + 1) // 2
    columns = (lines[:half], lines[half:])
    return Columns(
        tuple(Stack(tuple(Text(line, SMALL, most=3) for line in some), gap=1.5) for some in columns), (1.0, 1.0)
    )


def check(record: Record, code: str, link: Link | None) -> Block:
    """How to find out whether this paper is what the book said."""
    t = record.t
    groups = code.split()
    written = Stack(
        (
            Text(t("sheet.code"), NOTE, most=3),
            *(Text(" ".join(groups[at : at + 2]), Style(size=9.0, bold=True), most=1) for at in (0, 2)),
        ),
        gap=0.5,
    )
    if link is None:
        return Stack((written, Text(t("sheet.no_link"), NOTE, most=5)), gap=3.0)
    told = Text(t("sheet.code_how") if link.shared else t("sheet.code_ask"), NOTE, most=5)
    return Stack((Columns((Code(link.address, QR_SIDE), written), (QR_SIDE, 66.0), gutter=6.0), told), gap=3.0)


def grounds(record: Record) -> Block:
    """Whose signatures stand behind the figures, and by which rules they were put together."""
    t = record.t
    boxes = sorted({place.box for facts in record.passport.facts.values() for f in facts for place in f.evidence})
    signed = t("sheet.signed", boxes=t.joined(boxes[:BOXES_MAX])) if boxes else t("sheet.unsigned")
    return Text(
        t.joined((signed, t("sheet.made_from", rules=rules_text(record.passport.rules))), "sentences"), NOTE, most=3
    )


def rules_text(rules: Mapping[str, str]) -> str:
    return ", ".join(f"{family} {version}" for family, version in sorted(rules.items()))


def title(record: Record) -> str:
    """What the sheet is of."""
    for name in ("battery_id", "category"):
        record.first(name)  # both stand in the head, as the record names them
    named = [str(fact.value) for name in ("manufacturer", "model") if (fact := record.first(name)) is not None]
    category = record.t.or_raw("fact_text", record.passport.category)
    return " · ".join((*((" ".join(named),) if named else ()), category))
