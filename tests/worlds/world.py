"""One world from beginning to end: car, box, broker and book on a virtual clock.

In:  a `Plan`. Out: `Ended`: what the book holds, what the box wrote, what was true. `verdict.check` judges it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packbook.adapters.mqtt import BrokerAddress
from packbox.adapters.profile_dir import Catalogue
from packbox.clock import ClockTrust
from packbox.core.box import BoxPlan
from packbox.core.decode import Decoder
from packbox.core.record import BatteryId, BoxId
from packbox.testing.sim_bus import SimLife
from packbox.testing.sim_car import SimCar
from packbox.testing.virtual_loop import run_virtual
from packwire.testing import MemoryBroker
from worlds.book import NAME, Book, collector_in_memory
from worlds.box import Box, Surroundings, Tape
from worlds.card import Card
from worlds.plan import FIRST_DAY, Plan

ROOT = Path(__file__).resolve().parents[2]
LOOK_EVERY_S = 10.0  # for a box whose power went at a write
PROFILES = Catalogue(ROOT / "can_profiles")
OTHER_PACK = {"leaf-24": "leaf-62", "leaf-62": "leaf-24", "imiev-16": "imiev-16"}


@dataclass(frozen=True)
class Ended:
    """What is left of a world."""

    plan: Plan
    begin_ms: int
    around: Surroundings
    lives: tuple[tuple[float, SimCar], ...]  # from when on which car's bus was heard
    book_file: Path
    old_book: bool

    @property
    def tapes(self) -> list[Tape]:
        return list(self.around.tapes.values())


def live(plan: Plan, folder: Path, template: Path) -> Ended:
    """Run the world. Everything that chance decides, the seed decides."""
    return run_virtual(_World(plan, folder, template).live())


class _World:
    def __init__(self, plan: Plan, folder: Path, template: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.dice = random.Random(f"life {plan.seed}")
        self.car = SimCar(plan.model, plan.seed, FIRST_DAY)
        self.begin_ms = self.car.day_begins_ms(0)
        self.lives: list[tuple[float, SimCar]] = [(0.0, self.car)]
        self.broker = MemoryBroker(plan.seed, plan.faults)
        self.template = template
        self.cards = 0
        self.old_book = False
        decoders: dict[str, Decoder] = {}

        def plan_of(box: BoxId) -> BoxPlan:
            name = plan.model.profile
            if name not in decoders:
                decoders[name] = Decoder(*PROFILES.find(name))
            return BoxPlan(decoders[name], box, BatteryId(f"prov-{box}-1"), "provisional", "packbox world")

        self.around = Surroundings(
            self.true_ms,
            self.broker,
            plan.pieces,
            plan.commit_every_s,
            ClockTrust.ALWAYS if plan.clock_trusted else ClockTrust.AUTO,
            plan_of,
            {},
            {},
            [],
            [],
        )

    def true_ms(self) -> float:
        return self.begin_ms + asyncio.get_running_loop().time() * 1000

    async def live(self) -> Ended:
        self.box = self._new_box(SimLife(self.car, self.begin_ms))
        self.boxes = [self.box]
        self.book = Book(self.folder / "book", self.template, self.broker, BrokerAddress("memory", 0, NAME))
        self.backup_book: Path | None = None
        self.backup_card: tuple[Card, dict[str, bytes]] | None = None
        with (
            _seeded_store_ids(self.dice),
            collector_in_memory(self.broker, lambda: int(self.true_ms()), self.plan.seed),
        ):
            self.collecting = asyncio.create_task(self.book.collect())
            self.box.switch_on()
            try:
                await self._happen()
                await self._calm()
            finally:
                for box in self.boxes:
                    await box.switch_off()
                await self._kill_book()
                self.book.close()
        return Ended(self.plan, self.begin_ms, self.around, tuple(self.lives), self.book.file, self.old_book)

    def _new_box(self, life: SimLife | None) -> Box:
        return Box(self.around, self._new_card(), self.dice, life)

    def _new_card(self) -> Card:
        self.cards += 1
        return Card(self.folder / f"card-{self.cards}")

    # -- the script --------------------------------------------------------------------------------------------------

    async def _happen(self) -> None:
        """All that is planned, in order. What a blow takes time for may overlap with the next."""
        plan = self.plan
        async with asyncio.TaskGroup() as going:
            watching = going.create_task(self._bring_back_power())
            for at_s, act in sorted(self._script(), key=lambda entry: entry[0]):
                await self._until(at_s)
                act()
            for event in plan.events:
                del event
            await self._until(plan.ends_s)
            watching.cancel()

    def _script(self) -> Iterator[tuple[float, Callable[[], None]]]:
        raise NotImplementedError
