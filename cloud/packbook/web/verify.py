"""Words that static/verify_page.js shows after it checked a file in the browser; and the page that does only that.

In:  the reader's `Words`. Out: a map from message to text, as JSON in the page. The script adds no words of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import Request, Response

from packbook.core.words import Words
from packbook.web.render import render, words_for

PREFIX: Final = "verify.said."


def verify_words(t: Words) -> Mapping[str, str]:
    names = [key.removeprefix(PREFIX) for key in t.messages if key.startswith(PREFIX)]
    return {name: t(f"verify.said.{name}") for name in names}


async def verify(request: Request) -> Response:
    """Check a file that somebody gave you. It stays in the browser."""
    return render(request, "verify_page.html", words=verify_words(words_for(request)))
