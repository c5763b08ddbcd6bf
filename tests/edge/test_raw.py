"""Raw frames kept beside the history, and exported for other programs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from packbox.__main__ import main
from packbox.adapters.logs import read_log
from packbox.adapters.ring import FOLDER, Ring, read_ring
from packbox.adapters.ring_block import encode
from packbox.app import keep_raw as keep_raw_module
from packbox.app.keep_raw import BLOCK_NS, KeepRaw, RawRoom, bus_names
from packbox.core.frames import ERROR, EXTENDED, FD, REMOTE, SENT, FrameBatch, join
from packbox.core.stamp import BootId, Tick
from raw_frames import batches

BOOT, OTHER = BootId("b0" * 8), BootId("c0" * 8)
WALL_MS = 1_760_000_000_000
MB = 2**20


def frames(n: int, *, boot: BootId = BOOT, wall_ms: int | None = WALL_MS, begin_s: float = 0.0) -> FrameBatch:
    """A millisecond apart; every kind of frame in turn."""
    kinds = np.array([0, EXTENDED, FD, ERROR, REMOTE, SENT], np.uint8)[np.arange(n) % 6]
    length = np.where(kinds == FD, 24, np.where(kinds == REMOTE, 0, 8)).astype(np.uint8)
    data = np.random.default_rng(n).integers(0, 256, (n, 64), np.uint8)
    data[np.arange(64) >= length[:, None]] = 0
    can_id = np.where(kinds == EXTENDED, 0x18DAF110, np.where(kinds == ERROR, 0x40, 0x1DB)).astype(np.uint32)
    mono_ns = (np.arange(n, dtype=np.int64) * 1_000_000) + int(begin_s * 1e9)
    return FrameBatch(boot, wall_ms, mono_ns, (np.arange(n) % 2).astype(np.uint8), can_id, kinds, length, data)


class Source:
    def __init__(self, items: Sequence[FrameBatch | Tick]) -> None:
        self._items = items

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        for item in self._items:
            yield item
            await asyncio.sleep(0)


def keeper(tmp_path: Path, ring_bytes: int = MB, budget_bytes: int = 256 * MB) -> KeepRaw:
    return KeepRaw(RawRoom(tmp_path, ring_bytes, budget_bytes), ("can0", "can1"))


async def listened(raw: KeepRaw, items: Sequence[FrameBatch | Tick]) -> list[FrameBatch | Tick]:
    heard = [item async for item in raw.along(Source(items)).inputs()]
    await raw.close()
    return heard


async def test_frames_pass_by_untouched_and_are_all_kept(tmp_path: Path) -> None:
    """The fold must not notice; the ring must have everything, in order, also across starts of the clock."""
    parts = [frames(400, begin_s=k * 3.0) for k in range(8)] + [frames(50, boot=OTHER, wall_ms=None)]
    raw = keeper(tmp_path)
    heard = await listened(raw, parts)
    assert all(got is want for got, want in zip(heard, parts, strict=True))
    kept = [block.frames for block in read_ring(tmp_path / FOLDER)]
    assert sum(map(len, kept)) == sum(map(len, parts))
    assert {k.boot for k in kept} == {BOOT, OTHER}
    ours = join([k for k in kept if k.boot == BOOT])
    assert np.array_equal(ours.data, join(parts[:-1]).data)
    assert (raw.dropped_frames, raw.trouble) == (0, None)


async def test_a_slow_card_costs_raw_frames_and_never_holds_up_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card stalls for seconds now and then; the bus does not wait for it."""
    stall = threading.Event()
    append = Ring.append
    monkeypatch.setattr(keep_raw_module, "BACKLOG_FRAMES", 1000)

    def slowly(self: Ring, block: bytes) -> None:
        stall.wait(10)
        append(self, block)

    monkeypatch.setattr(Ring, "append", slowly)
    raw = keeper(tmp_path)
    step_s = BLOCK_NS / 1e9
    for k in range(10):
        raw.hear(frames(300, begin_s=k * step_s))
    assert raw.dropped_frames > 0
    stall.set()
    await raw.close()
    kept = sum(len(block.frames) for block in read_ring(tmp_path / FOLDER))
    assert kept + raw.dropped_frames == 3000


