"""What will happen to a world, all of it drawn from its seed before it begins.

In:  a seed, a number of days. Out: a `Plan`: the car, the pace of the box, and every misfortune with its time.
Half of the misfortunes fall into the hours in which the car is awake: a parked car is a dull thing to disturb.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from packbox.sim.car import MODELS, Awake, CarModel, SimCar
from packbox.testing.sim_bus import Pieces, Wire
from packwire.testing import Faults

DAY_S = 86_400.0
FIRST_DAY = 20_577  # 2026-05-04
CALM_S = 4 * 3600.0  # after the last day all is well for so long: whatever waits must arrive


class Blow(StrEnum):
    """What befalls the box at one moment."""

    CUT = "power cut"
    CUT_BEFORE_WRITE = "power cut before the next write"
    CUT_AFTER_WRITE = "power cut after the next write"
    STOP = "asked to leave"
    NEW_CARD = "new card"
    OLD_CARD = "restored backup of the card"
    NEW_BOX = "swapped box"
    NEW_PACK = "swapped pack"
    BACKUP_BOOK = "backup of the book"
    OLD_BOOK = "restored book"
    BOOK_CRASH = "book killed"
    BROKER_RESTART = "broker restarted"
    BROKER_FORGETS = "broker restarted without its memory"
    CLOCK_STEP = "clock set by hand"
    CLOCK_1970 = "clock set to 1970"
    CLOCK_LIE = "time server lies"
    LEAP = "leap second"
    BACKUP_CARD = "backup of the card"


CUTS = (Blow.CUT, Blow.CUT, Blow.CUT_BEFORE_WRITE, Blow.CUT_AFTER_WRITE, Blow.STOP)


@dataclass(frozen=True, slots=True)
class Event:
    at_s: float
    blow: Blow
    off_s: float = 0.0  # how long without power
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Spell:
    """Something is wrong for a while."""

    from_s: float
    to_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    days: int
    model: CarModel
    pieces: Pieces
    commit_every_s: float
    clock_trusted: bool
    events: tuple[Event, ...]
    wires: tuple[Spell, ...] = ()
    disks: tuple[Spell, ...] = ()
    offline: tuple[Spell, ...] = ()
    faults: Faults = field(default_factory=Faults)

    @property
    def ends_s(self) -> float:
        return self.days * DAY_S

    def told(self) -> str:
        """For a person who looks for what went wrong."""
        lines = [f"{self.model.id}, commit every {self.commit_every_s:.0f} s, {self.pieces}, {self.faults}"]
        said = [(e.at_s, f"{e.blow} (off {e.off_s:.0f} s)") for e in self.events]
        for spells in (self.wires, self.disks, self.offline):
            said += [(s.from_s, f"{s.what} for {s.to_s - s.from_s:.0f} s") for s in spells]
        return "\n".join([*lines, *(f"  {at_s:9.1f} s  {text}" for at_s, text in sorted(said))])


def draw(seed: int, days: int) -> Plan:
    dice = random.Random(f"world {seed}")
    model = dice.choice([MODELS["imiev-16"], MODELS["imiev-16"], MODELS["leaf-24"], MODELS["leaf-62"]])
    awake = list(_awake(model, seed, days))
    ends_s = days * DAY_S

    def moment() -> float:
        if awake and dice.random() < 0.6:
            low, high = dice.choice(awake)
            return dice.uniform(low, high)
        return dice.uniform(0, ends_s)

    def spells(count: int, mean_s: float, what: Sequence[str]) -> tuple[Spell, ...]:
        drawn = [(at_s := moment(), at_s + dice.expovariate(1 / mean_s)) for _ in range(count)]
        return tuple(Spell(low, min(high, ends_s), dice.choice(what)) for low, high in drawn)

    events = [
        Event(moment(), dice.choice(CUTS), dice.choice([5.0, 60.0, dice.uniform(100, 40_000)]))
        for _ in range(round(dice.uniform(0.5, 4) * days))
    ]
    events += [Event(moment(), Blow.BOOK_CRASH, dice.uniform(0, 3000)) for _ in range(dice.randrange(2 * days))]
    events += [
        Event(moment(), dice.choice([Blow.BROKER_RESTART, Blow.BROKER_FORGETS]), dice.uniform(1, 3000))
        for _ in range(dice.randrange(2 * days))
    ]
    trusted = dice.random() < 0.1
    if not trusted and dice.random() < 0.6:  # a trusted clock is one that nobody plays with
        events += [Event(moment(), *_clock_blow(dice)) for _ in range(dice.randint(1, days))]
    events += _rare(dice, moment, ends_s)
    return Plan(
        seed,
        days,
        model,
        Pieces(dice.choice([30.0, 120.0]), dice.choice([300.0, 900.0]), dice.choice([300.0, 900.0])),
        dice.choice([60.0, 300.0, 600.0]),
        trusted,
        tuple(sorted(events, key=lambda event: event.at_s)),
        wires=spells(dice.randrange(2 * days), 900, [Wire.SILENT, Wire.OFF, Wire.TORN, Wire.TORN]),
        disks=spells(dice.randrange(days), 2000, ["disk full", "disk read-only"]),
        offline=_flapping(dice, ends_s),
        faults=Faults(*(dice.choice([0.0, 0.05, 0.3]) for _ in range(3)), late=dice.choice([0.0, 0.1])),
    )


def _awake(model: CarModel, seed: int, days: int) -> Iterator[tuple[float, float]]:
    """When the car is awake, in seconds of the world."""
    car = SimCar(model, seed, FIRST_DAY)
    begin_ms = car.day_begins_ms(0)
    for stretch in car.stretches(begin_ms):
        low_s = (stretch.start_ms - begin_ms) / 1000
        if low_s >= days * DAY_S:
            return
        if isinstance(stretch, Awake):
            yield low_s, low_s + stretch.seconds


def _clock_blow(dice: random.Random) -> tuple[Blow, float, float]:
    blow = dice.choice([Blow.CLOCK_STEP, Blow.CLOCK_STEP, Blow.CLOCK_1970, Blow.CLOCK_LIE, Blow.LEAP])
    return blow, 0.0, dice.choice([3 * 3600.0, -DAY_S, 1.0, -1.0, 40 * DAY_S])


def _rare(dice: random.Random, moment: object, ends_s: float) -> list[Event]:
    """At most one of the things that change who is who."""
    half_s = ends_s / 2
    early_s, late_s = dice.uniform(0.1, 0.9) * half_s, half_s + dice.uniform(0.1, 0.9) * half_s
    kind = dice.choice([None, None, Blow.NEW_CARD, Blow.OLD_CARD, Blow.NEW_BOX, Blow.NEW_PACK, Blow.OLD_BOOK])
    if kind is None:
        return []
    if kind is Blow.OLD_CARD:
        return [Event(early_s, Blow.BACKUP_CARD), Event(late_s, kind, 60.0)]
    if kind is Blow.OLD_BOOK:
        return [Event(early_s, Blow.BACKUP_BOOK), Event(late_s, kind, 600.0)]
    return [Event(late_s, kind, 600.0)]


def _flapping(dice: random.Random, ends_s: float) -> tuple[Spell, ...]:
    """The box without a network: never, now and then, or all the time but for moments."""
    mean_up_s, mean_down_s = dice.choice([(9e9, 1.0), (7200.0, 3600.0), (300.0, 300.0), (600.0, 40_000.0)])
    spells, at_s = [], 0.0
    while True:
        at_s += dice.expovariate(1 / mean_up_s)
        if at_s >= ends_s:
            return tuple(spells)
        down_s = dice.expovariate(1 / mean_down_s)
        spells.append(Spell(at_s, min(at_s + down_s, ends_s), "no network"))
        at_s += down_s
