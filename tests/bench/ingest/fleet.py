"""The messages of the ingest benchmarks: boxes of a fleet, each with two days of an ordinary car, sealed and signed.

In:  how many boxes, and which part of their life.
Out: `(topic, record)`s. The same arguments give the same records.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from packbook.testing.scripted_box import ScriptedBox
from packwire.messages import Health, Usage
from packwire.topics import Leaf, topic

PER_BOX: Final = 20  # records that a box brings after two days without a link
TOGETHER: Final = 100  # boxes whose records the broker hands over mixed


@dataclass(slots=True)
class Car(ScriptedBox):
    """Drives to work and back, rests between, charges in the evening; totals and state once a day."""

    days: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def day(self) -> None:
        self.days += 1
        self.drive(self.dice.uniform(3.0, 40.0))
        self.rest()
        self.drive(self.dice.uniform(3.0, 40.0))
        self.rest()
        self.charge(self.dice.uniform(3000.0, 18000.0))
        self.rest()
        self.drive(self.dice.uniform(1.0, 5.0))
        self.totals()
        self.soh(90.0 - 0.001 * self.days)
        self.say(Health(uptime_s=86_400.0 * self.days, frames=40_000_000 * self.days))

    def totals(self) -> None:
        """Usage with as many filled cells as a car of some months has."""
        self.say(
            Usage(
                observed_s=7200.0 * self.days,
                charge_in_ah=24.0 * self.days,
                charge_out_ah=23.5 * self.days,
                energy_in_wh=9000.0 * self.days,
                energy_out_wh=8800.0 * self.days,
                equivalent_full_cycles=0.35 * self.days,
                charges_ac=self.days,
                drives=3 * self.days,
                distance_km=40.0 * self.days,
                odometer_km=30_000.0 + 40.0 * self.days,
                soc_temp_s=tuple(self.dice.choice((0, 0, 3600 * self.days)) for _ in range(90)),
                c_rate_temp_s=tuple(self.dice.choice((0, 0, 0, 600 * self.days)) for _ in range(180)),
                depth_counts=tuple(self.dice.choice((0, self.days)) for _ in range(70)),
                events=(("cell_low", 1),),
            )
        )


@dataclass(frozen=True, slots=True)
class Life:
    """One box: the record it began with, and what it brings now."""

    box: str
    battery: str
    public_key: bytes
    hello: bytes
    records: tuple[bytes, ...]

    @property
    def topic(self) -> str:
        return topic(self.box, Leaf.RECORD)  # type: ignore[arg-type]  # a plain str after the trip between processes


def life(number: int, per_box: int = PER_BOX) -> Life:
    car = Car(name=f"bench-{number}", dice=random.Random(number))
    battery = f"BENCH-{number}"
    hello = car.hello(battery)
    while car.seq < per_box + 1:
        car.day()
    return Life(str(car.box), battery, car.public_key, hello, tuple(car.sealed[1 : per_box + 1]))


def fleet(boxes: int, per_box: int = PER_BOX, first: int = 0) -> list[Life]:
    """Made by all processors: signing takes longer than everything that is measured."""
    with ProcessPoolExecutor() as makers:
        return list(makers.map(life, range(first, first + boxes), [per_box] * boxes, chunksize=50))


def mixed(lives: Sequence[Life], together: int = TOGETHER) -> Iterator[tuple[str, bytes]]:
    """Each box's records in order, those of `together` boxes mixed, as a broker hands them over."""
    for begin in range(0, len(lives), together):
        some = lives[begin : begin + together]
        for number in range(max(len(one.records) for one in some)):
            for one in some:
                if number < len(one.records):
                    yield one.topic, one.records[number]


def staggered(lives: Sequence[Life]) -> list[tuple[Life, int]]:
    """Each box's records in order, by their place in its life, and no two boxes at the same hour of their day: else
    all would bring the large totals of the day at once, and then none for a while, as no fleet does."""
    dice = random.Random(1)
    begins = [dice.uniform(0.0, PER_BOX) for _ in lives]
    turns = [(begin + at, at, one) for begin, one in zip(begins, lives, strict=True) for at in range(len(one.records))]
    return [(one, at) for _, at, one in sorted(turns, key=lambda turn: turn[0])]


def hellos(lives: Sequence[Life]) -> Iterator[tuple[str, bytes]]:
    return ((one.topic, one.hello) for one in lives)
