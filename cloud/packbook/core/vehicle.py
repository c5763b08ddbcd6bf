"""Numbers of vehicles as people write them: one form to keep, one form to look up by.

In:  text from a registration paper. Out: a VIN (17 characters) or a Japanese chassis number (6 to 17, with a hyphen).
Refuses everything else, without ever repeating what it was given: an error message ends in a log.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

LENGTH_MIN: Final = 6  # Japanese chassis numbers, hyphen counted
LENGTH_MAX: Final = 17  # ISO 3779
VIN_NEVER: Final = frozenset("IOQ")
_DASHES: Final = dict.fromkeys(map(ord, "‐‑‒–—―−ーｰ"), "-")
_SHAPE: Final = re.compile(r"[A-Z0-9]+(-[A-Z0-9]+)?")


def vehicle_number(text: str) -> str:
    """The form to keep. Raises ValueError that does not repeat the number."""
    plain = unicodedata.normalize("NFKC", text.translate(_DASHES)).translate(_DASHES)
    number = "".join(plain.split()).upper()
    if not LENGTH_MIN <= len(number) <= LENGTH_MAX:
        raise ValueError(f"{len(number)} characters; a VIN has 17, a chassis number {LENGTH_MIN} to {LENGTH_MAX}")
    if not _SHAPE.fullmatch(number) or not any(c.isdigit() for c in number):
        raise ValueError("expected letters and digits, with at most one hyphen between them")
    if len(number) == LENGTH_MAX and "-" not in number and VIN_NEVER & set(number):
        raise ValueError("a VIN has no I, O or Q (ISO 3779): read it again")
    return number


def lookup_form(number: str) -> str:
    """People leave the hyphen out."""
    return number.replace("-", "")
