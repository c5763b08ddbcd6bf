"""Every page there is, with an address of it in the demo-like fleet: what is looked at, checked and photographed.

`web.app.PAGES` is the list to keep up with; tests/browser/test_places.py fails where a page is missing here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from browser.fleet import BATTERY, Served


class Stop(NamedTuple):
    name: str  # of its pictures
    path: str
    status: int = 200


HERE: Final = f"/battery/{BATTERY}"
OWNER: Final = (
    Stop("batteries", "/"),
    Stop("overview", HERE),
    Stop("sessions", f"{HERE}/sessions"),
    Stop("charges", f"{HERE}/sessions?kind=charge"),
)
OPERATOR: Final[tuple[Stop, ...]] = ()
ADMIN: Final[tuple[Stop, ...]] = ()
BUYER: Final = (Stop("link", "/s/{token}"),)
NOBODY: Final = (
    Stop("label", f"/id/{BATTERY}"),
    Stop("label-gs1", "/8004/nothing", 404),
    Stop("label-gtin", "/01/nothing", 404),
    Stop("error", "/nowhere", 404),
)
ROLES: Final = {"owner": OWNER, "operator": OPERATOR, "admin": ADMIN, "buyer": BUYER, "nobody": NOBODY}
STOPS: Final = tuple((role, stop) for role, stops in ROLES.items() for stop in stops)

# What answers a GET with something else than a page to read.
FILES: Final = frozenset(
    {
        "/battery/{battery}/sessions.csv",
        "/battery/{battery}/soh.csv",
        "/battery/{battery}/sheet.pdf",
        "/s/{token}/{format}",
        "/.well-known/did.json",
        "/did.json",
        "/credentials/status/{number:int}",
        "/credentials/schema/credential-1.schema.json",
        "/static/{name:path}",
    }
)


def path_of(stop: Stop, served: Served) -> str:
    return stop.path.format(token=served.token)
