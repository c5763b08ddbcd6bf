"""How much the box writes to its card: SD cards wear by bytes, and a box has to last for years."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal
from packbox.adapters.journal.journal import WAL_BYTES_MAX
from packbox.adapters.profile_dir import Catalogue
from packbox.app.mind import Mind
from packbox.core.box import BoxPlan
from packbox.core.decode import Decoder
from packbox.core.frames import FrameBatch, join
from packbox.core.outcome import BoxHealth
from packbox.core.record import BatteryId, BoxId
from packbox.core.stamp import NS_PER_S
from packbox.sim.source import open_sim
from packbox.testing.sim_clock import SimClock
from packbox.testing.sim_disk import SimDisk
from packwire.ids import box_id_of
from packwire.messages import Drive
from packwire.seal import digest, open_sealed
from wire_samples import KEY, PUBLIC_KEY

DRIVING_S: Final = 3 * 3600
COMMIT_S: Final = 10
DAY_BYTES_MAX: Final = 60_000_000
OFFLINE_DAYS: Final = 30
OFFLINE_BYTES_MAX: Final = 256 * 2**20
MEASURED_S: Final = 400  # of the day; the rest is like it
PERIODS: Final = 64  # ids of the second bus
BUSY_HZ: Final = 4000


class KnownKey:
    public_key = PUBLIC_KEY

    def sign(self, data: bytes) -> bytes:
        return KEY.sign(data)


def drive(seconds: int) -> FrameBatch:
    """A car's own frames at their real rates, as long as it takes to drive so far."""

    async def read() -> FrameBatch:
        parts: list[FrameBatch] = []
        async for item in open_sim("leaf-24,seed=3,start=2026-05-04,until=2026-05-06,rate=real", None).inputs():
            if not isinstance(item, FrameBatch) or not len(item):
                continue
            if parts and int(item.mono_ns[0]) - int(parts[-1].mono_ns[-1]) > NS_PER_S:
                parts = []
            parts.append(item)
            if int(item.mono_ns[-1]) - int(parts[0].mono_ns[0]) > seconds * NS_PER_S:
                return join(parts)
        raise AssertionError("no such drive")

    return asyncio.run(read())


def begun(folder: Path, root: Path) -> tuple[SqliteJournal, Mind]:
    """A box that has just started."""
    profile, variant = Catalogue(root / "can_profiles").find("nissan-leaf")
    box = BoxId(box_id_of(PUBLIC_KEY))
    journal = SqliteJournal(folder / JOURNAL_FILE, box, digest, SimClock())
    mind = Mind(journal, KnownKey())
    mind.open()
    mind.meet(BoxPlan(Decoder(profile, variant), box, BatteryId("test-1"), "configured", "packbox test"), None)
    mind.begin("can0", BoxHealth)
    return journal, mind


def span_s(batch: FrameBatch) -> float:
    return (int(batch.mono_ns[-1]) - int(batch.mono_ns[0])) / NS_PER_S


def crowded(batch: FrameBatch) -> FrameBatch:
    """The same on a bus full to the brim, with ids that the profile does not know, and data that changes."""
    first, last = int(batch.mono_ns[0]), int(batch.mono_ns[-1])
    n = round((last - first) / NS_PER_S * BUSY_HZ)
    dice = np.random.default_rng(1)
    data = np.repeat(dice.integers(0, 256, (PERIODS, 8), np.uint8), n // PERIODS + 1, axis=0)[:n]
    data[:, :2] = dice.integers(0, 256, (n, 2), np.uint8)
    mono_ns = np.concatenate([batch.mono_ns, np.linspace(first, last, n).astype(np.int64)])
    order = np.argsort(mono_ns, kind="stable")

    def mixed(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        return np.concatenate([ours, theirs.astype(ours.dtype)])[order]

    return FrameBatch(
        batch.boot,
        batch.wall_offset_ms,
        mono_ns[order],
        mixed(batch.bus, np.ones(n)),
        mixed(batch.can_id, 0x100 + np.arange(n) % PERIODS),
        mixed(batch.flags, np.zeros(n)),
        mixed(batch.length, np.full(n, 8)),
        mixed(batch.data[:, :8], data),
    )


@pytest.mark.parametrize("bus", ["the profile's frames", "two full buses, unfiltered"])
def test_three_hours_of_driving_write_at_most_sixty_megabytes(tmp_path: Path, root: Path, bus: str) -> None:
    """Every ten seconds a commit of the whole fold, each flushed: counted where SQLite writes to its files."""
    frames = drive(MEASURED_S)
    if bus.startswith("two"):
        frames = crowded(frames)
    with SimDisk(tmp_path) as disk:
        disk.keep_log = False
        journal, mind = begun(tmp_path, root)
        begun_bytes, begun_flushes = disk.written_bytes, disk.flushes
        # A commit falls anywhere within a second: its unfinished second is saved too.
        places = np.arange(1, int(span_s(frames) / COMMIT_S)) * COMMIT_S * NS_PER_S + int(0.7 * NS_PER_S)
        low = 0
        for high in np.searchsorted(frames.mono_ns, frames.mono_ns[0] + places).tolist():
            mind.fold([frames.pick(slice(low, high))])
            mind.commit()
            low = high
        journal.close()
    share = DRIVING_S / (len(places) * COMMIT_S)
    day_bytes = (disk.written_bytes - begun_bytes) * share
    flushes = (disk.flushes - begun_flushes) * share
    rate = len(frames) / span_s(frames)
    print(
        f"\n{bus}: {rate:.0f} frames/s, {day_bytes / 1e6:.1f} MB and {flushes:.0f} flushes for three hours of driving,"
        f" {(disk.written_bytes - begun_bytes) / len(places) / 1000:.1f} kB a commit"
    )
    assert day_bytes <= DAY_BYTES_MAX


async def test_thirty_days_offline_fit_into_the_budget(tmp_path: Path, root: Path) -> None:
    """Nobody acknowledges anything: every record waits. The car drives less than three hours a day, so what grows with
    it is taken as often as those need; the write-ahead log and the state do not grow."""
    journal, mind = begun(tmp_path, root)
    async for item in open_sim("leaf-24,seed=3,start=2026-05-04,until=2026-06-03", None).inputs():
        mind.fold([item])
        mind.commit()
    waiting = journal.waiting(0, 100_000)
    assert len(waiting) == mind.newest_seq > 300
    said = (open_sealed(row.sealed, PUBLIC_KEY).message for row in waiting)
    driven_s = sum(message.duration_s for message in said if isinstance(message, Drive))
    journal.close()  # folds the log back
    month_bytes = (tmp_path / JOURNAL_FILE).stat().st_size * OFFLINE_DAYS * DRIVING_S / driven_s + 2 * WAL_BYTES_MAX
    print(
        f"\n{OFFLINE_DAYS} days offline at 3 h of driving: {month_bytes / 1e6:.1f} MB, {len(waiting)} records measured"
    )
    assert month_bytes <= OFFLINE_BYTES_MAX
