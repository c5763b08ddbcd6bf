"""The simulated car as the box meets it: spec, stamps, pace."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pytest

from packbox.core.frames import FrameBatch
from packbox.core.stamp import NS_PER_MS, Tick
from packbox.ports import SettingsError
from packbox.sim.car import LEAF_24, MODELS
from packbox.sim.frames import ECONOMICAL, REAL
from packbox.sim.source import SimSource, open_sim, parse_spec

NOW_MS = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000
DAY = 24 * HOUR


def _present() -> int:
    """The day the tests pretend it is."""
    return NOW_MS


async def _all(source: SimSource) -> list[FrameBatch | Tick]:
    return [item async for item in source.inputs()]


def _flat(items: list[FrameBatch | Tick]) -> list[tuple[int, int, bytes]]:
    """Every frame as (wall ns, id, data)."""
    frames: list[tuple[int, int, bytes]] = []
    for batch in items:
        if isinstance(batch, FrameBatch):
            assert batch.wall_offset_ms is not None
            wall_ns = batch.mono_ns + batch.wall_offset_ms * NS_PER_MS
            frames += zip(wall_ns.tolist(), batch.can_id.tolist(), (bytes(d) for d in batch.data), strict=True)
    return frames


def test_a_spec_says_all_a_car_needs() -> None:
    """The grammar of docs/demo.md; everything but the car has a default."""
    short = parse_spec("leaf-24", NOW_MS)
    assert (short.model, short.seed, short.until_ms, short.speed, short.rates) == (LEAF_24, 1, None, None, ECONOMICAL)
    assert date.fromordinal(date(1970, 1, 1).toordinal() + short.first_day) == date(2025, 7, 4)
    long = parse_spec("imiev-16,seed=7,start=2026-01-02,until=2026-02-01,speed=60,rate=real", NOW_MS)
    assert (long.model.id, long.seed, long.first_day, long.speed, long.rates) == ("imiev-16", 7, 20455, 60.0, REAL)
    assert long.until_ms == int(datetime(2026, 2, 1, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "unknown car ''; there are leaf-24, leaf-62, imiev-16"),
        ("tesla", "unknown car 'tesla'"),
        ("leaf-24,colour=red", "'colour=red' is not one of seed=, start=, days=, until=, speed=, rate="),
        ("leaf-24,seed", "'seed' is not one of"),
        ("leaf-24,seed=1,seed=2", "seed= is given twice"),
        ("leaf-24,seed=-1", "seed=-1: expected a whole number from 0"),
        ("leaf-24,days=0", "days=0: expected a whole number from 1"),
        ("leaf-24,days=1e3", "days=1e3: expected a whole number"),
        ("leaf-24,days=99999999", "days=99999999: expected at most 20000"),
        ("leaf-24,days=3,start=2026-01-01", "give start= or days=, not both"),
        ("leaf-24,start=yesterday", "start=yesterday: expected a date such as 2026-01-31"),
        ("leaf-24,start=2027-01-01", "the first day must be before the last"),
        ("leaf-24,start=2026-01-02,until=2026-01-02", "the first day must be before the last"),
        ("leaf-24,speed=0", "speed=0: expected max or"),
        ("leaf-24,speed=inf", "speed=inf: expected max or"),
        ("leaf-24,speed=fast", "speed=fast: expected max or"),
        ("leaf-24,rate=10", "rate=10: expected economical or real"),
    ],
)
def test_a_bad_spec_is_refused_with_the_part_that_is_wrong(spec: str, said: str) -> None:
    """It is typed by hand, into a settings file or a command line."""
    with pytest.raises(SettingsError) as refused:
        parse_spec(spec, NOW_MS)
    assert said in str(refused.value)


@pytest.mark.parametrize("name", MODELS)
async def test_the_same_spec_gives_the_same_bus(name: str) -> None:
    """A failing world is repeated from its seed."""
    spec = f"{name},start=2026-01-05,until=2026-01-08"
    first, second = [await _all(open_sim(spec, None, _present)) for _ in range(2)]
    assert _flat(first) == _flat(second)
    other = await _all(open_sim(f"{spec},seed=2", None, _present))
    assert _flat(first) != _flat(other)


async def test_each_start_is_a_new_boot_whose_time_begins_at_zero() -> None:
    """As on a real box: monotonic times of two starts must not be compared."""
    sources = [open_sim("leaf-24,start=2026-01-05,until=2026-01-07", None, _present) for _ in range(2)]
    boots = set()
    for source in sources:
        items = await _all(source)
        stamps = [
            (i.stamp.boot, i.stamp.mono_ns) if isinstance(i, Tick) else (i.boot, int(i.mono_ns[0])) for i in items
        ]
        assert len({boot for boot, _ in stamps}) == 1
        assert all(a <= b for (_, a), (_, b) in pairwise(stamps))
        assert 0 <= stamps[0][1] < DAY * NS_PER_MS
        boots.add(stamps[0][0])
    assert len(boots) == 2


async def test_a_restarted_box_meets_the_same_car_from_there_on() -> None:
    """Resumed in the middle of a drive, the rest of the bus is the same, frame by frame."""
    spec = "leaf-62,start=2026-01-05,until=2026-01-09"
    whole = _flat(await _all(open_sim(spec, None, _present)))
    middle_ns = whole[len(whole) // 2][0]
    resume_ms = middle_ns // NS_PER_MS
    resumed = _flat(await _all(open_sim(spec, resume_ms, _present)))
    assert resumed == [frame for frame in whole if frame[0] >= resume_ms * NS_PER_MS]


async def test_a_sleeping_car_is_silent_but_time_goes_on() -> None:
    """Sessions close and days end although nothing is on the bus: that is what ticks are for."""
    items = await _all(open_sim("leaf-24,start=2026-01-05,until=2026-01-12", None, _present))
    ticks = [i.stamp for i in items if isinstance(i, Tick)]
    assert {t.wall_ms // DAY for t in ticks if t.wall_ms} >= set(range(20458, 20464))
    for before, tick in pairwise(items):
        if isinstance(before, FrameBatch) and isinstance(tick, Tick):
            assert 0 < tick.stamp.mono_ns - int(before.mono_ns[-1]) < DAY * NS_PER_MS
    assert len({t.wall_ms - t.mono_ns // NS_PER_MS for t in ticks if t.wall_ms}) == 1


@pytest.mark.looptime
async def test_life_catches_up_with_the_present_and_then_keeps_its_pace() -> None:
    """`until=now`: months as fast as they are taken, then never anything from the future, and soon after it happens."""
    loop = asyncio.get_running_loop()

    def now_ms() -> int:
        return NOW_MS + int(loop.time() * 1000)

    newest_ms, late_ms = 0, []
    async for item in open_sim("imiev-16,days=3", None, now_ms).inputs():
        newest_ms = _newest_ms(item)
        assert newest_ms <= now_ms()
        if newest_ms > NOW_MS:
            late_ms.append(now_ms() - newest_ms)
        if newest_ms > NOW_MS + 10 * HOUR:
            break
    assert loop.time() == pytest.approx(10 * HOUR / 1000, rel=0.1)
    assert len(late_ms) > 600
    assert max(late_ms) < 11_000


@pytest.mark.looptime
async def test_a_pace_can_be_asked_for() -> None:
    """An hour at sixty times life takes a minute."""
    loop = asyncio.get_running_loop()
    spec = "leaf-24,start=2026-01-05,until=2026-01-07,speed=60"
    newest_ms, first_ms = 0, None
    async for item in open_sim(spec, None, lambda: NOW_MS + int(loop.time() * 1000)).inputs():
        newest_ms = _newest_ms(item)
        first_ms = newest_ms if first_ms is None else first_ms
    assert loop.time() == pytest.approx((newest_ms - first_ms) / 60_000, rel=0.05)


def _newest_ms(item: FrameBatch | Tick) -> int:
    if isinstance(item, Tick):
        assert item.stamp.wall_ms is not None
        return item.stamp.wall_ms
    assert item.wall_offset_ms is not None
    return int(item.mono_ns[-1]) // NS_PER_MS + item.wall_offset_ms


async def test_batches_are_whole_columns_in_time_order() -> None:
    """The box refuses to guess: what it is handed must be well formed."""
    async for item in open_sim("leaf-62,start=2026-01-05,until=2026-01-06,rate=real", None, _present).inputs():
        if isinstance(item, FrameBatch):
            assert (item.can_id.dtype, item.mono_ns.dtype, item.data.dtype) == (np.uint32, np.int64, np.uint8)
            assert np.all(np.diff(item.mono_ns) >= 0)
            assert np.all(item.length <= 8)
            assert not np.any(item.data[np.arange(8) >= item.length[:, None]])
