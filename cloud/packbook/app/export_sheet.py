"""The format `sheet`: a battery's condition on paper. Here are its words, its fonts and the address in its QR code."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

from packbook.adapters.rules import RuleBook
from packbook.app.evidence import ExportError
from packbook.core.formats import Made, sheet
from packbook.core.formats.sheet.about import Link
from packbook.core.formats.sheet.pen import Fonts
from packbook.core.passport import Passport
from packbook.ports.passports import Manner
from packbook.settings import Settings
from packbook.web.words import ALL_WORDS

SUFFIX: Final = sheet.SUFFIX
FOLDER: Final = Path(__file__).parents[1] / "fonts"
FILES: Final = ("BIZUDPGothic-Regular.ttf", "BIZUDPGothic-Bold.ttf")


def make(settings: Settings, passport: Passport, _rules: RuleBook, manner: Manner) -> Made:
    return sheet.make(passport, ALL_WORDS[manner.language], fonts(), link_of(settings, passport, manner))


def link_of(settings: Settings, passport: Passport, manner: Manner) -> Link | None:
    """The page it was taken from, else what everybody may see. None: nobody outside reaches this book."""
    if manner.page is not None and manner.page.startswith(("https://", "http://")):
        return Link(manner.page, shared=True)
    if settings.public_url is None:
        return None
    if manner.page is not None:
        return Link(settings.public_url + manner.page, shared=True)
    return Link(f"{settings.public_url}/id/{quote(passport.battery, safe='')}", shared=False)


@cache
def fonts() -> Fonts:
    """Raises ExportError: a package always has them, a plain checkout gets them when it is built."""
    try:
        regular, bold = ((FOLDER / name).read_bytes() for name in FILES)
    except OSError as problem:
        raise ExportError(f"the sheet's fonts are not there ({FOLDER}): build the package") from problem
    return Fonts(regular, bold)
