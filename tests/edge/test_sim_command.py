"""`packbox sim`: the car on a bus, as others there meet it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable

import can
import numpy as np
import pytest

from packbox.adapters.profile_dir import Catalogue
from packbox.app import sim
from packbox.core.decode import Decoder
from packbox.core.frames import FrameBatch
from packbox.core.stamp import BootId
from packbox.sim import guard
from packbox.sim.car import LEAF_24, Asleep, Awake, SimCar
from packbox.sim.obd import vin_of
from packbox.sim.scenes import FIRST_DAY, REAL, Playing, Scenario, scenes

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LISTEN_FIRST_S", 0.05)
    monkeypatch.setattr("packbox.adapters.car_bus.RECEIVE_S", 0.01)


class Bystander:
    """Another program on the same bus."""

    def __init__(self, channel: str) -> None:
        self.bus = can.Bus(interface="virtual", channel=channel)
        self.heard: list[can.Message] = []

    def send(self, can_id: int, data: str) -> None:
        self.bus.send(can.Message(arbitration_id=can_id, is_extended_id=False, data=bytes.fromhex(data)))

    async def hear(self, enough: Callable[[list[can.Message]], object]) -> list[can.Message]:
        """Everything so far, once it is enough."""
        async with asyncio.timeout(PATIENCE_S):
            while not enough(self.heard):
                while (message := self.bus.recv(0)) is not None:
                    self.heard.append(message)
                await asyncio.sleep(0.005)
        return self.heard


@pytest.fixture
async def bystander(request: pytest.FixtureRequest) -> AsyncIterator[Bystander]:
    made = Bystander(request.node.name)
    yield made
    made.bus.shutdown()


@contextlib.asynccontextmanager
async def car(bystander: Bystander, *words: str) -> AsyncIterator[asyncio.Task[None]]:
    """`packbox sim` on the bystander's bus, told to leave at the end."""
    parser = argparse.ArgumentParser()
    sim.add_arguments(parser)
    args = parser.parse_args(["--bus", f"virtual:{bystander.bus.channel_id}", "--profile", "nissan-leaf", *words])  # type: ignore[attr-defined]  # of python-can's virtual bus
    profile = sim._profile(args.profile)
    running = asyncio.create_task(sim._run(args, profile, sim._model(profile, args.car)))
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.wait([running])


def ids(heard: list[can.Message]) -> set[int]:
    return {message.arbitration_id for message in heard}


