"""`packbook learn`: learn from the stored batteries how each family of packs ages. `packbook serve` does so daily."""

from __future__ import annotations

import argparse
import asyncio
import logging
from typing import Final

from packbook.adapters.store import fleets, open_writer
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.app.command import DONE, add_settings, run
from packbook.clock import now_ms
from packbook.core.fleet import TEACHERS_MAX, TEACHERS_MIN, FleetModel, evenly, learn_family
from packbook.ports.trouble import StoreError
from packbook.settings import Settings

LEARN_EVERY_S: Final = 86_400.0  # a fleet ages slowly
ASKED_MAX: Final = 4 * TEACHERS_MAX  # batteries of a family whose histories are fetched; not all can teach

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, _learn)


async def _learn(settings: Settings) -> int:
    async with open_writer(settings.database_url.get_secret_value(), "learn") as database:
        tell(await learn_fleets(database))
    return DONE


def tell(learned: tuple[FleetModel, ...]) -> None:
    for fleet in learned:
        print(f"{fleet.family}: model {fleet.model.version} from {fleet.model.vehicles} batteries")
    if not learned:
        print(f"no family has {TEACHERS_MIN} batteries with half a year of figures: the published prior stands")


async def learn_fleets(database: Database) -> tuple[FleetModel, ...]:
    """Learn and keep a model for each family that has enough to teach. Raises StoreError."""
    histories = SqlHistories(database)
    learned = []
    for family, batteries in (await fleets.families(database)).items():
        if len(batteries) < TEACHERS_MIN:
            continue
        told = [await histories.soh_series(battery) for battery in evenly(batteries, ASKED_MAX)]
        found = await asyncio.to_thread(learn_family, family, told)
        if found is not None:
            await fleets.keep(database, found, now_ms())
            learned.append(found)
    return tuple(learned)


async def learn_daily(database: Database) -> None:
    """Until cancelled. Trouble with the database is the collector's to end on; here tomorrow is early enough."""
    while True:
        try:
            learned = await learn_fleets(database)
            log.info("learned how families of packs age", extra={"FAMILIES": len(learned)})
        except StoreError as problem:
            log.warning("could not learn from the fleet: %s", problem)
        await asyncio.sleep(LEARN_EVERY_S)
