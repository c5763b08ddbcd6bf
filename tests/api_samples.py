"""The answers shown as examples in the API's manual, asked of a lived-in book: `python -m api_samples --write`.

Long lists are cut to their first items and figures to a few digits; everything else is as a program gets it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final, cast

import httpx
from fastapi import FastAPI

from packbook.adapters.rules import RuleBook
from packbook.app.access import access_rules
from packbook.core.access import Read, Reader
from packbook.core.accounts import EVERYWHERE, Reach
from packbook.core.alerts import OPEN_ONES, Alert, AlertQuery, Kind, Severity, State
from packbook.core.enrolment import BoxState, EnrolledBox
from packbook.core.fleet_boxes import BoxLife, BoxLine
from packbook.core.fleet_papers import CodeLine
from packbook.core.history import EventRow, Provenance
from packbook.core.labels import Label
from packbook.core.share import Link
from packbook.ports.fleet import Alerts
from packbook.ports.trust import SignedCheckpoint
from packbook.testing.lived_in import lived_in
from packbook.testing.memory_access import MemoryGate, memory_access
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import BOX, STORE
from packbook.web.api_acts import LinkMadeOut
from packbook.web.api_routes import API, V1, ApiRoute
from packbook.web.app import create_app
from packbook.web.fleet.room import Fleet
from packbook.web.openapi import EXAMPLES_FILE, example_name

LEAF: Final = "leaf-24-0001"
ITEMS: Final = 3  # the longest list of fixed length
DIGITS: Final = 4  # the last ones differ from processor to processor
AT_MS: Final = 1_796_119_200_000
ASK: Final = {
    "/batteries/{battery}": f"/batteries/{LEAF}",
    "/batteries": "/batteries?limit=1",
    "/batteries/{battery}/soh": f"/batteries/{LEAF}/soh?limit=1&offset=200",
    "/batteries/{battery}/sessions": f"/batteries/{LEAF}/sessions?kind=charge&limit=1",
    "/batteries/{battery}/reads": f"/batteries/{LEAF}/reads?limit=1",
    "/boxes": "/boxes?limit=1",
    "/problems/{name}": "/problems/not-found",
}
# What is drawn or read from the clock is another each time.
DRAWN: Final[Mapping[type, Mapping[str, Any]]] = {
    LinkMadeOut: {
        "id": "630dcd2966c43366",
        "address": "https://book.example/s/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "made_ms": AT_MS,
        "expires_ms": AT_MS + 14 * 86_400_000,
    }
}
LIVE: Final = {
    "event": "changed",
    "data": json.dumps({"batteries": [LEAF], "boxes": [], "alerts": []}),
    "id": "5e0c11a7-42",
}


class OneCheckpoint:
    """Evidence enough for an example."""

    book_key = bytes(range(32))

    async def bundle(self, battery: str) -> bytes | None:
        return None

    async def checkpoints(
        self, battery: str | None = None, reach: Reach = EVERYWHERE, limit: int | None = None, offset: int = 0
    ) -> Sequence[SignedCheckpoint]:
        return (SignedCheckpoint(BOX, STORE, 812, LEAF, AT_MS, bytes(range(48))),)[offset:][:limit]


ALERT: Final = Alert(
    Kind.BOX_SILENT, Severity.WARNING, State.RAISED, BOX, 9.0, AT_MS, "1", 7, box=BOX, battery=LEAF, raised_ms=AT_MS
)
LINK: Final = Link(
    bytes(range(32)), LEAF, "buyer", None, None, None, "the yard", AT_MS, "a1b2c3", AT_MS, None, 2, revoked_ms=AT_MS
)
UNTIL_MS: Final = AT_MS + 14 * 86_400_000
FLEETS: Final = ("vans-north", "vans-south")


class OneAlert:
    """Which takes a note and keeps it."""

    def __init__(self) -> None:
        self.alert = ALERT

    async def list(self, reach: Reach, query: AlertQuery = OPEN_ONES) -> Sequence[Alert]:
        return [self.alert][query.offset :][: query.limit]

    async def acknowledge(self, number: int, who: str, note: str, reach: Reach) -> Alert | None:
        if number != self.alert.id:
            return None
        if self.alert.state is State.RAISED:
            taken = {"acknowledged_ms": AT_MS, "acknowledged_by": who, "note": note}
            self.alert = replace(self.alert, state=State.ACKNOWLEDGED, **taken)
        return self.alert


class OneBox:
    """Of a fleet, with the code that it came with."""

    async def fleets(self, reach: Reach) -> Sequence[str]:
        return FLEETS

    async def one(self, reach: Reach, box: str) -> BoxLife | None:
        if box != BOX:
            return None
        line = BoxLine(
            BOX, LEAF, None, None, None, FLEETS[0], "active", AT_MS, online=True, unready=0, health={}, until_ms=AT_MS
        )
        enrolled = EnrolledBox(BOX, bytes(32), FLEETS[0], BoxState.ACTIVE, AT_MS, AT_MS)
        return BoxLife(line, enrolled, (), (), (), (), (), ())

    async def codes(self, reach: Reach, limit: int, offset: int) -> Sequence[CodeLine]:
        return [CodeLine("00ff00ff00ff00ff", FLEETS[0], AT_MS, UNTIL_MS, None, AT_MS, BOX)][offset:][:limit]


class OneDesk:
    why_no_codes = None

    async def do(self, act: str, wish: Mapping[str, Any]) -> None: ...

    async def new_codes(self, count: int, fleet: str, days: float, replaces: str | None, who: str) -> Sequence[Label]:
        return [Label("https://book.example:8444", "7Q2M-4ZK9-WH3T-0C8D", "ab" * 32, fleet, UNTIL_MS)] * count


def sample_fleet() -> Fleet:
    """As much of it as the API asks."""
    unasked: Any = None
    boxes: Any = OneBox()
    desk: Any = OneDesk()
    return Fleet(unasked, boxes, unasked, desk, cast("Alerts", OneAlert()))


class OneRead(MemoryGate):
    """Nobody but an operator ever looked."""

    async def note(self, reads: Sequence[Read]) -> None:
        pass


@cache
def sample_book() -> MemoryHistories:
    """Nobody changes it."""
    book = lived_in()
    book.event_rows[LEAF] = [EventRow("cell_over_temp", AT_MS, 420.0, 51.5, None, Provenance(BOX, STORE, 640))]
    return book


async def answers() -> dict[str, Any]:
    """By path of the route."""
    read = Read(AT_MS, LEAF, Reader("operator", account="a1b2c3"), "page", "battery")
    access = memory_access(access_rules(RuleBook()), OneRead({LINK.digest: LINK}, noted=[read]))
    app = create_app(sample_book(), OneCheckpoint(), access=access, fleet=sample_fleet())
    found: dict[str, Any] = {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://book.test") as client:
        for route in API:
            path = ASK.get(route.path, route.path).format(battery=LEAF, box=BOX, number=ALERT.id, link=LINK.id)
            answer = await client.request(route.method, V1 + path, json=wish_of(app, route))
            answer.raise_for_status()
            found[example_name(route)] = cut(answer.json() | DRAWN.get(route.answer, {}))
    return found | {"/live": LIVE}


def wish_of(app: FastAPI, route: ApiRoute) -> Any:
    """The body that the manual shows, where a route takes one."""
    manual = app.openapi()
    operation = manual["paths"][V1 + route.path][route.method.lower()]
    if "requestBody" not in operation:
        return None
    name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    shown = manual["components"]["schemas"][name]["properties"].items()
    return {field: told["examples"][0] for field, told in shown if "examples" in told}


def cut(value: Any) -> Any:
    if isinstance(value, list):
        return [cut(item) for item in value[:ITEMS]]
    if isinstance(value, dict):
        return {name: cut(item) for name, item in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value


def as_written(found: dict[str, Any]) -> str:
    return json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    EXAMPLES_FILE.write_text(as_written(asyncio.run(answers())), encoding="utf-8")
