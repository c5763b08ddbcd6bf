"""What a sheet is laid out of: blocks that know their height for a width before they are drawn.

In:  worded text and numbers. Out: marks on a page, through the `Pen`. Nothing here knows what a battery is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from packbook.core.formats.sheet.pen import BODY, GREY, INK, NOTE, STRONG, WHITE, Pen, Style, Type

GUTTER: Final = 13.0
TITLE: Final = Style(size=8.2, bold=True)
HEAD: Final = Style(size=6.1, grey=GREY)
PAD: Final = 1.5  # above and below the text of a row
TITLE_HEIGHT: Final = 15.0
CELL_GAP: Final = 4.0  # to the right of a cell
NOTE_LINES_MAX: Final = 2
LABEL_LINES_MAX: Final = 2
VALUE_LINES_MAX: Final = 3


class Block(Protocol):
    def height(self, type_: Type, width: float, /) -> float: ...

    def draw(self, pen: Pen, x: float, top: float, width: float, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    style: Style = BODY
    most: int | None = None

    def height(self, type_: Type, width: float) -> float:
        return len(type_.lines(self.text, self.style, width, self.most)) * self.style.leading

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        for number, line in enumerate(pen.type.lines(self.text, self.style, width, self.most)):
            pen.text(x, top + number * self.style.leading, line, self.style)


@dataclass(frozen=True, slots=True)
class Pair:
    label: str
    value: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Pairs:
    """Label on the left, value flush left in a column of its own, its note below it; a hairline between rows."""

    rows: tuple[Pair, ...]
    label_share: float = 0.42
    value_style: Style = STRONG

    def _row(self, type_: Type, row: Pair, width: float) -> tuple[list[str], list[str], list[str]]:
        label = type_.lines(row.label, BODY, width * self.label_share - 6.0, LABEL_LINES_MAX)
        room = width * (1.0 - self.label_share)
        value = type_.lines(row.value, self.value_style, room, VALUE_LINES_MAX)
        note = type_.lines(row.note, NOTE, room, NOTE_LINES_MAX) if row.note else []
        return label, value, note

    def _height(self, row: tuple[list[str], list[str], list[str]]) -> float:
        label, value, note = row
        right = len(value) * self.value_style.leading + len(note) * NOTE.leading
        return max(len(label) * BODY.leading, right) + 2 * PAD

    def height(self, type_: Type, width: float) -> float:
        return sum(self._height(self._row(type_, row, width)) for row in self.rows)

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        for number, row in enumerate(self.rows):
            lines = self._row(pen.type, row, width)
            label, value, note = lines
            if number:
                pen.rule(x, top, width, weight=0.25)
            for at, line in enumerate(label):
                pen.text(x, top + PAD + at * BODY.leading, line, BODY)
            right = x + width * self.label_share
            for at, line in enumerate(value):
                pen.text(right, top + PAD + at * self.value_style.leading, line, self.value_style)
            below = top + PAD + len(value) * self.value_style.leading
            for at, line in enumerate(note):
                pen.text(right, below + at * NOTE.leading, line, NOTE)
            top += self._height(lines)


@dataclass(frozen=True, slots=True)
class Table:
    """`shares` of the width by column; columns named in `right` are flush right; those in `strong` are bold."""

    shares: tuple[float, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()
    most: int = 2
    size: float = BODY.size

    def _style(self, column: int) -> Style:
        return Style(size=self.size, bold=column in self.strong)

    def _cells(self, type_: Type, row: Sequence[str], width: float) -> list[list[str]]:
        return [
            type_.lines(cell, self._style(column), width * self.shares[column] - CELL_GAP, self.most)
            for column, cell in enumerate(row)
        ]

    def _row_height(self, type_: Type, row: Sequence[str], width: float) -> float:
        return max(len(lines) for lines in self._cells(type_, row, width)) * BODY.leading + 2 * PAD

    def _head_height(self, type_: Type, width: float) -> float:
        lines = [type_.lines(cell, HEAD, width * self.shares[at] - CELL_GAP, 2) for at, cell in enumerate(self.head)]
        return max(len(line) for line in lines) * HEAD.leading + PAD

    def height(self, type_: Type, width: float) -> float:
        return self._head_height(type_, width) + sum(self._row_height(type_, row, width) for row in self.rows)

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        starts = [x + width * sum(self.shares[:column]) for column in range(len(self.shares))]
        for column, cell in enumerate(self.head):
            lines = pen.type.lines(cell, HEAD, width * self.shares[column] - CELL_GAP, 2)
            self._set(pen, starts[column], top, width * self.shares[column], lines, HEAD, column)
        top += self._head_height(pen.type, width)
        for row in self.rows:
            pen.rule(x, top, width, weight=0.25)
            for column, lines in enumerate(self._cells(pen.type, row, width)):
                self._set(
                    pen, starts[column], top + PAD, width * self.shares[column], lines, self._style(column), column
                )
            top += self._row_height(pen.type, row, width)

    def _set(self, pen: Pen, x: float, top: float, width: float, lines: list[str], style: Style, column: int) -> None:
        for at, line in enumerate(lines):
            right = column in self.right
            pen.text(x + width - CELL_GAP if right else x, top + at * style.leading, line, style, right=right)


@dataclass(frozen=True, slots=True)
class Stack:
    blocks: tuple[Block, ...]
    gap: float = 4.0

    def height(self, type_: Type, width: float) -> float:
        return sum(block.height(type_, width) for block in self.blocks) + self.gap * max(0, len(self.blocks) - 1)

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        for block in self.blocks:
            block.draw(pen, x, top, width)
            top += block.height(pen.type, width) + self.gap


@dataclass(frozen=True, slots=True)
class Columns:
    """Side by side, their tops aligned."""

    blocks: tuple[Block, ...]
    shares: tuple[float, ...]
    gutter: float = GUTTER

    def _widths(self, width: float) -> list[float]:
        room = width - self.gutter * (len(self.blocks) - 1)
        return [room * share / sum(self.shares) for share in self.shares]

    def height(self, type_: Type, width: float) -> float:
        return max(block.height(type_, room) for block, room in zip(self.blocks, self._widths(width), strict=True))

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        for block, room in zip(self.blocks, self._widths(width), strict=True):
            block.draw(pen, x, top, room)
            x += room + self.gutter


@dataclass(frozen=True, slots=True)
class Titled:
    """A section: a strong rule, its title, what is in it."""

    title: str
    block: Block

    def height(self, type_: Type, width: float) -> float:
        return TITLE_HEIGHT + self.block.height(type_, width)

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        pen.rule(x, top, width, weight=0.9, grey=INK)
        pen.text(x, top + 3.2, pen.type.lines(self.title, TITLE, width, 1)[0], TITLE)
        self.block.draw(pen, x, top + TITLE_HEIGHT, width)


@dataclass(frozen=True, slots=True)
class Alarm:
    """White on black, so that no copier and no hurry can lose it."""

    title: str
    text: str
    margin: float = 7.0

    def _parts(self) -> Stack:
        title = Text(self.title, Style(size=11.0, bold=True, grey=WHITE), most=2)
        return Stack((title, Text(self.text, Style(size=7.4, grey=WHITE), most=6)), gap=2.0)

    def height(self, type_: Type, width: float) -> float:
        return self._parts().height(type_, width - 2 * self.margin) + 2 * self.margin

    def draw(self, pen: Pen, x: float, top: float, width: float) -> None:
        pen.box(x, top, width, self.height(pen.type, width), fill=INK)
        self._parts().draw(pen, x + self.margin, top + self.margin, width - 2 * self.margin)
