"""A car's frames as a candump log, for `canplayer`: paced by its C program, exact to the frame.

In:  frames of one's own, or stretches of a simulated Leaf's day. Out: the text of a log: what was sent is known.
A log is made here, before it is played: a guest has no processor to spare for a simulator.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from packbox.core.stamp import NS_PER_MS, NS_PER_S
from packbox.sim.car import MODELS, Awake, SimCar
from packbox.sim.frames import REAL, encode
from packbox.sim.source import voices

from .machine import Shell

BATTERY: Final = 0x1DB  # of a Leaf: current and voltage, counted and with a checksum
UNKNOWN: Final = 0x6FF  # on that bus, and in no profile
LOG: Final = "/run/hil/frames.log"


PROFILE: Final = "nissan-leaf:aze0-24"
CAR: Final = "leaf-24"
FIRST_DAY: Final = 20_000  # since 1970; any
SETTLED_S: Final = 60  # into a stretch: what wakes up has woken up


class Doing(enum.Enum):
    CHARGE = enum.auto()
    DRIVE = enum.auto()


def day(*stretches: tuple[Doing, int]) -> bytes:
    """(what, seconds) each, one after the other at real rates: some 580 frames a second. Alike stretches are the same.

    20 s are enough for a session; the next one ends it.
    """
    assert all(one[0] is not other[0] for one, other in pairwise(stretches)), "two alike are one longer"
    return log_of(_frames(stretches))


def _frames(stretches: Iterable[tuple[Doing, int]]) -> Iterator[tuple[float, int, bytes]]:
    model = MODELS[CAR]
    senders, _ = voices(model, seed=1)
    at_s = 0.0
    for doing, seconds in stretches:
        awake = _first(doing, seconds)
        begin_ms = awake.start_ms + SETTLED_S * 1000
        said = encode(awake, senders, [], REAL, begin_ms, begin_ms + seconds * 1000)
        times_s = at_s + (said.wall_ns - begin_ms * NS_PER_MS) / NS_PER_S
        for k in np.arange(len(said)):
            yield float(times_s[k]), int(said.can_id[k]), bytes(said.data[k, : said.length[k]])
        at_s += seconds


def _first(doing: Doing, seconds: int) -> Awake:
    car = SimCar(MODELS[CAR], 1, FIRST_DAY)
    for stretch in car.stretches(car.day_begins_ms(0)):
        if (
            isinstance(stretch, Awake)
            and stretch.plugged is (doing is Doing.CHARGE)
            and stretch.seconds > SETTLED_S + seconds
        ):
            return stretch
    raise AssertionError("a car that lives for ever does everything once")


def log_of(frames: Iterable[tuple[float, int, bytes]]) -> bytes:
    """(seconds, id, data) each."""
    return "".join(f"({at_s:.6f}) car {can_id:03X}#{data.hex().upper()}\n" for at_s, can_id, data in frames).encode()


def play(car: Shell, log: bytes, bus: str, *, within_s: float) -> None:
    """Comes back when all were sent."""
    car.put(LOG, log)
    # More than the ten frames that a controller queues by itself: the player waits no better than that.
    car.run(f"ip link set {bus} txqueuelen 1000\ncanplayer -I {LOG} {bus}=car", within_s=within_s)
