"""The status file: what other programs on the machine read of a running box."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from packbox.adapters.can_errors import BusErrors
from packbox.adapters.herald import Herald
from packbox.adapters.listening import BusCounts
from packbox.adapters.power_lines import LineReader
from packbox.app.carry import new_report
from packbox.app.health import Gauge
from packbox.app.inbox import Inbox
from packbox.app.keep_raw import KeepRaw
from packbox.app.listen import Listener
from packbox.app.mind import Mind
from packbox.app.status import WRITE_EVERY_S, StatusFile, Who, read_status
from packbox.app.think import Thinker
from packbox.app.watch_power import PowerWatch
from packbox.core.frames import FrameBatch
from packbox.core.power import Limits
from packbox.core.record import BoxId, StoreId
from packbox.core.stamp import Tick
from packbox.testing.memory_journal import MemoryJournal
from packbox.testing.sim_clock import LoopClock
from packwire.seal import digest

pytestmark = pytest.mark.looptime
BOX, STORE = BoxId("b" * 16), StoreId("5" * 16)


@dataclass
class Bus:
    """A source that gives nothing and counts something."""

    counts: BusCounts
    trouble: str | None = None

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        await asyncio.sleep(1e9)
        yield Tick(LoopClock().now())


@pytest.fixture
async def gauge(tmp_path: Path) -> Gauge:
    """Of a box that has heard nothing but errors. Made inside the loop, whose time is its clock."""
    mind = Mind(MemoryJournal(BOX, STORE, digest), cast("Any", None))
    mind.open()
    clock, inbox = LoopClock(), Inbox(may_wait=False, room_frames=10)
    bus = Bus(BusCounts(error_frames=3, errors=BusErrors(protocol=2, bus_off=1)))
    listener = Listener(bus, inbox, clock)
    thinker = Thinker(mind, inbox, cast("Any", None), asyncio.Event(), Herald(), 10.0)
    raw = cast("KeepRaw", SimpleNamespace(dropped_frames=7, trouble="disk full"))
    link = new_report(STORE)
    link.earlier_wire_bytes = 1234
    return Gauge(tmp_path, clock, clock.now(), bus, inbox, mind, listener, thinker, link, raw=raw)


@pytest.fixture
def status(gauge: Gauge, tmp_path: Path) -> StatusFile:
    watch = PowerWatch(
        gauge.clock,
        LineReader(None, None, None, 1),
        Limits(),
        None,
        state=lambda: gauge.mind.state,
        heard_ns=lambda: None,
        sending=lambda: False,
    )
    return StatusFile(tmp_path / "status.json", Who(BOX, STORE, "socketcan:can0", "auto"), gauge, watch)


def names_in(folder: Path) -> list[str]:
    return [found.name for found in folder.glob("status*")]


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


async def test_a_running_box_says_every_ten_seconds_how_it_is_and_nothing_when_it_has_left(
    status: StatusFile, gauge: Gauge, tmp_path: Path
) -> None:
    """A file that stays behind would show a dead box as alive."""
    file = tmp_path / "status.json"
    running = asyncio.create_task(status.run())
    await asyncio.sleep(1)
    first = read_status(file, gauge.clock.now())
    gauge.thinker.trouble = "disk full"
    await asyncio.sleep(WRITE_EVERY_S)
    second = read_status(file, gauge.clock.now())
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert first is not None
    assert second is not None
    assert (first["box"], first["store"], first["journal"]["trouble"]) == (BOX, STORE, None)
    assert second["mono_ms"] - first["mono_ms"] == WRITE_EVERY_S * 1000
    assert second["journal"]["trouble"] == "disk full"
    assert first["health"]["uplink_bytes"] == 1234
    assert first["bus"]["errors"]["bus_off"] == 1
    assert first["raw"] == {"dropped_frames": 7, "trouble": "disk full"}
    assert "raw frames: disk full" in first["health"]["text"]
    assert names_in(tmp_path) == []


async def test_whoever_reads_it_gets_all_of_it_and_may(status: StatusFile, tmp_path: Path) -> None:
    """Replaced as a whole: a display that reads at the wrong moment must not see half a file."""
    file = tmp_path / "status.json"
    status._write()
    with file.open(encoding="utf-8") as reading:
        status._write()
        json.loads(reading.read())
    assert mode_of(file) == 0o644
    assert names_in(tmp_path) == [file.name]


async def test_a_status_file_that_cannot_be_written_stops_nothing_and_is_said_once(
    status: StatusFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its folder is in memory and may be full or gone; the history is not there."""
    status._path = tmp_path / "gone" / "status.json"
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            status._write()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["the status file cannot be written"]
    (tmp_path / "gone").mkdir()
    status._write()
    assert status._path.exists()


async def test_every_field_of_the_status_file_is_explained(status: StatusFile, root: Path) -> None:
    """Other programs are written by what docs/box.md says."""
    text = (root / "docs/box.md").read_text(encoding="utf-8").partition("## Status file")[2].partition("\n## ")[0]
    explained = set(re.findall(r"`([a-z_.]+)`", text))
    missing = []
    for name, value in status.report().items():
        inner = value if isinstance(value, Mapping) and name not in ("health", "errors") else {}
        missing += [f"{name}.{key}" for key in inner if not {f"{name}.{key}", key} & explained]
        missing += [name] if not inner and name not in explained else []
    assert missing == []


async def test_a_link_that_is_down_is_no_bus_though_its_socket_is_open(gauge: Gauge, status: StatusFile) -> None:
    """Found on a real controller: health said "no bus", the status file and with it the doctor said nothing."""
    cast("Bus", gauge.source).trouble = "can0: the interface is down"
    assert status.report()["bus"]["down"] == "can0: the interface is down"
