"""The whole box on a bus that others watch: how many frames it sends, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import can
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from can_frames import battery_state
from packbox.adapters import can_any
from packbox.adapters.herald import Herald
from packbox.adapters.identity import make_key
from packbox.adapters.profile_dir import Catalogue
from packbox.app import desk as desk_module
from packbox.app import parts as parts_module
from packbox.app import run as run_module
from packbox.app.health import Gauge
from packbox.core.exchange import harm_reason
from packbox.core.profile import EXTENDED_BIT
from packbox.settings import load_settings
from packbox.sim.mouth import Heard
from packbox.sim.units import SimUnits
from packbox.testing.memory_uplink import MemoryUplink
from packwire.command import Command, CommandKind, encode_command
from packwire.config import Config, encode_config
from packwire.ids import BoxId, box_id_of
from packwire.testing import MemoryBroker
from packwire.topics import Leaf, topic

TRUTH: Mapping[str, float] = {
    "aux_voltage_v": 14.2,
    "capacity_reported_ah": 55.5,
    "cell_voltage_min_v": 3.71,
    "cell_voltage_max_v": 3.74,
}


class Watched:
    """A python-can bus as the car and a bystander see it: whatever appears that the car did not send is the box's."""

    def __init__(self, channel: str) -> None:
        self.from_box: list[can.Message] = []
        self._bus = can.Bus(interface="virtual", channel=channel)
        self._loop = asyncio.get_running_loop()
        self._heard: list[Heard] = []
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def join(self, name: str, heard: Heard) -> None:
        self._heard.append(heard)

    def send(self, name: str, key: int, data: bytes) -> None:
        extended = bool(key & EXTENDED_BIT)
        self._bus.send(can.Message(arbitration_id=key & ~EXTENDED_BIT, is_extended_id=extended, data=data))

    def end(self) -> None:
        """Everything that was on the bus has been seen."""
        self._over.set()
        self._reader.join()

    def close(self) -> None:
        self.end()
        self._bus.shutdown()

    def _read(self) -> None:
        while True:
            message = self._bus.recv(0.02)
            if message is None:
                if self._over.is_set():
                    return
            else:
                self.from_box.append(message)
                for heard in self._heard:
                    key = message.arbitration_id | (EXTENDED_BIT if message.is_extended_id else 0)
                    self._loop.call_soon_threadsafe(heard, key, bytes(message.data))


@pytest.fixture
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    watched = Watched(request.node.name)
    yield watched
    watched.close()


@pytest.fixture(autouse=True)
def gauges(monkeypatch: pytest.MonkeyPatch) -> list[Gauge]:
    """What the boxes of this test know of themselves."""
    made: list[Gauge] = []

    def make(*parts: Any) -> Gauge:
        made.append(Gauge(*parts))
        return made[-1]

    monkeypatch.setattr(parts_module, "Gauge", make)
    monkeypatch.setattr(can_any, "GATHER_S", 0.02)
    monkeypatch.setattr(can_any, "RECEIVE_S", 0.02)
    return made


async def a_while(
    bus: Watched, channel: str, data_dir: Path, polling: str, until: Callable[[], bool], seconds: float, **more: Any
) -> None:
    """The car talks, the box runs; at the end it is asked to leave."""
    given = {"data_dir": data_dir, "source": f"can:virtual:{channel}", "profile": "nissan-leaf:aze0-24"}
    settings = load_settings(None, {**given, "polling": polling, **more})

    async def turns() -> None:
        while await run_module._run(settings, Herald(), speed=None, until_sent=False) == run_module.AGAIN:
            pass

    running = asyncio.create_task(turns())
    deadline_s = asyncio.get_running_loop().time() + seconds
    counter = 0
    while asyncio.get_running_loop().time() < deadline_s and not until():
        counter += 1
        bus.send("car", 0x1DB, battery_state(-10, 380, counter))
        await asyncio.sleep(0.02)
        if running.done():
            break
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    bus.end()


