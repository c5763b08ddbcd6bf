"""What reading a log found: how much was read, what was not, and how far its times may be believed.

In:  notes, one for every line or record that gave no frame.
Out: `LogReport`, a value. Reasons are kept with a count, the first line and an excerpt of it, never all lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

EXCERPT_CHARS: Final = 60  # enough to recognise a line in a terminal


class TimeKind(StrEnum):
    WALL = "wall"  # the log knows when it was recorded
    RELATIVE = "relative"  # only differences mean anything
    NONE = "none"  # order only; the times are a nominal spacing, and no integral over them means anything


@dataclass(frozen=True, slots=True)
class Note:
    """Lines or records that gave no frame, for one reason."""

    reason: str
    count: int
    first_line: int  # from 1; record number in a binary log; 0 where neither applies
    excerpt: str


@dataclass(frozen=True, slots=True)
class LogReport:
    path: Path
    format: str
    compressed: bool
    frames: int
    sent: int  # of these, sent by the logger itself
    unreadable: tuple[Note, ...]  # damaged, cut, or not of this format: frames may be missing here
    passed_over: tuple[Note, ...]  # understood, and known to carry no frame (comments, headers, adapter chatter)
    time_kind: TimeKind
    zone_assumed: bool  # wall time came without a zone and was taken as UTC
    first_wall_ms: int | None  # UTC since 1970 of the first frame
    span_ns: int  # from the first frame to the last
    times_back: int  # frames older than the one before them
    channels: Mapping[str, int]  # name in the log -> bus number of the frames

    @property
    def unreadable_count(self) -> int:
        return sum(note.count for note in self.unreadable)


class Notes:
    """Gathers notes while a log is read."""

    def __init__(self) -> None:
        self._unreadable: dict[str, Note] = {}
        self._passed_over: dict[str, Note] = {}

    def unreadable(self, reason: str, line: int, text: bytes = b"") -> None:
        _note(self._unreadable, reason, line, text)

    def passed_over(self, reason: str, line: int, text: bytes = b"") -> None:
        _note(self._passed_over, reason, line, text)

    def both(self) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
        return tuple(self._unreadable.values()), tuple(self._passed_over.values())


def excerpt(text: bytes) -> str:
    """The start of a line, safe to print whatever it holds."""
    shown = text[: EXCERPT_CHARS * 2].strip().decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)
    return shown if len(shown) <= EXCERPT_CHARS else shown[: EXCERPT_CHARS - 1] + "…"


def _note(notes: dict[str, Note], reason: str, line: int, text: bytes) -> None:
    old = notes.get(reason)
    notes[reason] = (
        Note(reason, 1, line, excerpt(text))
        if old is None
        else Note(reason, old.count + 1, old.first_line, old.excerpt)
    )
