"""A simulated car as a frame source of the box: `packbox run --source sim:SPEC`.

In:  a spec such as `leaf-24,seed=1,days=240,until=now,speed=max` (grammar: docs/demo.md).
Out: `ports.FrameSource`: frames and ticks of the simulated life, on its own timeline. A new boot id at each start, as
     after a real reboot; monotonic time from that start; wall time is the simulated wall.
Refuses a spec it cannot read with SettingsError naming the part.

With `until=now` life runs as fast as its reader takes it until it reaches the present, then on in real time.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

from packbox.clock import ClockTrust, SystemClock
from packbox.core.frames import FrameBatch
from packbox.core.stamp import NS_PER_MS, BootId, Stamp, Tick
from packbox.ports import SettingsError
from packbox.sim import imiev, leaf
from packbox.sim.car import MODELS, Asleep, Awake, CarModel, SimCar
from packbox.sim.driver import DAY_MS
from packbox.sim.frames import ECONOMICAL, REAL, Columns, Poll, Rates, Sender, encode

DEFAULT_DAYS: Final = 240
MAX_DAYS: Final = 20_000  # a car's whole life, twice
_EPOCH: Final = date(1970, 1, 1)
_RATES: Final = {"economical": ECONOMICAL, "real": REAL}
_KEYS: Final = ("seed", "start", "days", "until", "speed", "rate")
_TICK_AFTER_MS: Final = 600_000  # into a sleep: sessions close
_LIVE_CHUNK_MS: Final = 1000  # what is handed over at once when life is no faster than the clock
_LIVE_TICK_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class SimSpec:
    """`first_day`: days since 1970. `until_ms` None: go on with the present. `speed` None: as fast as accepted."""

    model: CarModel
    seed: int
    first_day: int
    until_ms: int | None
    speed: float | None
    rates: Rates


def parse_spec(text: str, now_ms: int) -> SimSpec:
    """Raises SettingsError with the part that is wrong and what would be right."""
    name, *parts = text.split(",")
    if name not in MODELS:
        raise SettingsError(f"sim:{text}: unknown car {name!r}; there are {', '.join(MODELS)}")
    given: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or key not in _KEYS:
            raise SettingsError(f"sim:{text}: {part!r} is not one of {', '.join(k + '=' for k in _KEYS)}")
        if key in given:
            raise SettingsError(f"sim:{text}: {key}= is given twice")
        given[key] = value
    if "start" in given and "days" in given:
        raise SettingsError(f"sim:{text}: give start= or days=, not both")

    today = (now_ms + MODELS[name].utc_offset_h * 3_600_000) // DAY_MS
    until = given.get("until", "now")
    until_day = None if until == "now" else _day(text, "until", until)
    if "start" in given:
        first_day = _day(text, "start", given["start"])
    else:
        first_day = (today if until_day is None else until_day) - _whole(
            text, "days", given.get("days", str(DEFAULT_DAYS)), most=MAX_DAYS
        )
    if first_day >= (today if until_day is None else until_day):
        raise SettingsError(f"sim:{text}: the first day must be before the last")
    rate = given.get("rate", "economical")
    if rate not in _RATES:
        raise SettingsError(f"sim:{text}: rate={rate}: expected {' or '.join(_RATES)}")
    return SimSpec(
        MODELS[name],
        _whole(text, "seed", given.get("seed", "1"), least=0),
        first_day,
        None if until_day is None else until_day * DAY_MS,
        _speed(text, given.get("speed", "max")),
        _RATES[rate],
    )


def open_sim(spec: str, resume_wall_ms: int | None, now_ms: Callable[[], int] | None = None) -> SimSource:
    """The car of this spec, from `resume_wall_ms` on (None: from its first day). Raises SettingsError."""
    present_ms = now_ms if now_ms is not None else _system_present()
    return SimSource(parse_spec(spec, present_ms()), resume_wall_ms, present_ms)


class SimSource:
    """`ports.FrameSource` of a simulated car."""

    def __init__(self, spec: SimSpec, resume_wall_ms: int | None, now_ms: Callable[[], int]) -> None:
        self.spec = spec
        self.car = SimCar(spec.model, spec.seed, spec.first_day)
        first_ms = self.car.day_begins_ms(0)
        self._from_ms = first_ms if resume_wall_ms is None else max(first_ms, resume_wall_ms)
        self._now_ms = now_ms
        self._boot = BootId(secrets.token_hex(8))
        self._wall_offset_ms = self._from_ms  # monotonic time counts from the process's first moment
        self._senders, self._polls = voices(spec.model, spec.seed)

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        pace = _Pace(self.spec, self._from_ms, self._now_ms)
        for stretch in self.car.stretches(self._from_ms):
            if isinstance(stretch, Asleep):
                for at_ms in self._ticks(stretch, pace):
                    if pace.is_over(at_ms):
                        return
                    await pace.reach(at_ms)
                    yield Tick(Stamp(self._boot, (at_ms - self._wall_offset_ms) * NS_PER_MS, at_ms))
                continue
            at_ms = max(stretch.start_ms, self._from_ms)
            while at_ms < stretch.end_ms:
                if pace.is_over(at_ms):
                    return
                to_ms = min(at_ms + pace.chunk_ms(at_ms), stretch.end_ms)
                await pace.reach(to_ms)
                columns = self._frames(stretch, at_ms, to_ms)
                if len(columns):
                    yield self._batch(columns)
                at_ms = to_ms

    def _frames(self, awake: Awake, from_ms: int, to_ms: int) -> Columns:
        return encode(awake, self._senders, self._polls, self.spec.rates, from_ms, to_ms)

    def _batch(self, columns: Columns) -> FrameBatch:
        n = len(columns)
        return FrameBatch(
            self._boot,
            self._wall_offset_ms,
            columns.wall_ns - self._wall_offset_ms * NS_PER_MS,
            np.zeros(n, np.uint8),
            columns.can_id,
            np.zeros(n, np.uint8),
            columns.length,
            columns.data,
        )

    def _ticks(self, asleep: Asleep, pace: _Pace) -> list[int]:
        """Once after falling asleep and once before waking; every minute when somebody may be looking."""
        begin_ms = max(asleep.start_ms, self._from_ms)
        last_ms = asleep.end_ms - 1
        if pace.is_live(last_ms):
            return [*range(begin_ms, last_ms, _LIVE_TICK_MS), last_ms]
        return [at_ms for at_ms in (asleep.start_ms + _TICK_AFTER_MS, last_ms) if begin_ms <= at_ms <= last_ms]


class _Pace:
    """Keeps simulated time at or behind the pace that was asked for, and never ahead of the present."""

    def __init__(self, spec: SimSpec, from_ms: int, now_ms: Callable[[], int]) -> None:
        self._spec = spec
        self._from_ms = from_ms
        self._now_ms = now_ms
        self._began_ms = now_ms()

    def is_over(self, at_ms: int) -> bool:
        return self._spec.until_ms is not None and at_ms >= self._spec.until_ms

    def is_live(self, at_ms: int) -> bool:
        return self._spec.speed is not None or (self._spec.until_ms is None and at_ms > self._now_ms() - _LIVE_CHUNK_MS)

    def chunk_ms(self, at_ms: int) -> int:
        """How much life to hand over at once: much while catching up, about a second of the reader's time after."""
        most_ms = int(self._spec.rates.chunk_s * 1000)
        return min(most_ms, int(_LIVE_CHUNK_MS * (self._spec.speed or 1.0))) if self.is_live(at_ms) else most_ms

    async def reach(self, at_ms: int) -> None:
        """Returns when the simulation may stand at `at_ms`; always lets others run."""
        due_ms = at_ms if self._spec.until_ms is None else self._began_ms
        if self._spec.speed is not None:
            due_ms = max(due_ms, self._began_ms + int((at_ms - self._from_ms) / self._spec.speed))
        wait_s = max(0, due_ms - self._now_ms()) / 1000.0
        await asyncio.sleep(wait_s)


