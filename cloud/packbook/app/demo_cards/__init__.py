"""What the demo's makers and workshops say of its packs, all of it made up and marked so.

In:  a running book that has heard of the demo's batteries. Out: declarations in it, so that every format has something
to show.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from packbook.adapters.cards import read_card
from packbook.adapters.rules import RuleBook
from packbook.adapters.store import declarations, open_reader
from packbook.adapters.store.histories import SqlHistories
from packbook.app.declaration import ACTS, as_arguments
from packbook.app.operate import operate
from packbook.clock import now_ms
from packbook.core.declared import Declared, Scope
from packbook.core.digital_link import check_digit
from packbook.settings import Settings

CARDS: Final = Path(__file__).parent
BY: Final = "demo, made up"
RESOLVER: Final = "https://id.example.com"
GTIN_BODIES: Final[Mapping[str, str]] = {  # GS1 keeps the prefix 952 for examples
    "leaf-24": "0952000000001",
    "leaf-62": "0952000000002",
    "imiev-16": "0952000000003",
}
ASK_EVERY_S: Final = 1.0


async def declare_all(settings: Settings, models: Mapping[str, str]) -> None:
    """`models`: by battery. Waits until each is heard of; what an earlier run declared stays as it is."""
    waiting = dict(models)
    while waiting:
        for battery, spoken_for in (await _heard_of(settings, list(waiting))).items():
            model = waiting.pop(battery)
            if not spoken_for:
                await operate(settings, ACTS, "declare", as_arguments(Scope.BATTERY, battery, said_of(battery, model)))
        await asyncio.sleep(ASK_EVERY_S)


async def _heard_of(settings: Settings, batteries: list[str]) -> dict[str, bool]:
    """Those of them that the book knows, and whether anything was declared of them."""
    async with open_reader(settings.database_url.get_secret_value()) as database:
        known = [battery for battery in batteries if await SqlHistories(database).battery(battery) is not None]
        return {battery: bool(await declarations.said_of(database, battery, None)) for battery in known}


def said_of(battery: str, model: str) -> list[Declared]:
    at_ms = now_ms()
    card = read_card(CARDS / f"{model}.toml", RuleBook().fields(), Scope.BATTERY, at_ms)
    return [*card, *_of_one(battery, model, at_ms)]


def _of_one(battery: str, model: str, at_ms: int) -> list[Declared]:
    body = GTIN_BODIES[model]
    link = f"{RESOLVER}/01/{body}{check_digit(body)}/21/{battery}"
    began = datetime.fromtimestamp(at_ms / 1000, UTC).date()
    told = {
        "identifiers": f"gs1:{link}",
        "passport_id": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, link)}",
        "status": "original",
        "made_on": f"{began.year - 6}-04",
        "in_service_on": f"{began.year - 6}-06-15",
    }
    return [Declared(name, value, BY, at_ms, document="made up for the demo") for name, value in told.items()]
