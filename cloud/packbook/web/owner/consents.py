"""What the owner agreed to, and how he changes his mind. The book shows it and cannot change it.

In:  the signed decisions of the stores whose word counts. Out: the page.
"""

from __future__ import annotations

from fastapi import Request, Response

from packbook.core.consent import PASSPORT, agreed, may_leave
from packbook.web.access import histories
from packbook.web.owner.frame import battery_of
from packbook.web.render import render


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
