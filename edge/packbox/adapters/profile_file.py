"""The form of `profile.toml`: what may stand in it, key by key.

In:  the parsed TOML of a profile.
Out: checked tables; `adapters.profile_dir` puts them together with the DBC files.
Refuses: unknown keys, wrong types, requests that do not only read, and care for the car below the box's own floor.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from packbox.core import profile as core
from packbox.core.answers import DIGESTS, KINDS, NUMBER_BYTES
from packbox.core.packs import Chemistry
from packbox.core.quantities import QUANTITIES

UDS_READ: Final = 0x22


def _checked_id(text: str) -> str:
    if not re.fullmatch(r"[0-7][0-9A-F]{2}|[01][0-9A-F]{7}", text):
        raise ValueError("three hex digits (11-bit) or eight (29-bit), upper case")
    return text


def _checked_hex(text: str) -> str:
    if not re.fullmatch(r"([0-9A-F]{2}( |$))+", text):
        raise ValueError("bytes in upper case hex, one space between them")
    return text


def _checked_quantity(name: str) -> str:
    if name not in QUANTITIES:
        raise ValueError(f"no quantity of this name; near: {nearest(name, QUANTITIES)}")
    return name


def nearest(name: str, names: Iterable[str]) -> str:
    return ", ".join(difflib.get_close_matches(name, list(names), 3, 0.4)) or "none"


def map_key(text: str) -> float:
    """A value on the left of a map: TOML keys are text."""
    try:
        return float(int(text, 16)) if text.startswith("0x") else float(text)
    except ValueError:
        raise ValueError(f"map: {text!r} is no number") from None


def _same_length(*ids: str) -> None:
    if len({len(one) for one in ids}) > 1:
        raise ValueError("tx and rx must both be 11-bit or both 29-bit ids")


CanId = Annotated[str, AfterValidator(_checked_id)]
HexBytes = Annotated[str, AfterValidator(_checked_hex)]
QuantityName = Annotated[str, AfterValidator(_checked_quantity)]
Kind = Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})$")]
NumberKind = Annotated[str, Field(pattern=f"^({'|'.join(NUMBER_BYTES)})$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UseTable(_Table):
    quantity: QuantityName
    factor: float = 1.0
    offset: float = 0.0
    map: dict[str, float] = {}  # value of the signal -> value of the quantity
    steps: list[tuple[float, float, float]] = []  # (from, to, value of the quantity)
    prefer: int | None = None
    needs: str | None = None
    variants: list[str] = []  # only in these
    void: list[float] = []  # values of the signal that mean nothing for this quantity

    @model_validator(mode="after")
    def _one_way(self) -> UseTable:
        if (self.map or self.steps) and (self.factor != 1.0 or self.offset != 0.0):
            raise ValueError("map or steps and factor or offset exclude each other")
        for key in self.map:
            map_key(key)
        return self


class GradedTable(_Table):
    grade: core.Grade | None = None
    source: str | None = None


class UsedTable(GradedTable):
    quantity: QuantityName | None = None  # short for one use without further conditions
    uses: list[UseTable] = []

    @model_validator(mode="after")
    def _one_form(self) -> UsedTable:
        if self.quantity is not None and self.uses:
            raise ValueError("quantity and uses exclude each other")
        return self

    def all_uses(self) -> list[UseTable]:
        return [UseTable(quantity=self.quantity)] if self.quantity is not None else self.uses


class SignalTable(UsedTable):
    void: list[int] = []
    void_from: int | None = None
    all_ones_valid: bool = False
    like: str | None = None  # the same bits as this signal of the frame, read with another scale
    scale: float | None = None
    offset: float | None = None
    unit: str | None = None

    @model_validator(mode="after")
    def _complete_restatement(self) -> SignalTable:
        given = [value is not None for value in (self.like, self.scale, self.offset, self.unit)]
        if any(given) and not all(given):
            raise ValueError("like, scale, offset and unit belong together")
        return self


class RawValueTable(_Table):
    signal: str
    raw: int


class CellPlacesTable(_Table):
    in_series: Annotated[int, Field(ge=1)]
    selector: str
    first: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class MessageTable(_Table):
    bus: str
    grade: core.Grade
    source: str
    lengths: list[Annotated[int, Field(ge=1, le=8)]] = []
    any_sender: bool = False
    checksum: core.Checksum | None = None
    counter: str | None = None
    void_when: RawValueTable | None = None
    mux_ignored: dict[str, list[int]] = {}
    cells: list[CellPlacesTable] = []
    signals: dict[str, SignalTable] = {}


class NeighbourTable(_Table):
    at: Annotated[int, Field(ge=0)]
    kind: NumberKind
    bits: Annotated[int, Field(ge=1)]


class RawMatchTable(_Table):
    at: Annotated[int, Field(ge=0)]
    kind: NumberKind
    raw: Annotated[list[int], Field(min_length=1)]


class FieldTable(UsedTable):
    name: str
    unit: str = ""
    kind: Kind
    at: Annotated[int, Field(ge=0)]
    factor: float = 1.0
    offset: float = 0.0
    length: int | None = None
    typical: list[Annotated[str, Field(min_length=3)]] = []
    void: list[int] = []
    mask: Annotated[int, Field(ge=1)] | None = None
    only_if: NeighbourTable | None = None
    when: RawMatchTable | None = None


class DigestTable(UsedTable):
    what: Annotated[str, Field(pattern=f"^({'|'.join(DIGESTS)})$")]
    name: str
    unit: str = ""


class GuardTable(_Table):
    at: Annotated[int, Field(ge=0)]
    kind: NumberKind
    raw: int


class RowsTable(GradedTable):
    name: Annotated[str, Field(pattern=r"^[^{}]*\{n\}[^{}]*$")]
    unit: str = ""
    kind: NumberKind
    at: Annotated[int, Field(ge=0)]
    step: Annotated[int, Field(ge=1)]
    count: Annotated[int, Field(ge=1, le=512)]
    factor: float = 1.0
    offset: float = 0.0
    void: list[int] = []
    void_from: int | None = None
    guard: GuardTable | None = None
    mask_at: Annotated[int, Field(ge=0)] | None = None
    number_from: Annotated[int, Field(ge=1)] = 1
    when: RawMatchTable | None = None
    digests: list[DigestTable] = []


class LayoutTable(_Table):
    lengths: list[int] = []
    fields: list[FieldTable] = []
    rows: list[RowsTable] = []
    void_when: list[RawMatchTable] = []
    void_keeps: list[str] = []


class GroupTable(_Table):
    """ECUs that answer one functional request."""

    tx: CanId
    rx: Annotated[list[CanId], Field(min_length=1)]

    @model_validator(mode="after")
    def _apart(self) -> GroupTable:
        _same_length(self.tx, *self.rx)
        if len(set(self.rx)) < len(self.rx):
            raise ValueError("an id stands there twice")
        return self


class PollTable(_Table):
    id: Annotated[str, Field(pattern="^[^@]+$")]
    tx: CanId | None = None
    rx: CanId | None = None
    groups: list[str] = []
    bus: str | None = None
    request: HexBytes
    grade: core.Grade
    source: str
    layouts: Annotated[list[LayoutTable], Field(min_length=1)]
    ignored_lengths: list[int] = []
    every_s: dict[core.CarState, Annotated[float, Field(gt=0)]] = {}
    once: bool = False
    alone: bool = False
    repeat: Annotated[int, Field(ge=2, le=512)] | None = None
    number_from: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _reads_only(self) -> PollTable:
        reason = core.write_reason(bytes.fromhex(self.request))
        if reason is not None:
            raise ValueError(f"request {self.request}: {reason}")
        if (self.tx is None, self.rx is None) != (bool(self.groups),) * 2:
            raise ValueError("either tx and rx or groups")
        if self.tx is not None and self.rx is not None:
            _same_length(self.tx, self.rx)
        if self.once and self.every_s:
            raise ValueError("once and every_s exclude each other")
        if self.repeat is not None and not self._counts_up(self.repeat):
            raise ValueError(
                "repeat: only of service 22 within the 16 bits of its identifier, with {n} in id and names"
            )
        return self

    def _counts_up(self, repeat: int) -> bool:
        request = bytes.fromhex(self.request)
        names = [self.id, *(field.name for layout in self.layouts for field in layout.fields)]
        return (
            request[0] == UDS_READ
            and int.from_bytes(request[1:], "big") + repeat <= 1 << 16
            and not any(layout.rows for layout in self.layouts)
            and all(name.count("{n}") == 1 for name in names)
        )

    def one_by_one(self) -> list[PollTable]:
        """This poll, or with `repeat` as many polls, each asking for the next identifier."""
        if self.repeat is None:
            return [self]
        return [self._following(step) for step in range(self.repeat)]

    def _following(self, step: int) -> PollTable:
        request = int.from_bytes(bytes.fromhex(self.request), "big") + step
        n = self.number_from + step

        def named(layout: LayoutTable) -> LayoutTable:
            fields = [f.model_copy(update={"name": f.name.format(n=n)}) for f in layout.fields]
            return layout.model_copy(update={"fields": fields})

        return self.model_copy(
            update={
                "id": self.id.format(n=n),
                "request": request.to_bytes(3, "big").hex(" ").upper(),
                "layouts": [named(layout) for layout in self.layouts],
                "repeat": None,
            }
        )


class ValueRangeTable(_Table):
    message: CanId
    signal: str
    low: float
    high: float
    over: str | None = None
    variant: str | None = None


class AnswerShapeTable(_Table):
    poll: str
    lengths: list[int] = []
    field: str | None = None
    low: float = 0.0
    high: float = 0.0
    over: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> AnswerShapeTable:
        if not self.lengths and self.field is None:
            raise ValueError("lengths or field: any answer would do")
        if self.over is not None and self.field is None:
            raise ValueError("over needs field")
        return self


class EvidenceTable(_Table):
    name: str
    at_least: Annotated[int, Field(ge=1)] = 1
    wanders: bool = False
    seen: list[CanId] = []
    value: ValueRangeTable | None = None
    answer: AnswerShapeTable | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> EvidenceTable:
        if sum((bool(self.seen), self.value is not None, self.answer is not None)) != 1:
            raise ValueError("exactly one of seen, value, answer")
        return self


class VariantTable(_Table):
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    name: str
    pack: str
    dbc: list[str] = []  # none: a car that is only asked


class ChoiceTable(_Table):
    variant: str
    when: Annotated[list[str], Field(min_length=1)]


class PackTable(_Table):
    id: str
    chemistry: Chemistry
    cells_in_series: Annotated[int, Field(ge=1)] | None = None
    reference_ah: Annotated[float, Field(gt=0)] | None = None
    reference_source: str | None = None
    rated_ah: Annotated[float, Field(gt=0)] | None = None
    nominal_kwh: Annotated[float, Field(gt=0)] | None = None
    ocv: list[tuple[float, float]] = []
    ocv_source: str | None = None
    current_gain_sigma_pct: Annotated[float, Field(gt=0, le=20)] | None = None
    current_gain_source: str | None = None
    resistance_slope_k: Annotated[float, Field(gt=0, le=10_000)] | None = None
    resistance_slope_source: str | None = None

    @model_validator(mode="after")
    def _sourced(self) -> PackTable:
        if (self.reference_ah is None) != (self.reference_source is None):
            raise ValueError("reference_ah and reference_source belong together")
        if bool(self.ocv) != (self.ocv_source is not None):
            raise ValueError("ocv and ocv_source belong together")
        if (self.current_gain_sigma_pct is None) != (self.current_gain_source is None):
            raise ValueError("current_gain_sigma_pct and current_gain_source belong together")
        if (self.resistance_slope_k is None) != (self.resistance_slope_source is None):
            raise ValueError("resistance_slope_k and resistance_slope_source belong together")
        if any(
            later[0] <= earlier[0] or later[1] <= earlier[1]
            for earlier, later in zip(self.ocv, self.ocv[1:], strict=False)
        ):
            raise ValueError("ocv must rise in both columns")
        return self


class BusTable(_Table):
    bitrate: Annotated[int, Field(ge=10_000, le=1_000_000)]
    where: str


class RulesTable(_Table):
    charging: list[QuantityName]
    driving: list[QuantityName]


class CareTable(_Table):
    """Only stricter than the box's own rules: `core.profile.Care` holds the floor."""

    bus_alive_s: Annotated[float, Field(gt=0, le=core.BUS_ALIVE_S)] = core.BUS_ALIVE_S
    stop_after_silence_s: Annotated[float, Field(gt=0, le=core.STOP_AFTER_SILENCE_S)] = core.STOP_AFTER_SILENCE_S
    aux_voltage_min_v: Annotated[float, Field(ge=core.AUX_VOLTAGE_MIN_V)] = core.AUX_VOLTAGE_MIN_V
    other_tester_pause_s: Annotated[float, Field(ge=core.OTHER_TESTER_PAUSE_S)] = core.OTHER_TESTER_PAUSE_S
    never: list[str] = []


class ProfileTable(_Table):
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    name: str
    experimental: bool = False
    licence: str
    native_current_positive: Literal["charge", "discharge"]
    all_ones_are_void: bool = True
    sources: dict[str, str]
    buses: dict[str, BusTable]
    detect: list[CanId] = []  # none: nothing is broadcast where the box listens
    packs: Annotated[list[PackTable], Field(min_length=1)]
    evidence: list[EvidenceTable] = []
    variants: Annotated[list[VariantTable], Field(min_length=1)]
    choose: list[ChoiceTable] = []
    messages: dict[CanId, MessageTable] = {}
    groups: dict[str, GroupTable] = {}
    polls: list[PollTable] = []
    vehicles: dict[str, str | list[str]]
    rules: RulesTable
    care: CareTable = CareTable()
