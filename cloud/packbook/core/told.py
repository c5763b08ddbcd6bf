"""Recognise a reason that a program gave in a sentence, so that it can be said in another language.

In:  the sentences as programs write them, by name, in English: `{place}` stands for what differs from case to case.
Out: which sentence a text is, and what stood in its places. `Told`: a text in the reader's words, piece by piece.
Boxes and records tell why in English sentences: they are signed, and nobody may reword them. What is not one of the
sentences known here is shown as it came, marked as English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

PREFIX: Final = "reason."  # of the messages that are sentences of programs
BETWEEN: Final = "; "  # what programs put between reasons
WRITTEN_IN: Final = "en"  # what programs write
TEXTS_KEPT: Final = 2048  # pages say the same reasons over and over
INNER: Final = "reason"  # a place whose last word it is holds another reason
TYPED: Final = "typed"  # one that holds what a person typed
_PLACE: Final = re.compile(r"\{(\w+)\}")
_WITHIN: Final = f"(?:(?!{BETWEEN}).)+?"


class Piece(NamedTuple):
    text: str
    language: str | None  # None: the reader's own


@dataclass(frozen=True, slots=True)
class Told:
    """`str` of it is the whole text."""

    pieces: tuple[Piece, ...]

    def __str__(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    def __len__(self) -> int:
        return sum(len(piece.text) for piece in self.pieces)


class Found(NamedTuple):
    name: str
    places: Mapping[str, str]


class Reasons:
    """The sentences of one catalogue: its messages below `PREFIX`, without it."""

    def __init__(self, written: Mapping[str, str]) -> None:
        by_length = sorted(written.items(), key=lambda one: -len(_PLACE.sub("", one[1])))
        self._patterns = [(name, re.compile(pattern_of(text))) for name, text in by_length]  # the most telling first
        self.find = lru_cache(TEXTS_KEPT)(self._find)

    def _find(self, text: str) -> Found | None:
        found = ((name, pattern.fullmatch(text)) for name, pattern in self._patterns)
        return next((Found(name, match.groupdict()) for name, match in found if match), None)


def pattern_of(sentence: str) -> str:
    """A place twice in a sentence holds the same twice. Figures and names end where a reason does."""
    seen: set[str] = set()

    def hole(name: str) -> str:
        again = name in seen
        seen.add(name)
        free = name.rpartition("_")[2] in (INNER, TYPED)
        return f"(?P={name})" if again else f"(?P<{name}>{'.+?' if free else _WITHIN})"

    pieces = _PLACE.split(sentence)
    return "".join(hole(piece) if at % 2 else re.escape(piece) for at, piece in enumerate(pieces))


def reasons_in(messages: Mapping[str, str]) -> Reasons:
    """Of the English catalogue."""
    return Reasons({key.removeprefix(PREFIX): text for key, text in messages.items() if key.startswith(PREFIX)})


NO_REASONS: Final = Reasons({})