async def test_no_room_is_said_once_and_its_end_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The journal needs the rest of the budget: raw frames stop, and come back when there is room."""
    caplog.set_level("INFO", logger="packbox.app.keep_raw")
    journal = tmp_path / "journal.db"
    journal.write_bytes(bytes(MB))
    raw = keeper(tmp_path, budget_bytes=MB)
    for k in range(3):
        raw.hear(frames(3000, begin_s=k * 20.0))
        raw.hear(frames(1, begin_s=k * 20.0 + 15))
        while raw._writing is not None and not raw._writing.done():  # noqa: ASYNC110  a thread sets it
            await asyncio.sleep(0.001)
    assert raw.dropped_frames == 9003
    journal.write_bytes(b"")
    raw.hear(frames(3000, begin_s=100.0))
    await raw.close()
    assert raw.trouble is None
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "not kept: no room" in lines[0]
    assert lines[1] == "raw frames are kept again"


def filled(data_dir: Path, *parts: FrameBatch, names: tuple[str, ...] = ("can0", "can1")) -> None:
    ring = Ring(data_dir / FOLDER, lambda: 100 * MB)
    for part in parts:
        ring.append(encode(part, names))
    ring.close()


def export(data_dir: Path, file: Path, *more: str) -> int:
    return main(["raw", "export", "--data-dir", str(data_dir), str(file), *more])


def read_back(file: Path) -> FrameBatch:
    return join(list(read_log(file)))


@given(batches())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_candump_gives_back_every_frame(tmp_path_factory: pytest.TempPathFactory, batch: FrameBatch) -> None:
    """Order, times to the microsecond, buses, FD, error, remote and sent frames."""
    folder = tmp_path_factory.mktemp("raw")
    rising = np.sort(batch.mono_ns % 10**15)
    batch = replace(batch, mono_ns=rising, wall_offset_ms=WALL_MS)
    filled(folder, batch, names=("can0", "can1", "can2"))
    assert export(folder, folder / "out.log") == 0
    got = read_back(folder / "out.log")
    for name in ("bus", "can_id", "length"):
        assert np.array_equal(getattr(got, name), getattr(batch, name)), name
    width = min(got.data.shape[1], batch.data.shape[1])
    assert np.array_equal(got.data[:, :width], batch.data[:, :width])
    # A frame that is both FD and of 29 bits, or an error frame, says so.
    assert np.array_equal(got.flags, batch.flags)
    assert np.array_equal(got.mono_ns - got.mono_ns[0], batch.mono_ns - batch.mono_ns[0])


@pytest.mark.parametrize("ending", [".blf", ".asc"])
def test_blf_and_asc_give_back_what_these_formats_know(tmp_path: Path, ending: str) -> None:
    """A workshop's tools read these."""
    batch = frames(60)
    filled(tmp_path, batch)
    assert export(tmp_path, tmp_path / f"out{ending}") == 0
    got = read_back(tmp_path / f"out{ending}")
    assert len(got) == 60
    assert np.array_equal(got.bus, batch.bus + 1)  # these formats count from 1
    assert np.array_equal(np.round(np.diff(got.mono_ns) / 1e6), np.ones(59))
    error = batch.flags == ERROR
    assert np.array_equal(got.flags & (FD | ERROR | REMOTE | SENT), batch.flags & (FD | ERROR | REMOTE | SENT))
    assert np.array_equal(got.can_id[~error], batch.can_id[~error])
    assert np.array_equal(got.data[~error], batch.data[~error])


def test_a_clock_that_was_set_later_dates_what_came_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Pi learns the time minutes after the car was started."""
    filled(tmp_path, frames(10, wall_ms=None), frames(10, begin_s=60.0), frames(5, boot=OTHER, wall_ms=None))
    assert export(tmp_path, tmp_path / "out.log") == 0
    assert "20 frames in" in capsys.readouterr().err
    lines = (tmp_path / "out.log").read_text().splitlines()
    assert lines[0].startswith(f"({WALL_MS // 1000}.000000) can0 1DB#")
    assert len(lines) == 20
    assert export(tmp_path, tmp_path / "rest.log", "--undated") == 0
    assert (tmp_path / "rest.log").read_text().startswith("(0.000000) can0 ")


def test_a_stretch_of_time_is_cut_out(tmp_path: Path) -> None:
    """Ten minutes around a fault, not ten hours."""
    filled(tmp_path, frames(1000), frames(1000, begin_s=1.0))
    stretch = ("--since", "2025-10-09T08:53:20.900", "--until", "2025-10-09T08:53:21.100")
    assert export(tmp_path, tmp_path / "out.log", *stretch) == 0
    assert len((tmp_path / "out.log").read_text().splitlines()) == 201


def test_what_is_there_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["raw", "info", "--data-dir", str(tmp_path)]) == 0
    assert "no raw frames" in capsys.readouterr().out
    filled(tmp_path, frames(5, boot=OTHER, wall_ms=None), frames(60_001))
    assert main(["raw", "info", "--data-dir", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert " ".join(first.split()) == f"2025-10-09 08:53:20 UTC 1.0 min 60001 frames boot {BOOT} can0,can1"
    assert second.startswith("date unknown")
    assert main(["raw", "info", "--json", "--data-dir", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["frames"] == 60_001


@pytest.mark.parametrize(("name", "why"), [("out.txt", "which format"), ("out.log", "no such frames are here")])
def test_an_export_that_cannot_be_says_why(
    tmp_path: Path, name: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tmp_path, tmp_path / name) == 1
    assert why in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_buses_are_named_as_the_operator_named_them() -> None:
    assert bus_names("socketcan:can0,can1") == ("can0", "can1")
    assert bus_names("can:slcan:/dev/ttyUSB0") == ("ttyUSB0",)
    assert bus_names("sim:leaf-24") == ()


def test_a_box_keeps_raw_frames_when_asked(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: run, then export; without the setting no folder is made."""
    spec = "sim:leaf-24,seed=3,start=2026-05-04,until=2026-05-05"
    run = ["run", "--data-dir", str(tmp_path / "data"), "--source", spec, "--profile", "nissan-leaf"]
    assert main(run) == 0
    assert not (tmp_path / "data" / FOLDER).exists()
    monkeypatch.setenv("PACKBOX_RAW_RING_MB", "50")
    run[2] = str(tmp_path / "other")
    assert main(run) == 0
    assert export(tmp_path / "other", tmp_path / "out.log") == 0
    assert len(read_back(tmp_path / "out.log")) > 10_000
