"""Whether what the book knows of a battery may leave it for a purpose: one question, asked by every door to others.

In:  who watches a battery now, and what each store's owner agreed to last.
Out: whose word counts (`who_decides`); `may_leave`: None, or why not in words.
Silence is no consent: where nobody decided, the history is for the owner's own eyes and nothing goes to others.
What the owner takes away himself (evidence bundle, owner export) needs no consent: it is his.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from packwire.consent import UNDECIDED, Purpose

PASSPORT: Final = "passport"  # the purpose that lets figures of a battery go to others


@dataclass(frozen=True, slots=True)
class Watcher:
    """A store whose records are of this battery now."""

    box: str
    store: str
    newest_ms: int  # when its newest record came
    active: bool  # no operator revoked, retired or replaced its box
    purposes: tuple[str, ...] | None  # None: nobody decided

    @property
    def name(self) -> str:
        return f"{self.box}/{self.store}"


def who_decides(watchers: Sequence[Watcher]) -> dict[str, tuple[str, ...] | None]:
    """What was agreed to, by the stores whose word counts now.

    Of each box its newest store: an older one was on a card that is gone. Boxes that were taken out have no say while
    another watches; where none does any more, the last one's word stands.
    """
    newest: dict[str, Watcher] = {}
    for one in sorted(watchers, key=lambda one: (one.newest_ms, one.store)):
        newest[one.box] = one
    present = [one for one in newest.values() if one.active]
    last = sorted(newest.values(), key=lambda one: (one.newest_ms, one.box))[-1:]
    return {one.name: one.purposes for one in sorted(present or last, key=lambda one: one.name)}


def may_leave(purposes: Mapping[str, Sequence[str] | None], purpose: str) -> str | None:
    """None: yes. Else why not. `purposes`: of `Histories.purposes`; every store there must agree."""
    if not purposes:
        return "no box watches this battery, so nobody agreed to anything"
    for store, agreed in purposes.items():
        if purpose not in (UNDECIDED if agreed is None else agreed):
            how = "nobody decided yet" if agreed is None else f"agreed to {', '.join(sorted(agreed)) or 'nothing'}"
            return f"the owner's consent to {purpose} is missing: {how} (store {store}; packbox consent, at the box)"
    return None


@dataclass(frozen=True, slots=True)
class Agreed:
    """Of one purpose: the stores that agree to it, those that do not, and whether silence is what they say."""

    purpose: Purpose
    yes: tuple[str, ...]
    no: tuple[str, ...]
    undecided: bool

    @property
    def state(self) -> str:
        if not self.yes:
            return "no"
        return "partly" if self.no else "yes"


def agreed(said: Mapping[str, Sequence[str] | None]) -> tuple[Agreed, ...]:
    """Every purpose there is, in the order people are asked."""
    holds = {store: frozenset(UNDECIDED if purposes is None else purposes) for store, purposes in said.items()}
    undecided = any(purposes is None for purposes in said.values())
    return tuple(
        Agreed(
            purpose,
            tuple(store for store, purposes in holds.items() if purpose in purposes),
            tuple(store for store, purposes in holds.items() if purpose not in purposes),
            undecided,
        )
        for purpose in Purpose
    )
