"""Polling on virtual time: a simulated car, its control units, the box's courtesy, and the fold that learns from it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from packbox.adapters.isotp import FrameTester
from packbox.adapters.profile_dir import Catalogue
from packbox.app.ask import Asking, CarSight, car_sight
from packbox.core import box, courtesy
from packbox.core.courtesy import Consent, Signs
from packbox.core.decode import Decoder
from packbox.core.exchange import Ending, Reply, harm_reason
from packbox.core.frames import ERROR, FloatArray, FrameBatch
from packbox.core.profile import CarState, Poll, Profile
from packbox.core.record import BatteryId, BoxId
from packbox.core.sample import Col
from packbox.core.stamp import NS_PER_MS, NS_PER_S, Stamp, Tick
from packbox.sim import leaf as sim_leaf
from packbox.sim.car import LEAF_24, Awake, SimCar
from packbox.sim.frames import Rates, encode
from packbox.sim.units import Mood, SimUnits
from packbox.testing.sim_clock import LoopClock
from packbox.testing.sim_ecu import BOX, BusFrame, SimBus, SimBusSource, SimLink

pytestmark = pytest.mark.looptime

LENGTHS = {"lbc-state": 41}
CALM = {"aux_voltage_v": 14.2, "capacity_reported_ah": 55.5, "cell_voltage_min_v": 3.71, "cell_voltage_max_v": 3.74}
QUESTION = 0x79B
ANSWER = 0x7BB


@pytest.fixture(scope="module")
def leaf() -> Profile:
    return Catalogue().profile("nissan-leaf")


@pytest.fixture(scope="module")
def hungry(leaf: Profile) -> Profile:
    """The same, asking all the time."""
    return replace(leaf, polls=tuple(replace(p, every_s=dict.fromkeys(CarState, 2.0), once=False) for p in leaf.polls))


class World:
    """A car on a bus, a box that may ask. `awake(from_s, to_s)` says when the car broadcasts."""

    def __init__(
        self,
        profile: Profile,
        consent: Consent = Consent.AGREED,
        *,
        state: CarState | None = CarState.DRIVING,
        moods: Mapping[str, Mood] | None = None,
        truth: Mapping[str, float] | None = None,
        attended: bool = False,
        mute: bool = False,
    ) -> None:
        self.signs = Signs()
        self.mute = mute
        self.bus = SimBus()
        self.truth = dict(CALM if truth is None else truth)
        self.units = SimUnits(self.bus, profile, lambda: self.truth, lengths=LENGTHS, moods=moods)
        self.tester = FrameTester(SimLink(self.bus))
        self.sight = CarSight(state)
        self.asking = Asking(
            profile,
            consent,
            self.tester,
            LoopClock(),
            lambda: self.sight,
            attended=attended,
            signs=lambda: self.signs,
        )
        self.silences: list[tuple[float, float]] = []
        self.broken: list[tuple[float, float]] = []

    def broadcast(self, from_s: float, to_s: float) -> FrameBatch | None:
        """One frame of the car's own a batch is enough to show that it is awake."""
        at_s = to_s - 0.01
        if self.mute or any(a <= at_s < b for a, b in self.silences):
            return None
        errors = any(a <= at_s < b for a, b in self.broken)
        return FrameBatch(
            LoopClock().now().boot,
            None,
            np.array([round(at_s * 1e9)], np.int64),
            np.zeros(1, np.uint8),
            np.array([0x1DB], np.uint32),
            np.array([ERROR if errors else 0], np.uint8),
            np.array([8], np.uint8),
            np.zeros((1, 8), np.uint8),
        )

    async def run(self, seconds: float, on_item: Callable[[FrameBatch | Tick], None] = lambda _item: None) -> None:
        source = SimBusSource(self.bus, asyncio.get_running_loop().time() + seconds, self.broadcast)
        asking = asyncio.create_task(self.asking.run())
        async for item in self.asking.overhear(source).inputs():
            on_item(item)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    @property
    def sent(self) -> list[BusFrame]:
        return self.bus.sent_by(BOX)

    def sent_between(self, from_s: float, to_s: float) -> int:
        return sum(from_s <= frame.at_s < to_s for frame in self.sent)

    def later(self, at_s: float, call: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(at_s, call)


async def test_without_consent_nothing_is_sent_whatever_the_profile_says(leaf: Profile) -> None:
    """The profile holds a dozen polls; the owner did not agree."""
    world = World(leaf, Consent.NEVER)
    await world.run(100)
    assert (world.sent, world.tester.frames_sent) == ([], 0)
    assert world.asking.held_by is not None


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_no_question_breaks_a_rule(hungry: Profile, seed: int) -> None:
    """Silence, errors, other testers, a falling 12 V side in any order: each question judged by what was on the bus."""
    dice = random.Random(seed)
    moods = {p.id: Mood(silent=dice.random() < 0.2, waits_s=dice.choice([0, 0, 4])) for p in hungry.polls}
    world = World(hungry, moods=moods)
    world.silences = [(at, at + dice.uniform(1, 20)) for at in sorted(dice.uniform(0, 150) for _ in range(3))]
    world.broken = [(at, at + 1) for at in (dice.uniform(0, 150) for _ in range(2))]
    strangers = [dice.uniform(0, 150) for _ in range(2)]
    low_s = dice.uniform(100, 150)
    for at in strangers:
        world.later(at, lambda: world.bus.send("phone", QUESTION, bytes.fromhex("0221010000000000")))
    world.later(low_s, lambda: setattr(world, "sight", CarSight(CarState.READY, 11.0, 1)))
    awake: list[float] = []

    def note(item: FrameBatch | Tick) -> None:
        if isinstance(item, FrameBatch):
            mine = (item.can_id == 0x1DB) & (item.flags == 0)
            awake.extend((item.mono_ns[mine] / 1e9).tolist())

    await world.run(160, note)
    slack_s = 0.3  # the source gathers for a quarter of a second
    for frame in world.sent:
        if frame.data[0] >> 4 == 3:
            continue  # flow control belongs to its question
        assert any(frame.at_s - 2 - slack_s <= at <= frame.at_s for at in awake), f"silent at {frame.at_s}"
        assert not any(at + slack_s < frame.at_s < at + 60 for at in strangers), f"another tester at {frame.at_s}"
        assert not any(end - 1 + slack_s < frame.at_s < end + 3.5 for _, end in world.broken), f"errors at {frame.at_s}"
    assert len(world.sent) == world.tester.frames_sent


async def test_every_frame_that_is_sent_is_counted(leaf: Profile) -> None:
    """The owner reads this figure."""
    world = World(leaf)
    await world.run(130)
    assert len(world.sent) == world.tester.frames_sent > 20
    assert [f for f in world.sent if harm_reason(f.data)] == []


async def test_a_car_that_does_not_talk_is_not_asked(leaf: Profile) -> None:
    """A sleeping car must not be woken up by us."""
    world = World(leaf)
    world.silences = [(0, 100)]
    await world.run(100)
    assert world.sent == []


async def test_a_plug_without_traffic_is_asked_while_a_person_waits_at_the_car(
    hungry: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a gateway nothing shows that the car is on; whoever turned it on says so, and is believed for minutes."""
    monkeypatch.setattr(courtesy, "ATTENDED_MAX_NS", 30 * NS_PER_S)
    world = World(hungry, attended=True)
    world.silences = [(0, 100)]
    await world.run(60)
    assert world.sent_between(0, 30) > 20
    assert world.sent_between(31, 60) == 0


async def test_a_car_behind_a_gateway_is_asked_while_its_ignition_is_on(hungry: Profile) -> None:
    """Most cars since 2018 broadcast nothing on the plug: without a second sign the box would never learn a thing."""
    world = World(hungry, mute=True, state=None)
    world.later(20, lambda: setattr(world, "signs", Signs(ignition_on=True)))
    world.later(80, lambda: setattr(world, "signs", Signs(ignition_on=False)))
    await world.run(120)
    assert world.sent_between(0, 20) == 0
    assert world.sent_between(20, 80) > 30
    assert world.sent_between(81, 120) == 0


async def test_a_car_that_does_not_answer_is_left_alone_although_its_ignition_is_on(hungry: Profile) -> None:
    """The plug is on another bus, or the car sleeps with its key in: ten seconds, then only a new sign begins anew."""
    silent = {p.id: Mood(silent=True) for p in hungry.polls}
    world = World(hungry, mute=True, state=None, moods=silent)
    world.signs = Signs(rail_v=14.1)
    world.later(100, lambda: setattr(world, "signs", Signs(rail_v=12.7)))
    world.later(110, lambda: setattr(world, "signs", Signs(rail_v=14.1)))
    await world.run(200)
    assert world.sent_between(0, 10) > 3
    assert world.sent_between(10.5, 110) == 0
    assert 0 < world.sent_between(110, 121) == world.sent_between(110, 200)


async def test_the_12_v_side_that_the_box_measures_ends_the_asking(hungry: Profile) -> None:
    """Ignition on without the car running is how batteries are found empty."""
    world = World(hungry, mute=True, state=None)
    world.signs = Signs(ignition_on=True, rail_v=12.6)
    world.later(30, lambda: setattr(world, "signs", Signs(ignition_on=True, rail_v=12.1)))
    await world.run(60)
    assert world.sent_between(0, 30) > 10
    assert world.sent_between(31, 60) == 0


async def test_when_the_bus_falls_silent_the_box_does_too(hungry: Profile) -> None:
    """Our own questions and their answers are no reason to go on: they would keep the car awake for ever."""
    world = World(hungry)
    world.silences = [(20, 50)]
    await world.run(70)
    assert world.sent_between(10, 20) > 20
    assert world.sent_between(22.5, 50) == 0
    assert world.sent_between(50, 70) > 40


async def test_nothing_is_on_the_bus_ten_seconds_after_the_car_went_to_sleep(leaf: Profile) -> None:
    """Also when a unit said "wait" just before."""
    moods = {p.id: Mood(waits_s=4.5) for p in leaf.polls}
    world = World(leaf, moods=moods)
    world.silences = [(20, 60)]
    await world.run(60)
    assert world.sent_between(0, 20) > 0
    assert world.sent_between(30, 60) == 0


async def test_after_sleep_everything_may_be_asked_again(leaf: Profile) -> None:
    """Serial numbers and trouble codes once per awakening: the pack may have been swapped meanwhile."""
    world = World(leaf)
    world.silences = [(60, 100)]
    await world.run(160)
    assert [world.units.asked.count(name) for name in ("lbc-serial", "lbc-trouble-codes")] == [2, 2]


async def test_a_low_12_v_battery_ends_the_asking_until_the_car_has_slept(leaf: Profile) -> None:
    """The first answer that tells it is the last that is asked for."""
    world = World(leaf, truth={**CALM, "aux_voltage_v": 12.1})
    world.silences = [(100, 120)]
    world.later(110, lambda: world.truth.update(aux_voltage_v=14.0))
    await world.run(200)
    assert world.units.asked[:2] == ["lbc-state", "lbc-state"]
    assert world.sent_between(0, 100) == 2  # the question and one flow control
    assert world.sent_between(120, 200) > 20


async def test_a_low_12_v_broadcast_counts_too_and_a_better_one_lets_go(leaf: Profile) -> None:
    """The fold may know it from a frame that nobody asked for."""
    world = World(leaf, truth={})
    world.later(50, lambda: setattr(world, "sight", CarSight(CarState.READY, 11.9, 1)))
    world.later(250, lambda: setattr(world, "sight", CarSight(CarState.READY, 13.9, 2)))
    await world.run(400)
    assert world.sent_between(51, 250) == 0
    assert world.sent_between(250, 400) > 5


@pytest.mark.parametrize(
    ("key", "data"),
    [
        (QUESTION, "0221010000000000"),  # the same unit
        (0x7DF, "02010C0000000000"),  # everybody
        (ANSWER, "037F2131AAAAAAAA"),  # only the answer is heard on this side of a gateway
    ],
)
async def test_another_tester_is_given_a_minute(leaf: Profile, key: int, data: str) -> None:
    """Two testers on one id break each other's answers, and a workshop has a reason."""
    world = World(leaf)
    world.bus.join("workshop", lambda _key, _data: None)
    world.later(100.05, lambda: world.bus.send("workshop", key, bytes.fromhex(data)))
    await world.run(300)
    assert world.sent_between(101, 160) == 0
    assert world.sent_between(160, 300) > 10


async def test_late_answers_to_our_own_questions_are_no_other_tester(hungry: Profile) -> None:
    """A slow unit would otherwise silence the box for a minute, each time."""
    world = World(hungry)
    world.units.moods = {"lbc-state": Mood(silent=True)}
    world.later(3.0, lambda: world.bus.send("car", ANSWER, bytes.fromhex("0461010000000000")))
    await world.run(50)
    assert world.sent_between(7, 50) > 10


async def test_a_full_queue_slows_the_box_down(leaf: Profile) -> None:
    """ENOBUFS: nobody acknowledges. Ever rarer attempts, and full speed once somebody answers."""
    world = World(leaf)
    world.bus.full = True
    tries: list[float] = []
    ask = world.tester.ask

    async def counted(poll: Poll) -> Reply:
        tries.append(asyncio.get_running_loop().time())
        return await ask(poll)

    world.tester.ask = counted  # type: ignore[method-assign]
    world.later(200, lambda: setattr(world.bus, "full", False))
    await world.run(420)
    waits = [round(b - a) for a, b in pairwise(tries)]
    assert waits[:5] == [5, 10, 20, 40, 80]
    assert world.sent_between(0, 200) == 0
    assert world.sent_between(200, 420) > 20


async def test_error_frames_make_it_wait(hungry: Profile) -> None:
    """Whoever causes them, one sender less helps."""
    world = World(hungry)
    world.broken = [(30, 31)]
    await world.run(60)
    assert world.sent_between(31, 35) == 0
    assert world.sent_between(36, 60) > 0


@pytest.mark.parametrize("state", [CarState.DRIVING, None])
async def test_consent_for_the_standing_car_does_not_cover_a_drive(leaf: Profile, state: CarState | None) -> None:
    """Nor a car of which we do not know whether it is driven."""
    world = World(leaf, Consent.STANDING, state=state)
    world.later(60, lambda: setattr(world, "sight", CarSight(CarState.CHARGING)))
    await world.run(120)
    assert world.sent_between(0, 60) == 0
    assert world.sent_between(60, 120) > 10


@pytest.mark.parametrize(
    ("mood", "ending"),
    [
        (Mood(silent=True), Ending.SILENT),
        (Mood(refuses=0x31), Ending.REFUSED),
        (Mood(waits_s=3.2), Ending.ANSWERED),
        (Mood(waits_s=7), Ending.SILENT),
        (Mood(skips=True), Ending.BROKEN),
        (Mood(stops=True), Ending.BROKEN),
    ],
)
async def test_every_mood_of_a_unit_ends_as_it_should(leaf: Profile, mood: Mood, ending: Ending) -> None:
    """Negative answers, waiting, silence, wrong sequence, truncation: none of them stops the next question."""
    world = World(leaf, moods={"lbc-cells": mood})
    polls = {p.id: p for p in leaf.polls}
    assert (await world.tester.ask(polls["lbc-cells"])).ending is ending
    await asyncio.sleep(8)  # what a slow unit still sends
    assert (await world.tester.ask(polls["lbc-temperatures"])).ending is Ending.ANSWERED


@pytest.mark.parametrize("family", Catalogue().ids)
async def test_the_units_of_every_family_answer_what_its_profile_asks(family: str) -> None:
    """The simulated units are made of the profile's polls, and its own decoder reads every answer."""
    profile = Catalogue().profile(family)
    world = World(profile)
    for poll in profile.polls:
        reply = await world.tester.ask(poll)
        assert (poll.id, reply.ending) == (poll.id, Ending.ANSWERED)
    assert [f for f in world.sent if harm_reason(f.data)] == []


async def test_a_question_to_everybody_is_answered_by_whoever_is_there() -> None:
    """The first of eight addresses is empty in many electric cars; the fourth answers."""
    obd = Catalogue().profile("generic-obd")
    vin = next(p for p in obd.questions if p.request == b"\x09\x02" and not p.extended)
    fourth = next(p for p in obd.polls if p.asked_by == vin.id and p.rx == 0x7EB)
    world = World(replace(obd, polls=(vin, fourth)), moods={vin.id: Mood(silent=True)})
    reply = await world.tester.ask(vin)
    assert (reply.ending, world.units.asked) == (Ending.ANSWERED, [vin.id, fourth.id])
    assert [frame.key for frame in world.sent] == [0x7DF, 0x7E3]


async def test_a_drive_with_polling_learns_what_the_bus_does_not_say(leaf: Profile) -> None:
    """Cell voltages and capacity come only by asking on a 24 kWh car; the fold reads them as if another had asked."""
    car = SimCar(LEAF_24, 3, 20_000)
    drive = next(s for s in car.stretches(car.day_begins_ms(0)) if isinstance(s, Awake) and not s.plugged)
    senders = sim_leaf.senders(LEAF_24)
    rates = Rates(0.1, 0.5, 0.5, 1e9, 30.0)
    world = World(leaf)
    boot = LoopClock().now().boot

    def column(values: FloatArray) -> float:
        at_s = asyncio.get_running_loop().time()
        return float(values[min(int(at_s / drive.step_s), len(values) - 1)])

    def truth() -> Mapping[str, float]:
        volts = column(drive.voltage_v)
        return {
            "aux_voltage_v": 14.2,
            "capacity_reported_ah": drive.bms_capacity_ah,
            "pack_voltage_v": volts,
            "pack_voltage": volts,  # told beside the cells, for whoever checks them
            "pack_current_a": column(drive.sensed_a),
            "soc_bms_pct": column(drive.soc_bms_pct),
            "cell_voltage_min_v": volts / 96 - 0.01,
            "cell_voltage_max_v": volts / 96 + 0.01,
        }

    def broadcast(from_s: float, to_s: float) -> FrameBatch | None:
        start = drive.start_ms
        sent = encode(drive, senders, [], rates, start + round(from_s * 1000), start + round(to_s * 1000))
        n = len(sent)
        if not n:
            return None
        zeros = np.zeros(n, np.uint8)
        return FrameBatch(
            boot, None, sent.wall_ns - start * NS_PER_MS, zeros, sent.can_id, zeros, sent.length, sent.data
        )

    units = SimUnits(world.bus, leaf, truth, lengths=LENGTHS)
    world.broadcast = broadcast  # type: ignore[method-assign]
    plan = box.BoxPlan(Decoder(leaf), BoxId("b"), BatteryId("x"), "configured", "test")
    states = [box.start(plan)]

    def fold(item: FrameBatch | Tick) -> None:
        state, _ = box.advance(plan, states[-1], item)
        states[:] = [state]
        world.sight = car_sight(state)

    await world.run(min(drive.seconds, 150.0), fold)
    state = states[-1]
    held = state.sample.held
    assert held[Col.CAPACITY_REPORTED_AH] == pytest.approx(drive.bms_capacity_ah, abs=1e-3)
    mean_v = held[Col.VOLTAGE_V] / 96
    assert held[Col.CELL_LOW_V] == pytest.approx(mean_v, abs=0.2)
    assert held[Col.CELL_HIGH_V] - held[Col.CELL_LOW_V] == pytest.approx(0.02, abs=0.002)
    assert state.refused.broken_answers == 0
    assert world.sight.state is CarState.DRIVING
    assert world.sight.aux_voltage_v == pytest.approx(14.2)
    assert units.asked.count("lbc-cells") == 1 + 150 // 60
    assert "lbc-balancing" not in units.asked[10:]  # only at standstill
    assert len(world.sent) < 0.001 * state.frames + 200


async def test_a_stamp_of_the_loop_is_as_the_sources(leaf: Profile) -> None:
    """Traffic and questions are compared on one clock."""
    assert LoopClock().now() == Stamp(LoopClock().now().boot, round(asyncio.get_running_loop().time() * 1e9), None)
