"""A sheet of labels for new boxes, to print on A4: QR code, the code to type, the authority's fingerprint.

In:  one `Label` per box.
Out: one HTML file that stands alone: no script, no network, black on white, 24 labels a page (3 x 8).
The QR code holds the same three lines as the boot file, so that one scan tells everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

import segno

PER_PAGE: Final = 24
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
