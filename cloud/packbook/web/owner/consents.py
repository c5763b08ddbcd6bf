"""What the owner agreed to, and how he changes his mind. The book shows it and cannot change it.

In:  the signed decisions of the stores whose word counts. Out: the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from packbook.core.consent import PASSPORT, may_leave
from packbook.web.access import histories
from packbook.web.owner.frame import battery_of
from packbook.web.render import render
from packwire.consent import UNDECIDED, Purpose


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


async def consents(request: Request) -> Response:
    book, battery = histories(request), await battery_of(request, "consents")
    said = await book.purposes(battery.battery)
    return render(
        request,
        "owner/consents.html",
        battery=battery,
        agreed=agreed(said),
        watched=bool(said),
        shown=may_leave(said, PASSPORT) is None,
    )


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
