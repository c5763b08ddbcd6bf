"""The answers shown as examples in the API's manual, asked of a lived-in book: `python -m api_samples --write`.

Long lists are cut to their first items and figures to a few digits; everything else is as a program gets it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import httpx

from packbook.adapters.rules import RuleBook
from packbook.app.access import access_rules
from packbook.core.access import Read, Reader
from packbook.core.accounts import EVERYWHERE, Reach
from packbook.core.history import EventRow, Provenance
from packbook.ports.trust import SignedCheckpoint
from packbook.testing.lived_in import lived_in
from packbook.testing.memory_access import MemoryGate, memory_access
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import BOX, STORE
from packbook.web.api_routes import API, V1
from packbook.web.app import create_app
from packbook.web.openapi import EXAMPLES_FILE

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
    gate = OneRead(noted=[Read(AT_MS, LEAF, Reader("operator", account="a1b2c3"), "page", "battery")])
    access = memory_access(access_rules(RuleBook()), gate)
    app = create_app(sample_book(), OneCheckpoint(), access=access)
    found: dict[str, Any] = {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://book.test") as client:
        for route in API:
            path = ASK.get(route.path, route.path.replace("{battery}", LEAF))
            answer = await client.get(V1 + path)
            answer.raise_for_status()
            found[route.path] = cut(answer.json())
    return found | {"/live": LIVE}


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
