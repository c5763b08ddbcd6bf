"""The drawings of a sheet, in greys and numbers: intervals on an axis, a heat map, a bar of shares, a fan, a QR code.

In:  numbers, worded labels. Out: blocks. Grey never stands alone: what it says is written in it or beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import segno

from packbook.core.formats.sheet.pen import BLACK, GREY, INK, NOTE, RULE, STRONG, WHITE, Pen, Style, Type

TINY: Final = Style(size=5.6, grey=GREY)
FINE: Final = Style(size=6.4)
DARK_FROM: Final = 0.5  # shade from which text on it turns white
QUIET: Final = 4  # modules around a QR code (ISO/IEC 18004)


@dataclass(frozen=True, slots=True)
class Bar:
    """One value with its interval on an axis of percent."""

    value: float
    lo: float
    hi: float
    start: float
    end: float = 100.0
    tall: float = 10.0

    def height(self, _type: Type, _width: float) -> float:
        return 2.0 + self.tall + NOTE.leading + 1.0

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        left, room = x + 4.0, width - 14.0
        top += 2.0

        def place(pct: float) -> float:
            return left + (min(max(pct, self.start), self.end) - self.start) / (self.end - self.start) * room

        pen.box(left, top + self.tall / 2 - 0.6, room, 1.2, fill=RULE)
        for pct in range(int(self.start), int(self.end) + 1, 10 if self.start >= 40 else 20):
            pen.upright(place(pct), top + self.tall / 2 - 2.5, 5.0, weight=0.6, grey=GREY)
            pen.centred(place(pct), top + self.tall + 1.5, f"{pct} %" if pct == self.end else f"{pct}", NOTE)
        low, high = place(self.lo), place(self.hi)
        pen.box(low, top, max(high - low, 1.5), self.tall, fill=0.66)
        pen.box(place(self.value) - 1.2, top - 2.0, 2.4, self.tall + 4.0, fill=BLACK)


@dataclass(frozen=True, slots=True)
class Opinion:
    """One figure of somebody's, told with who says so; `lo` and `hi` where it comes with an interval."""

    label: str
    note: str
    words: str
    interval: str
    away: str  # from ours
    value: float | None
    lo: float | None = None
    hi: float | None = None


@dataclass(frozen=True, slots=True)
class Opinions:
    """A row for each, on one axis: they can be compared and are never made one."""

    rows: tuple[Opinion, ...]
    head: tuple[str, str, str, str]  # who, value, interval, away
    start: float
    end: float = 100.0
    row: float = 17.6
    starts: tuple[float, float, float, float] = (0.335, 0.405, 0.515, 0.69)  # of all but who, in shares of the width

    def height(self, _type: Type, _width: float) -> float:
        return NOTE.leading + 1.5 + self.row * len(self.rows)

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        value, interval, away, left = (x + width * share for share in self.starts)
        room = x + width - left - 11.0
        for at, words in zip((x, value, interval, away), self.head, strict=True):
            pen.text(at, top, pen.type.clean(words), NOTE)

        def place(pct: float) -> float:
            return left + (min(max(pct, self.start), self.end) - self.start) / (self.end - self.start) * room

        step = 10 if self.start >= 40 else 20
        tall = self.row * len(self.rows)
        for pct in range(int(self.start), int(self.end) + 1, step):
            pen.centred(place(pct), top, f"{pct} %", NOTE)
            pen.upright(place(pct), top + NOTE.leading + 1.5, tall, weight=0.3)
        top += NOTE.leading + 1.5
        for one in self.rows:
            pen.rule(x, top, width, weight=0.25)
            pen.text(x, top + 1.2, pen.type.lines(one.label, STRONG, value - x - 6.0, 1)[0], STRONG)
            pen.text(x, top + 9.6, pen.type.lines(one.note, NOTE, value - x - 6.0, 1)[0], NOTE)
            pen.text(value, top + 4.2, pen.type.clean(one.words), STRONG)
            pen.text(interval, top + 4.4, pen.type.lines(one.interval, FINE, away - interval - 5.0, 1)[0], FINE)
            pen.text(away, top + 4.4, pen.type.lines(one.away, FINE, left - away - 9.0, 1)[0], FINE)
            if one.value is not None:
                self._mark(pen, one, place(one.value), top + self.row / 2, place)
            top += self.row

    @staticmethod
    def _mark(pen: Pen, one: Opinion, at: float, middle: float, place: Callable[[float], float]) -> None:
        if one.lo is not None and one.hi is not None:
            low, high = place(one.lo), place(one.hi)
            pen.box(low, middle - 4.2, max(high - low, 1.5), 8.4, fill=0.66)
            pen.box(at - 1.1, middle - 6.0, 2.2, 12.0, fill=BLACK)
        else:
            diamond = [(at, middle - 4.0), (at + 4.0, middle), (at, middle + 4.0), (at - 4.0, middle)]
            pen.shape(diamond, fill=WHITE, edge=BLACK)