def voices(model: CarModel, seed: int) -> tuple[list[Sender], list[Poll]]:
    if model.family == "leaf":
        return list(leaf.senders(model)), list(leaf.polls(model, seed))
    return list(imiev.senders(model)), []


def _day(spec: str, key: str, value: str) -> int:
    try:
        return (date.fromisoformat(value) - _EPOCH) // timedelta(days=1)
    except ValueError:
        raise SettingsError(f"sim:{spec}: {key}={value}: expected a date such as 2026-01-31") from None


def _whole(spec: str, key: str, value: str, least: int = 1, most: int = 2**63) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 20 or int(value) < least:
        raise SettingsError(f"sim:{spec}: {key}={value}: expected a whole number from {least}")
    if int(value) > most:
        raise SettingsError(f"sim:{spec}: {key}={value}: expected at most {most}")
    return int(value)


def _speed(spec: str, value: str) -> float | None:
    if value == "max":
        return None
    try:
        speed = float(value)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise SettingsError(f"sim:{spec}: speed={value}: expected max or how many times faster than life, above 0")
    return speed


def _system_present() -> Callable[[], int]:
    clock = SystemClock(ClockTrust.ALWAYS)

    def now_ms() -> int:
        wall_ms = clock.now().wall_ms
        assert wall_ms is not None, "a clock that is always trusted always knows"
        return wall_ms

    return now_ms
