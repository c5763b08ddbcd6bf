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
    Stop("session", f"{HERE}/sessions/{{session}}"),
    Stop("use", f"{HERE}/use"),
    Stop("trust", f"{HERE}/trust"),
    Stop("share", f"{HERE}/share"),
    Stop("consents", f"{HERE}/consents"),
    Stop("export", f"{HERE}/export"),
    Stop("compare", "/compare"),
    Stop("account", "/account"),
)
OPERATOR: Final = (
    Stop("fleet", "/fleet"),
    Stop("distribution", "/fleet/distribution"),
    Stop("boxes", "/fleet/boxes"),
    Stop("box", "/fleet/boxes/{box}"),
    Stop("enrol", "/fleet/enrol"),
    Stop("alerts", "/fleet/alerts"),
    Stop("lease-return", "/fleet/reports/lease-return"),
    Stop("guarantee", "/fleet/reports/guarantee"),
    Stop("triage", "/fleet/reports/triage"),
    Stop("profile-fit", "/fleet/profile-fit"),
    Stop("quarantine", "/fleet/quarantine"),
    Stop("message", "/fleet/quarantine/1"),
)
ADMIN: Final = (Stop("audit", "/fleet/audit"), Stop("users", "/fleet/users"))
BUYER: Final = (Stop("link", "/s/{token}"),)
NOBODY: Final = (
    Stop("sign-in", "/sign-in"),
    Stop("sign-in-code", "/sign-in/code"),
    Stop("invitation", "/account/invitation/{invitation}"),
    Stop("glossary", "/glossary"),
    Stop("verify", "/verify"),
    Stop("label", f"/id/{BATTERY}"),
    Stop("label-gs1", "/8004/nothing", 404),
    Stop("label-gtin", "/01/nothing", 404),
    Stop("error", "/nowhere", 404),
)
ROLES: Final = {"owner": OWNER, "operator": OPERATOR, "admin": ADMIN, "buyer": BUYER, "nobody": NOBODY}
STOPS: Final = tuple((role, stop) for role, stops in ROLES.items() for stop in stops)

# What answers a GET with something else than a page to read.
DOWNLOADS: Final = (".csv", ".json", ".pdf", ".zip")
FILES: Final = frozenset(
    {
        "/battery/{battery}/export/{format}",
        "/credentials/status/{number:int}",
        "/fleet/quarantine/{number:int}/bytes",
        "/healthz",
        "/readyz",
        "/s/{token}/{format}",
        "/sign-in/oidc",  # these three lead to another server and back
        "/sign-in/oidc/callback",
        "/sign-in/oidc/end",
        "/static/{name:path}",
    }
)


def path_of(stop: Stop, served: Served) -> str:
    return stop.path.format(token=served.token, invitation=served.invitation, box=served.box, session=served.session)
