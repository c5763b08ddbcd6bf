"""What a stranger finds when a number is worked out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    PROVEN = "proven"  # follows from the records
    CLAIMED = "claimed"  # nothing in the records speaks against it, and nothing can be worked out for it
    DIFFERS = "differs"  # the records say something else
    MISSING = "missing"  # the records that would tell are not there


@dataclass(frozen=True, slots=True)
class Finding:
    """One number of one store, and what the records say to it."""

    what: str
    verdict: Verdict
    words: str
    claimed: float | str | None = None
    recomputed: float | str | None = None
    store: str = ""
    seqs: Sequence[int] = ()  # the records that it is about
