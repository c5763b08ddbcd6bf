"""One world from beginning to end: car, box, broker and book on a virtual clock.

In:  a `Plan`. Out: `Ended`: what the book holds, what the box wrote, what was true. `verdict.check` judges it.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from packbook.adapters.mqtt import BrokerAddress
from packbox.adapters.journal import journal as journal_module
from packbox.adapters.profile_dir import Catalogue
from packbox.clock import ClockTrust
from packbox.core.box import BoxPlan
from packbox.core.decode import Decoder
from packbox.core.record import BatteryId, BoxId
from packbox.core.stamp import NS_PER_S
from packbox.sim.car import MODELS, SimCar
from packbox.testing.sim_bus import SimLife, Wire
from packbox.testing.virtual_loop import run_virtual
from packwire.testing import Faults, MemoryBroker
from worlds.book import NAME, Book, collector_in_memory
from worlds.box import Box, Surroundings, Tape
from worlds.card import Card
from worlds.plan import CALM_S, FIRST_DAY, Blow, Event, Plan

ROOT = Path(__file__).resolve().parents[2]
WORD_WITHIN_S, WORD_LOOKS = 4 * 86_400.0, 96  # no simulated car stands still for longer
LAST_WORDS_S = 10.0  # for what a box says when it leaves
LOOK_EVERY_S = 120.0  # for a box whose power went at a write
PROFILES = Catalogue(ROOT / "can_profiles")
HONEST_FIRST_NS = 2_000 * NS_PER_S  # a lie that nothing contradicts cannot be found out
Act = Callable[[], Coroutine[Any, Any, None]]
OTHER_PACK = {"leaf-24": "leaf-62", "leaf-62": "leaf-24", "imiev-16": "imiev-16"}


@dataclass(frozen=True, repr=False)  # asyncio shows a task's result to itself, and this one is large
class Ended:
    """What is left of a world."""

    plan: Plan
    begin_ms: int
    ended_ms: float
    around: Surroundings
    lives: tuple[tuple[float, SimCar], ...]  # from when on which car's bus was heard
    book_file: Path

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
        self.copied: tuple[Tape, int] | None = None  # what the box in the car goes on from, and how much was written
        self.backup_card: tuple[dict[str, bytes], Tape] | None = None
        self.hand = asyncio.Lock()
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
        return Ended(self.plan, self.begin_ms, self.ended_ms, self.around, tuple(self.lives), self.book.file)

    def _new_box(self, life: SimLife | None) -> Box:
        return Box(self.around, self._new_card(), self.dice, life)

    def _new_card(self) -> Card:
        self.cards += 1
        return Card(self.folder / f"card-{self.cards}")

    # -- the script --------------------------------------------------------------------------------------------------

    async def _happen(self) -> None:
        """All that is planned. What takes time may overlap with the next; the power switch is one hand's."""
        script = sorted(self._script(), key=lambda entry: entry[0])
        async with asyncio.TaskGroup() as going:
            watching = going.create_task(self._bring_back_power())
            for at_s, act in script:
                await self._until(at_s)
                going.create_task(act())
            await self._until(self.plan.ends_s)
            watching.cancel()

    def _script(self) -> Iterator[tuple[float, Act]]:
        plan = self.plan
        for event in plan.events:
            yield event.at_s, partial(self._blow, event)
        for spells, begin, end in (
            (plan.wires, self._wire_breaks, self._wire_is_sound),
            (plan.disks, self._disk_refuses, self._disk_is_well),
            (plan.offline, self._network_goes, self._network_comes),
        ):
            for spell in spells:
                yield spell.from_s, partial(begin, spell.what)
                yield spell.to_s, end

    async def _calm(self) -> None:
        """All is well from here on: whatever waits must arrive, and it must stay right."""
        self.broker.faults = Faults()
        self.broker.start()
        await self._kill_book()
        self.collecting = asyncio.create_task(self.book.collect())
        for box in self.boxes:
            box.card.trouble = None
            box.online, box.beats_lost = True, 0.0
            box.set_wire(Wire.SOUND)
            await box.switch_off()
            box.switch_on()
        await asyncio.sleep(CALM_S)
        await self._next_word()
        for box in self.boxes:
            await box.leave()
        await asyncio.sleep(LAST_WORDS_S)
        self.ended_ms = self.true_ms()

    async def _next_word(self) -> None:
        """A copied card shows with the next record that is not in the book, and a parked car has none for days.

        That record may end the store: then the new one has something to say as well.
        """
        for _ in range(0 if self.copied is None else 2):
            for _ in range(WORD_LOOKS):
                if not self._owes_a_word():
                    break
                await asyncio.sleep(WORD_WITHIN_S / WORD_LOOKS)
            else:
                return
            await asyncio.sleep(CALM_S)

    def _owes_a_word(self) -> bool:
        """Whether the box in the car goes on from a copied card and wrote nothing there, or in a store begun since."""
        if self.copied is None:
            return False
        tape, written = self.copied
        now = self.box.tape
        assert now is not None
        return len(now.made) <= (written if now is tape else 0)

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - asyncio.get_running_loop().time()))

    async def _bring_back_power(self) -> None:
        """A box whose power went at a write gets it back after a while."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            async with self.hand:
                if self.box.lost_power:
                    await self.box.switch_off()
                    await asyncio.sleep(self.dice.uniform(0, 300))
                    self.box.switch_on()

    # -- misfortunes -------------------------------------------------------------------------------------------------

    async def _wire_breaks(self, what: str) -> None:
        self.box.set_wire(Wire(what))

    async def _wire_is_sound(self) -> None:
        self.box.set_wire(Wire.SOUND)

    async def _disk_refuses(self, what: str) -> None:
        self.box.card.trouble = what

    async def _disk_is_well(self) -> None:
        self.box.card.trouble = None

    async def _network_goes(self, _what: str) -> None:
        self.box.online = False
        self.box.cut_links()

    async def _network_comes(self) -> None:
        self.box.online = True

    async def _blow(self, event: Event) -> None:
        match event.blow:
            case Blow.CUT | Blow.STOP | Blow.NEW_CARD | Blow.OLD_CARD | Blow.NEW_BOX | Blow.NEW_PACK:
                async with self.hand:
                    await self._without_power(event)
            case Blow.CUT_BEFORE_WRITE:
                self.box.card.cut_before_write = True
            case Blow.CUT_AFTER_WRITE:
                self.box.card.cut_after_write = True
            case Blow.BACKUP_CARD:
                if self.box.tape is not None:
                    self.backup_card = self.box.card.files(), self.box.tape.copy()
            case Blow.BOOK_CRASH:
                await self._kill_book()
                await asyncio.sleep(event.off_s)
                self._start_book()
            case Blow.BACKUP_BOOK:
                self.backup_book = self.book.backup()
            case Blow.OLD_BOOK:
                assert self.backup_book is not None
                await self._kill_book()
                self.book.restore(self.backup_book)
                self._start_book()
            case Blow.BROKER_RESTART | Blow.BROKER_FORGETS:
                self.broker.stop(forget=event.blow is Blow.BROKER_FORGETS)
                await asyncio.sleep(event.off_s)
                self.broker.start()
            case Blow.CLOCK_STEP | Blow.CLOCK_1970 | Blow.CLOCK_LIE | Blow.LEAP:
                self._clock(event)

    async def _without_power(self, event: Event) -> None:
        await (self.box.leave() if event.blow is Blow.STOP else self.box.switch_off())
        await asyncio.sleep(event.off_s)
        box = self.box
        match event.blow:
            case Blow.NEW_CARD:
                for tape in self.around.tapes.values():
                    tape.card_gone = True
                box.card = self._new_card()
            case Blow.OLD_CARD:
                if self.backup_card is not None:
                    self._restore_card(*self.backup_card)
            case Blow.NEW_BOX:  # the old one drains on the workshop's table, where no bus is
                life, online, trouble = box.life, box.online, box.card.trouble
                box.set_life(None)
                box.online, box.card.trouble = True, None
                box.switch_on()
                self.box = self._new_box(life)
                self.box.online, self.box.card.trouble = online, trouble
                self.boxes.append(self.box)
            case Blow.NEW_PACK:
                model = MODELS[OTHER_PACK[self.plan.model.id]]
                other = SimCar(model, self.plan.seed + 1, FIRST_DAY)
                self.lives.append((asyncio.get_running_loop().time(), other))
                box.set_life(SimLife(other, int(self.true_ms())))
        self.box.switch_on()

    def _restore_card(self, files: dict[str, bytes], copied: Tape) -> None:
        """The store goes on from the copy, under its name, beside what it wrote since."""
        for tape in self.around.tapes.values():
            tape.card_gone = True
        key = copied.box, copied.store
        copied.older = self.around.tapes[key]
        self.around.tapes[key] = copied
        self.copied = copied, len(copied.made)
        self.box.card.put(files)

    def _clock(self, event: Event) -> None:
        machine = self.box.machine
        assert machine is not None
        match event.blow:
            case Blow.CLOCK_STEP:
                machine.step(event.amount * 1000)
            case Blow.CLOCK_1970:
                machine.step(-self.true_ms())
            case Blow.LEAP:  # the servers smear it: the next of them contradicts the kernel
                machine.leap(math.copysign(1.0, event.amount))
            case Blow.CLOCK_LIE if (
                machine.synchronized() and machine.boottime_ns() > HONEST_FIRST_NS and self.box.online
            ):
                machine.synchronize(event.amount * 1000)  # until the next time that an honest server answers

    def _start_book(self) -> None:
        if self.collecting.done():
            self.collecting = asyncio.create_task(self.book.collect())

    async def _kill_book(self) -> None:
        self.collecting.cancel()
        await asyncio.gather(self.collecting, return_exceptions=True)


@contextmanager
def _seeded_store_ids(dice: random.Random) -> Iterator[None]:
    """Names of stores come from the world's seed."""
    before = journal_module.secrets
    journal_module.secrets = SimpleNamespace(  # type: ignore[assignment]
        token_hex=lambda count: dice.randbytes(count).hex()
    )
    try:
        yield
    finally:
        journal_module.secrets = before
