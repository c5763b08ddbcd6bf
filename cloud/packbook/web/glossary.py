"""The words of these pages, explained for people who never wanted to become battery engineers.

In:  the catalogue. Out: one page, each word with an anchor that other pages lead to.
"""

from __future__ import annotations

from typing import Final

from fastapi import Request, Response

from packbook.web.render import render

TERMS: Final = (
    "soh",
    "interval",
    "capacity",
    "reference",
    "reported",
    "soce",
    "coverage",
    "forecast",
    "promise",
    "soc",
    "cycles",
    "depth",
    "c_rate",
    "fast_charge",
    "stress",
    "spread",
    "resistance",
    "evidence",
    "record",
    "bundle",
    "checkpoint",
    "box",
    "consent",
    "share_link",
)


async def glossary(request: Request) -> Response:
    return render(request, "glossary.html", terms=TERMS)
