"""The demo's three cars after eight months, in a book of their own: the real fold of a box, and the real intake.

The simulated cars live every day; their boxes hear one day in fifteen, so that building this takes seconds. To a box
the days between are days without power, which a history has to be honest about anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from packbook.adapters.store import open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.app.declaration import ACTS, as_arguments
from packbook.app.demo import CARS, Car
from packbook.app.demo_cards import said_of
from packbook.app.operate import Office
from packbook.core.declared import Scope
from packbook.core.intake import Arrival
from packbook.settings import Settings
from packbox.adapters.identity import FileKey
from packbox.adapters.profile_dir import Catalogue
from packbox.app.mind import Mind
from packbox.core.box import BoxPlan
from packbox.core.decode import Decoder
from packbox.core.frames import FrameBatch
from packbox.core.outcome import Agreement, BoxHealth
from packbox.core.record import BatteryId, BoxId, StoreId
from packbox.core.stamp import NS_PER_MS, BootId, Stamp, Tick
from packbox.sim.car import MODELS, Asleep, SimCar
from packbox.sim.driver import DAY_MS
from packbox.sim.frames import ECONOMICAL, encode
from packbox.sim.source import voices
from packbox.testing.memory_journal import MemoryJournal
from packwire.ids import box_id_of
from packwire.seal import digest
from packwire.topics import Leaf, topic

FIRST_DAY: Final = 20_513  # 2026-03-01
DAYS: Final = 240
HEARD_EVERY_DAYS: Final = 15
SEED: Final = 1
OWNERS_NAMES: Final = ("Satsuki's car", "Haruto's car", "Aoi's car")  # on their own pages alone
ASLEEP_MS: Final = 600_000  # until its sessions close
LAST_MS: Final = (FIRST_DAY + DAYS) * DAY_MS
BATTERIES: Final = {f"demo-{car.model}-{SEED}": car for car in CARS}
NAMES: Final = dict(zip(BATTERIES, OWNERS_NAMES, strict=True))


def fill(settings: Settings, profiles: Path) -> None:
    """`settings`: of a migrated, empty book. Each pack gets its made-up card, as in the demo."""

    async def take() -> None:
        async with open_writer(settings.database_url.get_secret_value(), "test") as database:
            for battery, car in BATTERIES.items():
                await Ledger(database).take(arrivals(battery, car, profiles))
                said = as_arguments(Scope.BATTERY, battery, said_of(battery, car.model))
                await ACTS["declare"](Office(database, settings), said)

    asyncio.run(take())


def box_of(battery: str) -> BoxId:
    return BoxId(box_id_of(FileKey(_seed(battery)).public_key))


def _seed(battery: str) -> bytes:
    return hashlib.sha256(battery.encode()).digest()


def arrivals(battery: str, car: Car, profiles: Path) -> list[Arrival]:
    """What a collector gets of one box: everything since it was plugged in."""
    seed = _seed(battery)
    key, box = FileKey(seed), box_of(battery)
    journal = MemoryJournal(box, StoreId(seed.hex()[:16]), digest)
    mind = Mind(journal, key)
    mind.open()
    decoder = Decoder(*Catalogue(profiles).find(car.profile))
    plan = BoxPlan(decoder, box, BatteryId(battery), "configured", "packbox test", NAMES[battery])
    mind.meet(plan, None)
    mind.begin("sim", lambda stamp: BoxHealth(stamp, frames=mind.frames, frames_bad=0, outbox_waiting=0))
    mind.agree(Agreement(("history", "passport"), "owner", "demo", None))
    for item in heard(SimCar(MODELS[car.model], SEED, FIRST_DAY)):
        mind.fold([item])
    mind.finish()
    mind.commit()
    return [Arrival(topic(box, Leaf.RECORD), row.sealed, LAST_MS) for row in journal.rows]


def heard(car: SimCar) -> Iterator[FrameBatch | Tick]:
    """One day in fifteen, each a boot of its own."""
    senders, polls = voices(car.model, car.seed)
    for stretch in car.stretches(car.day_begins_ms(0)):
        day = car.day_at(stretch.start_ms)
        if day >= DAYS:
            return
        if day % HEARD_EVERY_DAYS:
            continue
        boot, booted_ms = BootId(f"{day:016x}"), car.day_begins_ms(day)
        if isinstance(stretch, Asleep):
            for at_ms in (stretch.start_ms + ASLEEP_MS, stretch.end_ms - 1):
                if at_ms < stretch.end_ms:
                    yield Tick(Stamp(boot, (at_ms - booted_ms) * NS_PER_MS, at_ms))
        else:
            said = encode(stretch, senders, polls, ECONOMICAL, stretch.start_ms, stretch.end_ms)
            zeros = np.zeros(len(said), np.uint8)
            mono_ns = said.wall_ns - booted_ms * NS_PER_MS
            yield FrameBatch(boot, booted_ms, mono_ns, zeros, said.can_id, zeros, said.length, said.data)
