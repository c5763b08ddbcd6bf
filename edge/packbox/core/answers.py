"""Read the fields of one diagnostic answer.

In:  a `Poll` and the bytes of an answer to it, whole or a window of it.
Out: a list of `Reading`, in the order of the layout: None where the car says "not available", nothing beyond the bytes.
Any bytes are read without an exception: what does not fit is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from packbox.core.profile import (
    AnswerField,
    AnswerLayout,
    AnswerRows,
    Poll,
    QuantityUse,
    RawMatch,
    RowDigest,
    answer_head,
)

Value: TypeAlias = float | int | bool | str | list[str] | None

_BIG_ENDIAN: Final = {"u8": 1, "u16": 2, "u24": 3, "u32": 4, "s8": 1, "s16": 2, "s32": 4}
NUMBER_BYTES: Final[Mapping[str, int]] = _BIG_ENDIAN | {f"{k}le": n for k, n in _BIG_ENDIAN.items() if n > 1}
KINDS: Final = (*NUMBER_BYTES, "ascii", "hex", "pids", "dtcs")
DIGESTS: Final = ("count", "sum", "min", "max", "mean", "first", "last")

DTC_SYSTEMS: Final = "PCBU"  # powertrain, chassis, body, network: top two bits of a code (SAE J2012)
DTC_BYTES: Final = 4
PID_MASK_BYTES: Final = 4
PADDING: Final = bytes((0x00, 0x1B, 0xFF, 0x20))  # what Nissan fills text with
CELLS_TOLERANCE: Final = 0.01  # cells added up against the pack voltage (facts/vehicles.md 2, rule 5)
CELLS_SUM: Final = "cell_voltage_sum"
PACK_VOLTAGE: Final = "pack_voltage"
CELL_ROWS: Final = "cell_voltage_{n}"  # single cells, by number
# VINs and chassis numbers, part and serial numbers: short text
TEXT_MAX_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal as a frame or an answer states it. None = the car says "not available" or nothing believable."""

    name: str
    unit: str
    value: Value
    uses: tuple[QuantityUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """The bytes of an answer that are known: `data` begins at `offset`, counted after the echoed request."""

    offset: int
    data: bytes

    def take(self, at: int, length: int) -> bytes | None:
        begin = at - self.offset
        if begin < 0 or begin + length > len(self.data):
            return None
        return self.data[begin : begin + length]

    def rest(self, at: int) -> bytes | None:
        begin = at - self.offset
        return self.data[begin:] if 0 <= begin < len(self.data) else None


def matching(polls: Sequence[Poll], rx_key: int, answer: bytes, request: bytes | None = None) -> Poll | None:
    """The poll that this answer belongs to, by what it echoes; where several would do, the one that was asked."""
    fitting = [p for p in polls if p.rx_key == rx_key and answer.startswith(p.head)]
    return next((p for p in fitting if p.request == request), fitting[0] if fitting else None)


def is_foreign(polls: Sequence[Poll], rx_key: int, answer: bytes, request: bytes | None) -> bool:
    """Whether this answers what only other control units were asked: one speaks for another."""
    if request and answer.startswith(answer_head(request)):
        return False  # somebody asked this unit something that the profile does not know of it
    return any(p.rx_key != rx_key and answer.startswith(p.head) for p in polls)


def layout_for(poll: Poll, length: int | None) -> AnswerLayout | None:
    """The layout of an answer of this whole length. With the length unknown, only a single layout can be the one."""
    if length is None:
        return poll.layouts[0] if len(poll.layouts) == 1 else None
    return next((a for a in poll.layouts if not a.lengths or length in a.lengths), None)


def read(layout: AnswerLayout, window: Window, each_row: bool = True) -> list[Reading]:
    """All readings of an answer; without `each_row` only the digests of its rows, which is all that a stream needs."""
    readings: list[Reading] = []
    for field in layout.fields:
        if _holds(field.when, window):
            readings += _read_field(field, window)
    for rows in layout.rows:
        values = _row_values(rows, window) if _holds(rows.when, window) else []
        if each_row:
            numbered = enumerate(values, rows.number_from)
            readings += [Reading(rows.name.format(n=n), rows.unit, value) for n, value in numbered]
        if values:
            readings += [_digest(digest, rows, values) for digest in rows.digests]
    if layout.void_when and all(_holds(match, window) for match in layout.void_when):
        return [r if r.name in layout.void_keeps else replace(r, value=None) for r in readings]
    return readings


def tells_cells(layout: AnswerLayout) -> bool:
    return any(rows.name == CELL_ROWS for rows in layout.rows)


def single_cells(readings: Sequence[Reading]) -> dict[int, float | None]:
    """By number, in volts; None where the car tells none."""
    head = CELL_ROWS.removesuffix("{n}")
    numbered = ((r.name.removeprefix(head), r.value) for r in readings if r.name.startswith(head))
    return {int(n): float(v) if isinstance(v, float | int) else None for n, v in numbered if n.isdigit()}


def cells_contradict(readings: Sequence[Reading]) -> bool:
    """Whether an answer that tells cells and pack voltage does not agree with itself."""
    told = {r.name: r.value for r in readings}
    total, voltage = told.get(CELLS_SUM), told.get(PACK_VOLTAGE)
    if not isinstance(total, int | float) or not isinstance(voltage, int | float):
        return False
    return voltage > 0 and abs(total - voltage) > CELLS_TOLERANCE * voltage  # zero volts: not measured yet


def _holds(match: RawMatch | None, window: Window) -> bool:
    return match is None or _number(window, match.kind, match.at) in match.raw


def _read_field(field: AnswerField, window: Window) -> list[Reading]:
    if field.kind == "dtcs":
        return _trouble_codes(window)
    if field.kind in ("ascii", "hex"):
        data = window.rest(field.at) if field.length is None else window.take(field.at, field.length)
        if data is None:
            return []
        if field.kind == "hex":
            return [Reading(field.name, field.unit, data.hex().upper())]
        return [Reading(field.name, field.unit, text(bytes(b for b in data if b not in field.void)))]
    if field.kind == "pids":
        mask = window.rest(field.at)
        return [] if mask is None else [Reading(field.name, field.unit, _supported_pids(mask, int(field.offset)))]
    raw = _number(window, field.kind, field.at)
    if raw is None:
        return []
    if field.mask is not None:
        raw = (raw & field.mask) // (field.mask & -field.mask)
    void = raw in field.void or _ruled_out(field, window)
    return [Reading(field.name, field.unit, None if void else raw * field.factor + field.offset, field.uses)]


def _ruled_out(field: AnswerField, window: Window) -> bool:
    """Whether the neighbour that vouches for this field says that it is not there."""
    if field.only_if is None:
        return False
    at, kind, bits = field.only_if
    neighbour = _number(window, kind, at)
    return neighbour is None or not neighbour & bits


def _number(window: Window, kind: str, at: int) -> int | None:
    data = window.take(at, NUMBER_BYTES[kind])
    order: Literal["little", "big"] = "little" if kind.endswith("le") else "big"
    return None if data is None else int.from_bytes(data, order, signed=kind.startswith("s"))


def _row_values(rows: AnswerRows, window: Window) -> list[float | None]:
    """The rows that the bytes hold, from the first on: a shorter answer has fewer. None where a row is void."""
    values: list[float | None] = []
    for n in range(rows.count):
        raw = _number(window, rows.kind, rows.at + n * rows.step)
        if raw is None:
            break
        values.append(None if _row_is_void(rows, window, n, raw) else raw * rows.factor + rows.offset)
    return values


def _row_is_void(rows: AnswerRows, window: Window, n: int, raw: int) -> bool:
    if raw in rows.void or (rows.void_from is not None and raw >= rows.void_from):
        return True
    if rows.mask_at is not None:
        byte = _number(window, "u8", rows.mask_at + n // 8)
        if byte is None or not byte >> (7 - n % 8) & 1:
            return True
    if rows.guard is None:
        return False
    at, kind, void = rows.guard
    return _number(window, kind, at + n * rows.step) == void


def _digest(digest: RowDigest, rows: AnswerRows, row_values: Sequence[float | None]) -> Reading:
    values = [value for value in row_values if value is not None]
    return Reading(digest.name, digest.unit, _figure(digest.what, values, rows.count), digest.uses)


def _figure(what: str, values: Sequence[float], rows: int) -> float | None:
    if what == "count":
        return len(values)
    if what == "sum":
        return sum(values) if len(values) == rows else None  # a sum over some of the cells is not the pack
    if not values:
        return None
    if what in ("first", "last"):
        return values[0 if what == "first" else -1]
    return {"min": min(values), "max": max(values), "mean": sum(values) / len(values)}[what]


def _supported_pids(mask: bytes, base: int) -> list[str]:
    """Answer to PID 00, 20, 40 ...: 32 bits, the highest first, for the 32 PIDs after the one that was asked."""
    bits = int.from_bytes(mask[:PID_MASK_BYTES].ljust(PID_MASK_BYTES, b"\0"), "big")
    return [f"{base + n:02X}" for n in range(1, PID_MASK_BYTES * 8 + 1) if bits >> (PID_MASK_BYTES * 8 - n) & 1]


def _trouble_codes(window: Window) -> list[Reading]:
    """Answer to 19 02: a status mask, then code (three bytes) and status (one) each."""
    data = window.rest(0)
    if data is None or window.offset:
        return []
    entries = [data[k : k + DTC_BYTES] for k in range(1, len(data) - DTC_BYTES + 1, DTC_BYTES)]
    return [
        Reading("dtc_count", "", len(entries)),
        Reading("dtcs", "", [trouble_code(e) for e in entries]),
        Reading("dtc_status", "hex", [f"{e[3]:02X}" for e in entries]),
    ]


def trouble_code(entry: bytes) -> str:
    """`U1000` of D0 00 00; the third byte (failure type) is shown only where the ECU uses it."""
    code = f"{DTC_SYSTEMS[entry[0] >> 6]}{entry[0] >> 4 & 0x3:X}{entry[0] & 0xF:X}{entry[1]:02X}"
    return code if entry[2] == 0 else f"{code}-{entry[2]:02X}"


def text(data: bytes) -> str | None:
    """Printable text without its padding, or None when there is none."""
    trimmed = data[:TEXT_MAX_BYTES].strip(PADDING)
    if not trimmed or any(not 0x20 <= byte < 0x7F for byte in trimmed):
        return None
    return trimmed.decode("ascii")