async def test_a_drive_is_heard_asked_and_left(bystander: Bystander, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person with candump and a phone sees, from the first frame to SIGTERM."""
    async with car(bystander, "--scenario", "drive", "--seed", "9") as running:
        await bystander.hear(lambda heard: {0x1DB, 0x55B, 0x5BC} <= ids(heard))
        bystander.send(0x7DF, "02 09 02")
        await bystander.hear(lambda heard: 0x7E8 in ids(heard))
        bystander.send(0x7E0, "30 00 00")
        heard = await bystander.hear(lambda heard: Counter(m.arbitration_id for m in heard)[0x7E8] == 3)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, PATIENCE_S)
    parts = [bytes(m.data) for m in heard if m.arbitration_id == 0x7E8]
    assert (parts[0][5:] + parts[1][1:] + parts[2][1:]).decode() == vin_of(9)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["listening", "nissan-leaf,", "23.3", "ended;"]
    assert lines[-1].endswith("questions heard 1")


async def test_nothing_is_sent_where_somebody_else_speaks(bystander: Bystander) -> None:
    """It may be a car on the road: its brakes must not hear two speeds."""
    async with car(bystander) as running:
        while not running.done():
            bystander.send(0x1DB, "00")
            await asyncio.sleep(0.01)
        with pytest.raises(guard.NotAloneError, match="1DB"):
            running.result()
        assert bystander.bus.recv(0) is None


async def test_a_car_that_wakes_up_later_stops_it(bystander: Bystander) -> None:
    """A sleeping car is silent in the first seconds; a tester's question stops nothing."""
    async with car(bystander) as running:
        await bystander.hear(lambda heard: heard)
        bystander.send(0x7DF, "02 01 0D")
        await bystander.hear(lambda heard: 0x7E8 in ids(heard))
        assert not running.done()
        bystander.send(0x2B0, "00")
        with pytest.raises(guard.NotAloneError, match="2B0"):
            await asyncio.wait_for(running, PATIENCE_S)


async def test_on_a_shared_bus_others_may_speak(bystander: Bystander) -> None:
    """A bench with other units, or a log played beside it."""
    async with car(bystander, "--share-bus") as running:
        await bystander.hear(lambda heard: heard)
        bystander.send(0x2B0, "00")
        bystander.send(0x79B, "02 21 02")
        await bystander.hear(lambda heard: 0x7BB in ids(heard))
        assert not running.done()


async def test_units_can_be_told_to_misbehave(bystander: Bystander) -> None:
    """How a box takes refusal, waiting and silence is seen only with a car that does so."""
    async with car(bystander, "--mood", "lbc-state=refuses:22", "--mood", "lbc-cells=waits:1"):
        await bystander.hear(lambda heard: heard)
        bystander.send(0x79B, "02 21 01")
        await bystander.hear(lambda heard: any(bytes(m.data[:4]) == b"\x03\x7f\x21\x22" for m in heard))
        bystander.send(0x79B, "02 21 02")
        await bystander.hear(lambda heard: any(bytes(m.data[:4]) == b"\x03\x7f\x21\x78" for m in heard))


async def test_a_family_behind_a_gateway_only_answers(bystander: Bystander) -> None:
    """Its plug is mute: frames that the real one does not show would teach the wrong thing."""
    async with car(bystander, "--profile", "hyundai-kia", "--share-bus"):
        asked = next(p for p in Catalogue().profile("hyundai-kia").polls if p.tx == 0x7E4)
        heard: list[can.Message] = []
        async with asyncio.timeout(PATIENCE_S):
            while not heard:
                bystander.send(0x7E4, (bytes((len(asked.request),)) + asked.request).hex())
                await asyncio.sleep(0.1)
                while (message := bystander.bus.recv(0)) is not None:
                    heard.append(message)
    assert ids(heard) == {asked.rx}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--profile", "j1939"], "no simulator"),
        (["--profile", "nissan-leaf", "--car", "imiev-16"], "leaf-24, leaf-62"),
        (["--profile", "nissan-leaf", "--mood", "x=silent"], "no such poll"),
        (["--profile", "nissan-leaf:none"], "no variant"),
    ],
)
def test_what_it_cannot_play_it_says(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, the option and what there is instead."""
    parser = argparse.ArgumentParser()
    sim.add_arguments(parser)
    assert sim.main(parser.parse_args(["--bus", "virtual:nobody", *words])) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--mood", "a"], ["--mood", "a=refuses:0"], ["--mood", "a=waits:-1"], ["--speed", "0"], ["--seed", "-1"]]
)
def test_an_option_that_means_nothing_is_refused(words: list[str]) -> None:
    """At the first line, not half way through a test."""
    parser = argparse.ArgumentParser()
    sim.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--bus", "virtual:nobody", "--profile", "nissan-leaf", *words])


def test_a_bus_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The first mistake on any bench."""
    parser = argparse.ArgumentParser()
    sim.add_arguments(parser)
    assert sim.main(parser.parse_args(["--bus", "slcan:/dev/none-such", "--profile", "nissan-leaf"])) == 1
    assert "slcan:/dev/none-such" in capsys.readouterr().err


@pytest.mark.parametrize("scenario", list(Scenario))
def test_each_scenario_shows_what_it_says(scenario: Scenario) -> None:
    """The same seed gives the same life on any day of the calendar."""
    life = scenes(SimCar(LEAF_24, 1, FIRST_DAY), scenario)
    first = next(life)
    if scenario is Scenario.PARKED:
        assert isinstance(first, Asleep)
        assert isinstance(next(life), Asleep)
        return
    assert isinstance(first, Awake)
    assert first.plugged is (scenario is Scenario.CHARGE)
    assert isinstance(next(life, None), Asleep) is (scenario is Scenario.DAY)


def test_units_and_frames_tell_one_story_at_any_speed() -> None:
    """What an app asks and what the bus says are the same car; faster than life, frames keep their periods."""
    scene = next(scenes(SimCar(LEAF_24, 1, FIRST_DAY), Scenario.DRIVE))
    assert isinstance(scene, Awake)
    for speed in (1.0, 20.0):
        playing = Playing(scene, LEAF_24, 1, speed, REAL, silent=False)
        columns = playing.frames(60.0, 61.0)
        assert np.count_nonzero(columns.can_id == 0x1DB) == 100
        batch = FrameBatch(
            BootId("0" * 16),
            None,
            columns.wall_ns,
            np.zeros(len(columns), np.uint8),
            columns.can_id,
            np.zeros(len(columns), np.uint8),
            columns.length,
            columns.data,
        )
        decoder = Decoder(Catalogue().profile("nissan-leaf"), "aze0-24")
        _, decoded = decoder.decode(decoder.start(), batch)
        voltage_v = decoded.signals["pack_voltage_v"].value
        assert voltage_v.mean() == pytest.approx(playing.truth(60.5)["pack_voltage_v"], abs=1.0)
    assert playing.seconds == pytest.approx(scene.seconds / 20)
