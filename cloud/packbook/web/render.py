"""Turn a template and values into a page in the reader's language.

In:  template name, values; language from `?lang=`, cookie or Accept-Language.
Out: an HTML answer that remembers a language asked for. Autoescape is on and a missing value is an error.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from packbook.core.accounts import BOOKS_OWN
from packbook.core.words import Words, iso
from packbook.web.nav import nav_of
from packbook.web.words import ALL_WORDS, COOKIE, LANGUAGES, choose_language

TEMPLATES: Final = Path(__file__).with_name("templates")
REMEMBER: Final = datetime.timedelta(days=365)

PAGES: Final = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
PAGES.filters["iso"] = iso
PAGES.filters["segment"] = lambda text: quote(text, safe="")  # one path segment: batteries name themselves


def words_for(request: Request) -> Words:
    language = choose_language(
        request.query_params.get("lang"), request.cookies.get(COOKIE), request.headers.get("accept-language")
    )
    return ALL_WORDS[language]


def render(request: Request, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
    words = words_for(request)
    who = BOOKS_OWN
    page = PAGES.get_template(template).render(
        t=words,
        lang=words.language,
        switch={language: _address_in(request, language) for language in LANGUAGES},
        title=request.app.state.title,
        who=who,
        nav=nav_of(request, who),
        asset=request.app.state.assets.url,
        charts_available="vendor/echarts.min.js" in request.app.state.assets,
        **values,
    )
    answer = HTMLResponse(
        page,
        status,
        headers={
            "Cache-Control": "private, no-cache",
            "Vary": "Accept-Language, Cookie",
            "Content-Language": words.language,
        },
    )
    if request.query_params.get("lang") in LANGUAGES:
        answer.set_cookie(
            COOKIE, words.language, max_age=int(REMEMBER.total_seconds()), httponly=True, samesite="lax", path="/"
        )
    return answer


def _address_in(request: Request, language: str) -> str:
    """This page in another language: path and other parameters stay."""
    return f"{quote(request.url.path)}?{request.url.include_query_params(lang=language).query}"