@dataclass(frozen=True, slots=True)
class Shares:
    """A bar of a whole. Each part: its share of 0..1, and its grey."""

    parts: tuple[tuple[float, float], ...]
    tall: float = 9.0

    def height(self, _type: Type, _width: float) -> float:
        return self.tall

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        left = x
        for share, grey in self.parts:
            pen.box(left, top, width * share, self.tall, fill=grey)
            left += width * share
        pen.frame(x, top, width, self.tall)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """`rows` from the top down, shares of the whole in percent; edges between rows and columns are named, not bands."""

    rows: tuple[tuple[float, ...], ...]
    row_edges: tuple[str, ...]  # from the top: one more than rows; "" where open
    column_edges: tuple[str, ...]
    row_title: str
    column_title: str
    under_one: str
    cell: float = 9.0
    margin: float = 22.0

    def height(self, _type: Type, _width: float) -> float:
        return TINY.leading + self.cell * len(self.rows) + 2 * TINY.leading + 3.0

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        left, wide = x + self.margin, (width - self.margin - 8.0) / len(self.rows[0])
        pen.text(x, top, pen.type.lines(self.row_title, TINY, width, 1)[0], TINY)
        top += TINY.leading + 2.0
        most = max(max(row) for row in self.rows) or 1.0
        for at, row in enumerate(self.rows):
            for column, share in enumerate(row):
                self._cell(pen, left + column * wide, top + at * self.cell, wide, share, most)
        for at, edge in enumerate(self.row_edges):
            pen.text(left - 4.0, top + at * self.cell - TINY.size * 0.62, edge, TINY, right=True)
        bottom = top + self.cell * len(self.rows)
        for column, edge in enumerate(self.column_edges):
            pen.centred(left + column * wide, bottom + 1.6, edge, TINY)
        title = pen.type.lines(self.column_title, TINY, width, 1)[0]
        pen.text(left + wide * len(self.rows[0]), bottom + 1.6 + TINY.leading, title, TINY, right=True)

    def _cell(self, pen: Pen, x: float, top: float, wide: float, share: float, most: float) -> None:
        shade = (share / most) ** 0.5 * 0.82 if share > 0.0 else 0.0
        pen.box(x, top, wide, self.cell, fill=1.0 - shade, edge=0.85)
        if share > 0.0:
            words = f"{share:.0f}" if share >= 1.0 else self.under_one
            ink = Style(size=5.8, bold=share >= 1.0, grey=WHITE if shade >= DARK_FROM else INK)
            pen.centred(x + wide / 2, top + (self.cell - ink.size * 1.3) / 2, words, ink)


@dataclass(frozen=True, slots=True)
class Fan:
    """Values ahead with their interval, and the thresholds they may fall below."""

    points: tuple[tuple[float, float, float, float], ...]  # months ahead, value, low, high; rising
    thresholds: tuple[float, ...]
    month_words: tuple[str, ...]  # one for each point
    tall: float = 44.0
    margin: float = 18.0

    def height(self, _type: Type, _width: float) -> float:
        return 4.0 + self.tall + NOTE.leading + 2.0

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        left, room = x + self.margin, width - self.margin - 14.0
        top += 4.0
        lows = [low for _, _, low, _ in self.points] + list(self.thresholds)
        bottom = max(0.0, (min(lows) - 3.0) // 10 * 10)
        last = self.points[-1][0] or 1.0

        def at(months: float, pct: float) -> tuple[float, float]:
            clipped = min(max(pct, bottom), 100.0)
            return left + months / last * room, top + (100.0 - clipped) / (100.0 - bottom) * self.tall

        for tick in range(int(bottom), 101, 10 if bottom >= 40 else 20):
            pen.rule(left, at(0, tick)[1], room, weight=0.25)
            pen.text(left - 4.0, at(0, tick)[1] - NOTE.size * 0.62, f"{tick}", NOTE, right=True)
        high = [at(months, hi) for months, _, _, hi in self.points]
        low = [at(months, lo) for months, _, lo, _ in self.points]
        pen.shape([*high, *reversed(low)], fill=0.86)
        for pct in self.thresholds:
            pen.line([at(0, pct), at(last, pct)], weight=0.7, dashed=True)
        pen.line([at(months, value) for months, value, _, _ in self.points], weight=1.4)
        for (months, _, _, _), words in zip(self.points, self.month_words, strict=True):
            pen.upright(at(months, bottom)[0], at(months, bottom)[1], 2.0, grey=GREY)
            pen.centred(at(months, bottom)[0], top + self.tall + 2.0, words, NOTE)


@dataclass(frozen=True, slots=True)
class Code:
    """A QR code, square."""

    text: str
    side: float = 64.0

    def height(self, _type: Type, _width: float) -> float:
        return self.side

    def draw(self, pen: Pen, x: float, top: float, _width: float) -> None:
        matrix = segno.make(self.text, error="m", micro=False).matrix
        module = self.side / (len(matrix) + 2 * QUIET)
        pen.box(x, top, self.side, self.side, fill=WHITE, edge=RULE)
        squares = [
            (x + (QUIET + column) * module, top + (QUIET + row) * module)
            for row, modules in enumerate(matrix)
            for column, dark in enumerate(modules)
            if dark
        ]
        pen.squares(squares, module)
