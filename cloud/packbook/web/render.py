"""Turn a template and values into a page in the reader's language.

In:  template name, values; language from `?lang=`, cookie or Accept-Language.
Out: an HTML answer that remembers a language asked for. Autoescape is on and a missing value is an error.
"""

from __future__ import annotations

import datetime
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from packbook.core.words import Words, iso
from packbook.web.access import who_of
from packbook.web.current import tag_of
from packbook.web.nav import nav_of
from packbook.web.session import FIELD, csrf_token, keep_form_secret
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
        request.query_params.get("lang"),
        request.cookies.get(COOKIE),
        request.headers.get("accept-language"),
    )
    return ALL_WORDS[language]


def render(request: Request, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
    words = words_for(request)
    who = who_of(request)
    page = PAGES.get_template(template).render(
        t=words,
        lang=words.language,
        switch={language: _address_in(request, language) for language in LANGUAGES},
        title=request.app.state.title,
        who=who,
        nav=nav_of(request, who),
        asset=request.app.state.assets.url,
        has_accounts=request.app.state.accounts is not None,
        csrf=partial(_csrf_field, request),
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
    keep_form_secret(request, answer)
    tag = tag_of(request)
    if tag is not None and "set-cookie" not in answer.headers:
        answer.headers["ETag"] = f"W/{tag}"
    if request.query_params.get("lang") in LANGUAGES:
        remember_language(answer, words.language)
    return answer


def piece(t: Words, template: str, **values: object) -> Markup:
    """Of a page, and the same for all who read this language: it knows nothing of the request."""
    return Markup(PAGES.get_template(template).render(t=t, lang=t.language, **values))  # noqa: S704  # autoescaped


def remember_language(answer: Response, language: str) -> None:
    seconds = int(REMEMBER.total_seconds())
    answer.set_cookie(COOKIE, language, max_age=seconds, httponly=True, samesite="lax", path="/")


def _csrf_field(request: Request) -> Markup:
    """In every form that changes something: `{{ csrf() }}`."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, csrf_token(request))


def _address_in(request: Request, language: str) -> str:
    """This page in another language: path and other parameters stay."""
    return f"{quote(request.url.path)}?{request.url.include_query_params(lang=language).query}"
