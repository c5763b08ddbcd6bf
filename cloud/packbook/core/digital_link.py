"""Names of things as links: GS1 Digital Link, IEC 61406 identification link, DID.

In:  a text from a label, a card or a path. Out: `DigitalLink`, the identity inside a GS1 link; or the checked text.
Refuses with `NotAnIdentifier`, saying what is wrong. Nothing is looked up, and the domain of a GS1 link says nothing
about the thing: two links are the same when their `path` is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

GTIN: Final = "01"
BATCH: Final = "10"
SERIAL: Final = "21"
ASSET: Final = "8004"  # an individual asset (GIAI), for things that have no trade item number
GTIN_DIGITS: Final = 14
GTIN_LENGTHS: Final = (8, 12, 13, GTIN_DIGITS)
LENGTH_MAX: Final = {BATCH: 20, SERIAL: 20, ASSET: 30}
# GS1 General Specifications, AI encodable character set 82
SET_82: Final = re.compile(r"[!\"%-?A-Z_a-z]+")
PLAIN: Final = "-._"  # of set 82, what RFC 3986 calls unreserved; all else is percent-encoded
LINK_CHARS_MAX: Final = 255  # IEC 61406-1 ILS-5; the figure was not read in the standard itself
# RFC 3986; IEC 61406-1 ILS-6 and ILS-7 ask for a URL in its characters
_URL: Final = re.compile(r"https?://(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
# W3C DID Core 1.0 §3.1
_DID: Final = re.compile(r"did:[a-z0-9]+:(?:(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})*:)*(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})+")


class NotAnIdentifier(ValueError):
    """The text does not name a thing in the way asked for. It says why."""


@dataclass(frozen=True, slots=True)
class DigitalLink:
    """One thing by its GTIN and serial (perhaps its batch), or by its asset number: never both."""

    gtin: str | None = None
    serial: str | None = None
    batch: str | None = None
    asset: str | None = None

    @property
    def path(self) -> str:
        """The part that names the thing, in GS1's own order, with a leading slash."""
        parts = ((GTIN, self.gtin), (BATCH, self.batch), (SERIAL, self.serial), (ASSET, self.asset))
        return "".join(f"/{ai}/{quote(value, safe=PLAIN)}" for ai, value in parts if value is not None)

    def url(self, resolver: str) -> str:
        """`resolver`: https://HOST, perhaps with a folder. Raises NotAnIdentifier."""
        parts = urlsplit(resolver)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise NotAnIdentifier(f"{resolver}: a resolver is https://HOST, perhaps with a folder")
        return resolver.rstrip("/") + self.path


def trade_item(gtin: str, serial: str | None = None, *, batch: str | None = None) -> DigitalLink:
    """`gtin` of 8, 12, 13 or 14 digits; it is kept as 14. Raises NotAnIdentifier."""
    if not re.fullmatch(r"[0-9]+", gtin) or len(gtin) not in GTIN_LENGTHS:
        raise NotAnIdentifier(f"a GTIN has 8, 12, 13 or 14 digits, not '{gtin}'")
    if check_digit(gtin[:-1]) != gtin[-1]:
        raise NotAnIdentifier(f"GTIN {gtin}: its last digit would have to be {check_digit(gtin[:-1])}")
    for ai, value in ((BATCH, batch), (SERIAL, serial)):
        if value is not None:
            _check(ai, value)
    return DigitalLink(gtin=gtin.zfill(GTIN_DIGITS), serial=serial, batch=batch)


def single_asset(number: str) -> DigitalLink:
    """Raises NotAnIdentifier."""
    _check(ASSET, number)
    return DigitalLink(asset=number)


def parse_link(text: str) -> DigitalLink:
    """A whole link, or its path alone. Query and fragment (link type, dates) do not name the thing: they are not read.

    Raises NotAnIdentifier. In a link a GTIN has all its 14 digits.
    """
    try:
        parts = urlsplit(text)
    except ValueError as problem:
        raise NotAnIdentifier(f"{text}: not a URL ({problem})") from problem
    if parts.scheme not in ("http", "https", "") or (parts.scheme and not parts.hostname):
        raise NotAnIdentifier(f"{text}: expected https://HOST/01/GTIN/21/SERIAL")
    words = parts.path.strip("/").split("/")
    # A resolver may live in a folder, so the key is where keys and values come out even up to the end.
    starts = [n for n, word in enumerate(words) if word in (GTIN, ASSET) and (len(words) - n) % 2 == 0]
    if not starts:
        raise NotAnIdentifier(f"{text}: no GS1 key in its path: expected /01/GTIN/21/SERIAL or /8004/ASSET")
    return _read(words[starts[0] :])


def check_digit(digits: str) -> str:
    """GS1 mod 10 of the digits before it: weights 3, 1, 3 ... from the right."""
    return str(-sum(int(d) * (3 if n % 2 == 0 else 1) for n, d in enumerate(reversed(digits))) % 10)


def identification_link(text: str) -> str:
    """A URL that may stand on a nameplate as an IEC 61406 identification link. Raises NotAnIdentifier."""
    if len(text) > LINK_CHARS_MAX:
        raise NotAnIdentifier(f"{len(text)} characters; an identification link has at most {LINK_CHARS_MAX}")
    if not _URL.fullmatch(text):
        raise NotAnIdentifier("an identification link is an http(s) URL in its plain characters (RFC 3986)")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as problem:
        raise NotAnIdentifier(f"not a URL ({problem})") from problem
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise NotAnIdentifier("an identification link has a host, and no user or password")
    if not parts.path.strip("/") and not parts.query:
        raise NotAnIdentifier("an identification link names one thing: this one names a host alone")
    return text


def did(text: str) -> str:
    """A DID without path, query or fragment. Raises NotAnIdentifier."""
    if not _DID.fullmatch(text):
        raise NotAnIdentifier("a DID is did:METHOD:NAME in letters, digits and . - _ : %XX (DID Core 3.1)")
    return text


def _read(words: list[str]) -> DigitalLink:
    found: dict[str, str] = {}
    for ai, word in zip(words[::2], words[1::2], strict=True):
        if ai in found:
            raise NotAnIdentifier(f"{ai} stands in the link twice")
        found[ai] = _decoded(ai, word)
    order = tuple(found)
    if order == (ASSET,):
        return single_asset(found[ASSET])
    if order not in ((GTIN,), (GTIN, BATCH), (GTIN, SERIAL), (GTIN, BATCH, SERIAL)):
        raise NotAnIdentifier(f"keys {', '.join(order)}: expected 01, then 10 and 21 if given, or 8004 alone")
    if len(found[GTIN]) != GTIN_DIGITS:
        raise NotAnIdentifier(f"a GTIN in a link has {GTIN_DIGITS} digits: put zeros before '{found[GTIN]}'")
    return trade_item(found[GTIN], found.get(SERIAL), batch=found.get(BATCH))


def _decoded(ai: str, word: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", word):
        raise NotAnIdentifier(f"({ai}) '{word}': a percent sign is written %25")
    try:
        return unquote_to_bytes(word).decode("ascii")
    except UnicodeError as problem:
        raise NotAnIdentifier(f"({ai}) '{word}': only characters of GS1 set 82") from problem


def _check(ai: str, value: str) -> None:
    if not 1 <= len(value) <= LENGTH_MAX[ai]:
        raise NotAnIdentifier(f"({ai}) has {len(value)} characters: expected 1 to {LENGTH_MAX[ai]}")
    if not SET_82.fullmatch(value):
        raise NotAnIdentifier(f"({ai}) '{value}': only characters of GS1 set 82")