async def test_a_box_that_may_only_listen_sends_no_frame(
    bus: Watched, request: pytest.FixtureRequest, tmp_path: Path, gauges: list[Gauge]
) -> None:
    """Counted by a bystander on the bus, with a profile full of polls and a car that would answer."""
    units = SimUnits(bus, Catalogue().profile("nissan-leaf"), lambda: TRUTH)
    await a_while(bus, request.node.name, tmp_path, "never", lambda: False, 2.0)
    assert (bus.from_box, units.asked) == ([], [])
    assert gauges[0].heartbeat().frames_sent == 0


async def test_a_box_that_may_ask_does_and_tells_how_often(
    bus: Watched, request: pytest.FixtureRequest, tmp_path: Path, gauges: list[Gauge]
) -> None:
    """The same bus, the same car: only the owner's word differs. Every frame only reads, and health counts it."""
    units = SimUnits(bus, Catalogue().profile("nissan-leaf"), lambda: TRUTH, lengths={"lbc-state": 41})
    await a_while(bus, request.node.name, tmp_path, "agreed", lambda: len(set(units.asked)) > 6, 20.0)
    assert {"lbc-state", "lbc-cells", "lbc-serial"} <= set(units.asked)
    assert [m for m in bus.from_box if harm_reason(bytes(m.data))] == []
    assert gauges[0].heartbeat().frames_sent == len(bus.from_box) > len(units.asked)


OPERATOR = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OPERATOR_PUBLIC = OPERATOR.public_key().public_bytes_raw()


async def test_nothing_that_the_operator_sends_makes_a_silent_box_transmit(
    bus: Watched,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    gauges: list[Gauge],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything there is to send, rightly signed and believed: a bystander on the bus counts no frame of the box."""
    monkeypatch.setattr(desk_module, "LOOK_EVERY_S", 0.05)
    box = BoxId(box_id_of(make_key(tmp_path / "key" / "box.pem").public_key))
    broker = MemoryBroker()
    monkeypatch.setattr(run_module, "_uplinks", lambda _broker, _box, down: lambda: MemoryUplink(broker, box, down))
    whole = Config(
        version=3, profile="nissan-leaf:aze0-24", battery="pack-9", commit_every_s=1.0, heartbeat_every_s=60.0,
        usage_every_s=600.0, soh_every_s=600.0, broker_host="localhost", broker_port=1883,
    )  # fmt: skip
    broker.publish(topic(box, Leaf.CONFIG), encode_config(whole, box, OPERATOR.sign, OPERATOR_PUBLIC), retain=True)
    units = SimUnits(bus, Catalogue().profile("nissan-leaf"), lambda: TRUTH)
    done: set[bytes] = set()

    def all_done() -> bool:
        """One command after the other, as an operator sends them; the desk keeps what came of each."""
        kind = list(CommandKind)[len(done)]
        command = Command(
            id=len(done).to_bytes(8, "big"), command=kind, expires_ms=4_000_000_000_000,
            from_seq=1 if kind is CommandKind.RESEND else None,
        )  # fmt: skip
        desk = gauges[-1].desk if gauges else None
        if desk is None or desk.version != 3:
            return False
        if any(known == command.id for known, _ in desk._state.done):
            done.add(command.id)
            return len(done) == len(CommandKind)
        broker.publish(topic(box, Leaf.COMMAND), encode_command(command, box, OPERATOR.sign, OPERATOR_PUBLIC))
        return False

    more = {"broker": {"host": "localhost"}, "operator_key": OPERATOR_PUBLIC.hex(), "clock_trusted": "always"}
    await a_while(bus, request.node.name, tmp_path, "never", all_done, 40.0, **more)
    assert len(done) == len(CommandKind)
    assert gauges[-1].heartbeat().config_version == 3
    assert (bus.from_box, units.asked) == ([], [])
    assert gauges[-1].heartbeat().frames_sent == 0
