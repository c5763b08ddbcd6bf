"""Where a reader can go from here: the pages that exist and that he may open, and which of them he is on.

In:  a request, and who asks. Out: `Nav`, for base.html. Templates pick the words by name: `nav.{name}`.
A page that nobody put into `web.app.PAGES`, or that asks for more than the reader may, is not offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote

from fastapi import Request

from packbook.core.accounts import May, Who

OUTSIDE: Final = ("/s/", "/id/", "/01/", "/8004/")  # for readers without an account: no way into anybody's pages
BATTERY: Final = "/battery/{battery}"


class Place(NamedTuple):
    """`path`: as `web.app.PAGES` has it. `around`: addresses below it count as this place."""

    name: str
    path: str
    around: str


MAIN: Final = (
    Place("batteries", "/", "/battery"),
    Place("fleet", "/fleet", "/fleet"),
    Place("boxes", "/fleet/boxes", "/fleet/boxes"),
    Place("enrol", "/fleet/enrol", "/fleet/enrol"),
    Place("alerts", "/fleet/alerts", "/fleet/alerts"),
    Place("reports", "/fleet/reports/lease-return", "/fleet/reports"),
    Place("profile_fit", "/fleet/profile-fit", "/fleet/profile-fit"),
    Place("quarantine", "/fleet/quarantine", "/fleet/quarantine"),
    Place("audit", "/fleet/audit", "/fleet/audit"),
    Place("users", "/fleet/users", "/fleet/users"),
)
OF_A_BATTERY: Final = tuple(
    Place(name, f"{BATTERY}/{name}" if name != "overview" else BATTERY, "")
    for name in ("overview", "sessions", "use", "trust", "share", "consents", "export")
)


@dataclass(frozen=True, slots=True)
class Link:
    name: str
    address: str
    current: str | None  # what aria-current says: "page" here, "true" somewhere below


@dataclass(frozen=True, slots=True)
class Nav:
    main: tuple[Link, ...]
    battery: tuple[Link, ...]  # of the battery whose page this is


NOWHERE: Final = Nav((), ())


def nav_of(request: Request, who: Who) -> Nav:
    if request.url.path.startswith(OUTSIDE):
        return NOWHERE
    pages: Mapping[str, May] = request.app.state.pages
    open_to_him = {path for path, may in pages.items() if may in who.may}
    here = request.url.path
    main = [place for place in MAIN if place.path in open_to_him]
    if "/fleet" in open_to_him:  # its table lists the batteries, and "/" leads there
        main = [place for place in main if place.name != "batteries"]
    near = max(
        (place for place in main if _below(here, place.around)), key=lambda place: len(place.around), default=None
    )
    battery = request.path_params.get("battery")
    return Nav(
        tuple(Link(place.name, place.path, _current(here, place.path, place is near)) for place in main),
        _of_battery(quote(battery, safe=""), here, open_to_him) if battery else (),
    )


def _of_battery(battery: str, here: str, open_to_him: set[str]) -> tuple[Link, ...]:
    places = [(place.name, place.path) for place in OF_A_BATTERY if place.path in open_to_him]
    links = [(name, path.replace("{battery}", battery)) for name, path in places]
    return tuple(
        Link(name, to, _current(quote(here), to, name != "overview" and _below(quote(here), to))) for name, to in links
    )


def _below(here: str, around: str) -> bool:
    return here == around or here.startswith(f"{around}/")


def _current(here: str, path: str, near: bool) -> str | None:
    if here == path:
        return "page"
    return "true" if near else None
