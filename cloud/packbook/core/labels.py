"""A sheet of labels for new boxes, to print on A4: QR code, the code to type, the authority's fingerprint.

In:  one `Label` per box.
Out: one HTML file that stands alone: no script, no network, black on white, 24 labels a page (3 x 8); the same as PDF;
one label as an SVG picture.
The QR code holds the same three lines as the boot file, so that one scan tells everything.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

import segno
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

PER_PAGE: Final = 24
FLEET_CHARS_MAX: Final = 22  # of what has no other end than the label's edge
URL_CHARS_MAX: Final = 55
SHORT_HEX: Final = 32  # what a person types of the fingerprint: 128 bits

STYLE: Final = """
@page { size: A4; margin: 0 }
* { box-sizing: border-box; margin: 0 }
body { font: 8pt/1.3 "Noto Sans", "Helvetica Neue", Arial, sans-serif; color: #000; background: #fff }
.page { width: 210mm; height: 296mm; padding: 4mm 6mm; display: grid; grid-template: repeat(8, 36mm) / repeat(3, 66mm);
  break-after: page }
.page:last-child { break-after: auto }
.label { padding: 2.5mm; display: grid; grid-template-columns: 25mm 1fr; column-gap: 2mm; align-content: center;
  outline: .1mm dashed #bbb; overflow: hidden; break-inside: avoid }
.label svg { width: 25mm; height: 25mm; display: block }
.fleet { font-weight: 600; font-size: 8pt; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.what { font-size: 5.5pt; color: #555; margin-top: .8mm }
.mono { font-family: "DejaVu Sans Mono", "Liberation Mono", Consolas, monospace }
.code { font-size: 7.4pt; font-weight: 700; line-height: 1.35; white-space: nowrap }
.foot { font-size: 5.2pt; line-height: 1.35; grid-column: 1 / -1; margin-top: .7mm; overflow-wrap: anywhere }
@media screen { body { background: #ddd } .page { background: #fff; margin: 6mm auto; box-shadow: 0 1mm 4mm #0003 } }
"""


@dataclass(frozen=True, slots=True)
class Label:
    url: str
    code: str
    fingerprint: str  # of the root, SHA-256 in hex
    fleet: str
    expires_ms: int


def sheet(labels: Sequence[Label]) -> str:
    pages = "\n".join(_page(labels[at : at + PER_PAGE]) for at in range(0, len(labels), PER_PAGE))
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Packbook labels</title>\n'
        f"<style>{STYLE}</style>\n{pages}\n</html>\n"
    )


def _page(labels: Sequence[Label]) -> str:
    return '<section class="page">\n' + "\n".join(_label(label) for label in labels) + "\n</section>"


def _label(label: Label) -> str:
    picture = segno.make(boot_text(label), error="m", micro=False).svg_inline(border=0, omitsize=True, svgclass=None)
    groups = label.code.split("-")
    rows = "<br>".join("-".join(groups[at : at + 4]) for at in range(0, len(groups), 4))  # of the code's alphabet
    shown = " ".join(_groups(label.fingerprint[:SHORT_HEX]))
    until = datetime.fromtimestamp(label.expires_ms / 1000, UTC)
    return (
        f'<div class="label">{picture}<div>'
        f'<div class="fleet">{escape(label.fleet)}</div>'
        f'<div class="what">one-time code, until {until:%Y-%m-%d}</div><div class="mono code">{rows}</div>'
        f'</div><div class="mono foot">{escape(label.url)}<br>CA {shown}</div></div>'
    )


def boot_text(label: Label) -> str:
    """What a box needs to enrol, in TOML: the file for the boot partition, and what the QR code holds."""
    return f'url = "{label.url}"\ntoken = "{label.code}"\nca_fingerprint = "{label.fingerprint}"\n'


def _groups(text: str) -> Iterator[str]:
    return (text[at : at + 4] for at in range(0, len(text), 4))


# --- as pictures and for a printer that takes no HTML ---------------------------------------------------------------

MM: Final = 72.0 / 25.4  # points
CELL_MM: Final = (66.0, 36.0)
MARGIN_MM: Final = (6.0, 4.0)
QR_MM: Final = 25.0
COLUMNS: Final = 3


def svg(label: Label) -> str:
    """One label as a picture that stands alone, in millimetres."""
    code = segno.make(boot_text(label), error="m", micro=False)
    modules, size = code.matrix, code.symbol_size(border=0)[0]
    scale = QR_MM / size
    path = "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(modules) for x, dark in enumerate(row) if dark)
    width, height = CELL_MM
    lines = "".join(
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{points * 25.4 / 72:.2f}" font-family="{font}">{escape(line)}</text>'
        for x, y, points, font, line in _lines(label)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {width:g} {height:g}"><path transform="translate(2.5 3) scale({scale:.5f})" d="{path}"/>'
        f"{lines}</svg>\n"
    )


def _lines(label: Label) -> Iterator[tuple[float, float, float, str, str]]:
    """Left edge and baseline in mm from the upper left corner, size in points, font, words."""
    left = 2.5 + QR_MM + 2.0
    until = datetime.fromtimestamp(label.expires_ms / 1000, UTC)
    groups = label.code.split("-")
    yield left, 6.5, 8.0, "sans-serif", label.fleet[:FLEET_CHARS_MAX]
    yield left, 9.5, 5.5, "sans-serif", f"one-time code, until {until:%Y-%m-%d}"
    for at, row in enumerate(range(0, len(groups), 4)):
        yield left, 14.0 + 3.6 * at, 7.4, "monospace", "-".join(groups[row : row + 4])
    yield 2.5, 31.0, 5.2, "monospace", label.url[:URL_CHARS_MAX]
    yield 2.5, 33.6, 5.2, "monospace", "CA " + " ".join(_groups(label.fingerprint[:SHORT_HEX]))


def pdf(labels: Sequence[Label]) -> bytes:
    """A4 pages with the same 24 places as the sheet."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, pageCompression=1, invariant=1)
    canvas.setTitle("Packbook labels")
    for at, label in enumerate(labels):
        if at and at % PER_PAGE == 0:
            canvas.showPage()
        place = at % PER_PAGE
        left = (MARGIN_MM[0] + place % COLUMNS * CELL_MM[0]) * MM
        top = A4[1] - (MARGIN_MM[1] + place // COLUMNS * CELL_MM[1]) * MM
        _draw(canvas, label, left, top)
    canvas.save()
    return out.getvalue()


def _draw(canvas: Canvas, label: Label, left: float, top: float) -> None:
    modules = segno.make(boot_text(label), error="m", micro=False).matrix
    step = QR_MM * MM / len(modules)
    for y, row in enumerate(modules):
        for x, dark in enumerate(row):
            if dark:
                corner = (left + 2.5 * MM + x * step, top - 3.0 * MM - (y + 1) * step)
                canvas.rect(*corner, step, step, stroke=0, fill=1)
    for x_mm, y_mm, points, font, line in _lines(label):
        canvas.setFont("Courier" if font == "monospace" else "Helvetica", points)
        canvas.drawString(left + x_mm * MM, top - y_mm * MM, line)
