"""Which passwords are taken: long ones that are not the first that anybody would try.

In:  a password and what is known of its account. Out: why it is refused, as a key of words, or None.
After NIST SP 800-63B-4 §3.1.1.2: length and a list of what is commonly used, no rules about kinds of characters, no
change by calendar.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

LENGTH_MIN: Final = 15  # of a password that is the only factor, as it is while a second one may be left out
LENGTH_MAX: Final = 256  # hashing a book would keep the server busy; the standard asks for at least 64
OWN_CHARACTERS_MIN: Final = 6  # that remain without what anybody would guess
# Words that lists of leaked passwords begin with, and ours.
COMMON: Final = (
    "password", "passw0rd", "passwort", "letmein", "welcome", "iloveyou", "monkey", "dragon", "football", "baseball",
    "superman", "batman", "princess", "sunshine", "shadow", "master", "michael", "jordan", "charlie", "trustno",
    "starwars", "whatever", "freedom", "hello", "login", "secret", "admin", "administrator", "root", "user", "guest",
    "test", "changeme", "default", "qwerty", "qwertz", "azerty", "asdfgh", "zxcvbn", "google", "facebook", "pokemon",
    "naruto", "sakura", "doraemon", "nippon", "tokyo", "arigato", "battery", "packbook", "packbox", "abc",
)  # fmt: skip
ROWS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "012345678901234567890",
)
RUN: Final = 4  # so many of a row, or of one character, are one guess


def normal(password: str) -> str:
    """The same keys on another machine make the same password."""
    return unicodedata.normalize("NFKC", password)


def refused(password: str, *names: str) -> str | None:
    """`names`: login, name, whatever stands beside it. None: it is taken."""
    text = normal(password)
    if len(text) < LENGTH_MIN:
        return "short"
    if len(text) > LENGTH_MAX or not text.isprintable():
        return "unusable"
    return "common" if _guessable(text.casefold(), names) else None


def _guessable(text: str, names: tuple[str, ...]) -> bool:
    if re.fullmatch(r"(.{1,8}?)\1+.{0,3}", text):  # one piece again and again
        return True
    pieces = [piece for name in names for piece in re.split(r"[\W_]+", name.casefold()) if len(piece) >= RUN]
    for word in sorted((*COMMON, *pieces), key=len, reverse=True):
        text = text.replace(word, " ")
    for row in ROWS:
        for line in (row, row[::-1]):
            for start in range(len(line) - RUN + 1):
                text = text.replace(line[start : start + RUN], " ")
    text = re.sub(r"(.)\1{2,}", r"\1", text)
    return len(re.sub(r"[\W_]+", "", re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text))) < OWN_CHARACTERS_MIN and not _is_dice(
        text
    )


def _is_dice(text: str) -> bool:
    """Digits alone, without any run, are taken for dice."""
    return text.isdigit() and len(text) >= LENGTH_MIN
