"""The pen of a sheet: type that is measured before it is set, lines broken as Japanese and English break them.

In:  two fonts, a canvas. Out: text and shapes, in points from the upper left corner of a page.
A character without a glyph is set as 〓, as printers do, and remembered; none becomes an empty box.
ReportLab keeps fonts for the whole process, and one font serves one document at a time: `setting` sees to it.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

PAGE_WIDTH: Final = A4[0]
PAGE_HEIGHT: Final = A4[1]
GETA: Final = "〓"
ELLIPSIS: Final = "…"
LEADING: Final = 1.38  # of the size: kanji fill their square, so lines need more air than Latin ones
BLACK: Final = 0.0
INK: Final = 0.12
GREY: Final = 0.38  # the lightest that is still easy to read on paper
RULE: Final = 0.72
WHITE: Final = 1.0
# JIS X 4051: characters that do not begin a line, and those that do not end one.
NOT_FIRST: Final = frozenset(
    "、。，．・：；？！ー）］｝」』】〉》〕々ぁぃぅぇぉっゃゅょァィゥェォッャュョ％,.;:!?)]}%…～〜℃°"
)
NOT_LAST: Final = frozenset("（［｛「『【〈《〔([{")
COUNTED: Final = frozenset("年月日回件")
NUMBER_AND_UNIT: Final = re.compile(r"(?<=\d) (?=(?:%|km|k?Wh|Ah|mV|mΩ|°C|kg|h|y)(?:\W|$))")  # stay on one line
_turn = threading.Lock()


@dataclass(frozen=True, slots=True)
class Fonts:
    """Two TrueType files."""

    regular: bytes
    bold: bytes


@dataclass(frozen=True, slots=True)
class Style:
    size: float = 7.0
    bold: bool = False
    grey: float = INK

    @property
    def leading(self) -> float:
        return self.size * LEADING


BODY: Final = Style()
STRONG: Final = Style(bold=True)
NOTE: Final = Style(size=6.1, grey=GREY)


@cache
def _registered(data: bytes) -> TTFont:
    font = TTFont(f"sheet-{hashlib.sha256(data).hexdigest()[:12]}", io.BytesIO(data))
    pdfmetrics.registerFont(font)
    return font


@dataclass(slots=True)
class Type:
    """Measures and breaks text."""

    regular: TTFont
    bold: TTFont
    missing: set[str] = field(default_factory=set)

    def font(self, style: Style) -> TTFont:
        return self.bold if style.bold else self.regular

    def clean(self, text: str) -> str:
        """One line that the fonts can set."""
        flat = NUMBER_AND_UNIT.sub("\u00a0", " ".join(unicodedata.normalize("NFC", text).split()))
        known = self.regular.face.charToGlyph
        lacking = {character for character in flat if ord(character) not in known}
        self.missing |= lacking
        return "".join(GETA if character in lacking else character for character in flat)

    def width(self, text: str, style: Style = BODY) -> float:
        return float(self.font(style).stringWidth(text, style.size))

    def lines(self, text: str, style: Style, width: float, most: int | None = None) -> list[str]:
        """As few as it takes. `most`: what is too much ends in an ellipsis."""
        lines: list[str] = []
        line = ""
        for unit in self._units(self.clean(text), style, width):
            if line and self.width((line + unit).rstrip(), style) > width:
                lines.append(line.rstrip())
                line = unit.lstrip()
            else:
                line += unit
        lines.append(line.rstrip())
        if most is not None and len(lines) > most:
            lines = [*lines[: most - 1], self._cut(lines[most - 1], style, width)]
        return lines

    def _units(self, text: str, style: Style, width: float) -> Iterator[str]:
        """What a line break must not divide: a Latin word with the space after it, a kanji with the mark after it."""
        unit = ""
        for at, character in enumerate(text):
            unit += character
            after = text[at + 1 : at + 2]
            if after and not self._may_break(character, after):
                continue
            yield from self._pieces(unit, style, width)
            unit = ""
        yield from self._pieces(unit, style, width)

    @staticmethod
    def _may_break(before: str, after: str) -> bool:
        if after in NOT_FIRST or before in NOT_LAST or after == " ":
            return False
        if (before.isdigit() and after in COUNTED) or (before in COUNTED and after.isdigit()):
            return False  # a date or a count stays whole
        return before == " " or _wide(before) or _wide(after)

    def _pieces(self, unit: str, style: Style, width: float) -> Iterator[str]:
        """A word longer than the line is cut where the line ends."""
        piece = ""
        for character in unit:
            if piece and self.width((piece + character).rstrip(), style) > width:
                yield piece
                piece = ""
            piece += character
        if piece:
            yield piece

    def _cut(self, line: str, style: Style, width: float) -> str:
        while line and self.width(line + ELLIPSIS, style) > width:
            line = line[:-1]
        return line.rstrip() + ELLIPSIS


def _wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


@dataclass(slots=True)
class Pen:
    canvas: Canvas
    type: Type

    def text(self, x: float, top: float, text: str, style: Style = BODY, *, right: bool = False) -> None:
        """`top` of the line; a right one ends at `x`. Text from `Type.lines` or `Type.clean` only."""
        self.canvas.setFont(self.type.font(style).fontName, style.size)
        self.canvas.setFillGray(style.grey)
        left = x - self.type.width(text, style) if right else x
        self.canvas.drawString(left, PAGE_HEIGHT - top - style.size * 1.06, text)

    def centred(self, x: float, top: float, text: str, style: Style = BODY) -> None:
        self.text(x - self.type.width(text, style) / 2, top, text, style)

    def rule(self, x: float, top: float, width: float, *, weight: float = 0.4, grey: float = RULE) -> None:
        self.canvas.setStrokeGray(grey)
        self.canvas.setLineWidth(weight)
        self.canvas.line(x, PAGE_HEIGHT - top, x + width, PAGE_HEIGHT - top)

    def upright(self, x: float, top: float, height: float, *, weight: float = 0.4, grey: float = RULE) -> None:
        self.canvas.setStrokeGray(grey)
        self.canvas.setLineWidth(weight)
        self.canvas.line(x, PAGE_HEIGHT - top, x, PAGE_HEIGHT - top - height)

    def box(self, x: float, top: float, width: float, height: float, *, fill: float, edge: float | None = None) -> None:
        self.canvas.setFillGray(fill)
        self.canvas.setLineWidth(0.5)
        if edge is not None:
            self.canvas.setStrokeGray(edge)
        self.canvas.rect(x, PAGE_HEIGHT - top - height, width, height, stroke=int(edge is not None), fill=1)

    def frame(self, x: float, top: float, width: float, height: float) -> None:
        self.canvas.setLineWidth(0.5)
        self.canvas.setStrokeGray(INK)
        self.canvas.rect(x, PAGE_HEIGHT - top - height, width, height, stroke=1, fill=0)

    def squares(self, corners: list[tuple[float, float]], side: float) -> None:
        """As one shape, so that no hairline shows between neighbours."""
        path = self.canvas.beginPath()
        for x, top in corners:
            path.rect(x, PAGE_HEIGHT - top - side, side, side)
        self.canvas.setFillGray(BLACK)
        self.canvas.drawPath(path, stroke=0, fill=1)

    def shape(self, points: list[tuple[float, float]], *, fill: float, edge: float | None = None) -> None:
        path = self.canvas.beginPath()
        path.moveTo(points[0][0], PAGE_HEIGHT - points[0][1])
        for x, top in points[1:]:
            path.lineTo(x, PAGE_HEIGHT - top)
        path.close()
        self.canvas.setFillGray(fill)
        self.canvas.setLineWidth(0.6)
        if edge is not None:
            self.canvas.setStrokeGray(edge)
        self.canvas.drawPath(path, stroke=int(edge is not None), fill=1)

    def line(self, points: list[tuple[float, float]], *, weight: float = 1.0, dashed: bool = False) -> None:
        path = self.canvas.beginPath()
        path.moveTo(points[0][0], PAGE_HEIGHT - points[0][1])
        for x, top in points[1:]:
            path.lineTo(x, PAGE_HEIGHT - top)
        self.canvas.setStrokeGray(BLACK)
        self.canvas.setLineWidth(weight)
        self.canvas.setDash([2.0, 1.5] if dashed else [])
        self.canvas.drawPath(path, stroke=1, fill=0)
        self.canvas.setDash([])


@contextmanager
def setting(fonts: Fonts) -> Iterator[Type]:
    """Nobody else sets a document with these fonts meanwhile."""
    with _turn:
        yield Type(_registered(fonts.regular), _registered(fonts.bold))
