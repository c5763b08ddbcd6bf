"""The panel that checks files in the browser: the words its script shows, and the page that does only that.

In:  a request. Out: what templates/verify.html needs. The script (static/verify_page.js) adds no words of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response

from packbook.ports.trust import Credentials
from packbook.web.render import render, words_for

PREFIX: Final = "verify.said."


@dataclass(frozen=True, slots=True)
class Panel:
    """`published`: this book tells its keys at /.well-known/did.json, to be held against those that signed."""

    words: Mapping[str, str]
    published: bool


def panel_of(request: Request) -> Panel:
    t = words_for(request)
    names = [key.removeprefix(PREFIX) for key in t.messages if key.startswith(PREFIX)]
    signed: Credentials | None = request.app.state.credentials
    published = signed is not None and signed.did_document() is not None
    return Panel({name: t(f"verify.said.{name}") for name in names}, published)


async def verify(request: Request) -> Response:
    """Check a file that somebody gave you. It stays in the browser."""
    return render(request, "verify_page.html", panel=panel_of(request))
