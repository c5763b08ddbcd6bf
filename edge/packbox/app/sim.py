"""`packbox sim --bus can1 --profile P`: a simulated car on a real bus, for a bench, for a test, for another's tool.

In:  a bus that no car is connected to; a family, a scenario, a seed.
Out: the family's frames at their true periods, answers to diagnostic questions; one line per phase.
Refuses a bus on which anybody else speaks (exit 1), unless --share-bus; families that have no simulator (exit 2).

Two programs that play control units on one bus, or this one in a car, would be heard by brakes and airbags.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from packbox.adapters.car_bus import CarBus
from packbox.adapters.profile_dir import Catalogue
from packbox.core.profile import Poll, Profile
from packbox.core.stamp import NS_PER_S
from packbox.ports import PackboxError, SettingsError
from packbox.sim.car import Awake, CarModel, SimCar
from packbox.sim.frames import REAL, Columns
from packbox.sim.guard import LISTEN_FIRST_S, Guard
from packbox.sim.mouth import CAR
from packbox.sim.obd import ObdUnit, vin_of
from packbox.sim.scenes import BROADCASTING, FIRST_DAY, LIGHT, STAND_IN, Playing, Scenario, answers_of, scenes, told
from packbox.sim.units import Mood, SimUnits

FOUND_PROBLEM: Final = 1
USAGE_ERROR: Final = 2
WINDOW_S: Final = 1.0  # frames made at once
TURN_S: Final = 0.004  # frames due within this go together: half the shortest period of any family
LATE_S: Final = 0.5  # what is later than this is left out: a computer that cannot keep up must not flood the bus
DEFAULT_SEED: Final = 1
SEED_DIGITS: Final = 9
SPEED_MAX: Final = 10_000.0  # a year in an hour
WAITS_MAX_S: Final = 60.0
MOODS: Final[Mapping[str, Mood]] = {
    "silent": Mood(silent=True),
    "skips": Mood(skips=True),
    "stops": Mood(stops=True),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bus", required=True, metavar="BUS", help="can1, or INTERFACE:CHANNEL as python-can has it")
    parser.add_argument("--profile", required=True, metavar="P", help="the family that it plays")
    parser.add_argument("--car", metavar="MODEL", help="which car of the family (default: the first)")
    parser.add_argument(
        "--scenario", type=Scenario, choices=list(Scenario), default=Scenario.DAY, help="what it does (default: day)"
    )
    parser.add_argument("--seed", type=_seed, default=DEFAULT_SEED, metavar="N", help="which life of it (default: 1)")
    parser.add_argument("--speed", type=_speed, default=1.0, metavar="X", help="times faster than life (default: 1)")
    parser.add_argument("--light", action="store_true", help="each id ten times a second at most, for slow computers")
    parser.add_argument(
        "--mood",
        type=_mood,
        action="append",
        default=[],
        metavar="POLL=HOW",
        help="how a poll is taken: silent, refuses:31, waits:3 (seconds of 'pending'), skips, stops; may be repeated",
    )
    parser.add_argument(
        "--share-bus", action="store_true", help="others may speak too; never in a car that can be driven"
    )


def main(args: argparse.Namespace) -> int:
    try:
        profile = _profile(args.profile)
        model = _model(profile, args.car)
        _check_moods(profile, args.mood)
    except PackboxError as problem:
        print(f"packbox sim: {problem}", file=sys.stderr)
        return USAGE_ERROR
    try:
        asyncio.run(_run(args, profile, model))
    except PackboxError as problem:
        print(f"packbox sim: {problem}", file=sys.stderr)
        return FOUND_PROBLEM
    return 0


def _profile(name: str) -> Profile:
    """Raises ProfileError, SettingsError."""
    profile, _variant = Catalogue().find(name)
    if profile.id not in BROADCASTING and not profile.polls:
        raise SettingsError(f"{profile.id}: no simulator: it has neither frames of ours nor a poll to answer")
    return profile


def _model(profile: Profile, name: str | None) -> CarModel:
    models = {model.id: model for model in BROADCASTING.get(profile.id, (STAND_IN,))}
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        raise SettingsError(f"--car {name}: of {profile.id} there are {', '.join(models)}")
    return models[name]


def _check_moods(profile: Profile, moods: Iterable[tuple[str, Mood]]) -> None:
    known = {poll.id for poll in profile.polls}
    for poll, _mood in moods:
        if poll not in known:
            raise SettingsError(f"--mood {poll}: {profile.id} has no such poll; it has {', '.join(sorted(known))}")


async def _run(args: argparse.Namespace, profile: Profile, model: CarModel) -> None:
    """Until the scenario or the bus ends, or somebody asks it to leave. Raises PackboxError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with CarBus(args.bus, profile.buses[0].bitrate) as bus:
        guard = None if args.share_bus else Guard(bus, bus.name, profile)
        bench = Bench(bus, profile, model, args)
        ends = [
            asyncio.create_task(bench.live(guard), name="car"),
            asyncio.create_task(bus.gone(), name="bus"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        if guard is not None:
            ends.append(asyncio.create_task(guard.broken(), name="guard"))
        try:
            done, _others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        _say(f"{bus.name}: ended; {bench.counts}")
        for task in done:
            task.result()


class Bench:
    """The car on its bus."""

    def __init__(self, bus: CarBus, profile: Profile, model: CarModel, args: argparse.Namespace) -> None:
        self._bus = bus
        self._args = args
        self._model = model
        self._silent = profile.id not in BROADCASTING
        self._name = f"{profile.id}, {model.id}, seed {args.seed}"
        self._playing: Playing | None = None
        self._began_s = 0.0
        self._late = 0
        self._refusing = False
        standard = ObdUnit(self._truth, vin_of(args.seed))
        self._units = SimUnits(
            bus,
            replace(profile, polls=profile.questions),
            self._truth,
            seed=args.seed,
            moods=dict(args.mood),
            own=answers_of(self._own_answer, standard, profile.id),
            standard=standard,
        )
        self._units.asleep = True

    @property
    def counts(self) -> str:
        parts = [f"frames sent {self._bus.sent}, questions heard {self._units.questions}"]
        if self._bus.refused:
            parts.append(f"not taken by the bus {self._bus.refused}")
        if self._late:
            parts.append(f"left out because this computer was too slow {self._late} (--light asks less of it)")
        return ", ".join(parts)

    async def live(self, guard: Guard | None) -> None:
        if guard is None:
            self._bus.only(sorted(self._units.keys))
        else:
            _say(f"{self._bus.name}: listening for {LISTEN_FIRST_S:g} s whether anybody else speaks")
            await guard.quiet()
        _say(f"{self._bus.name}: {self._name}{': answers only, as behind a gateway' if self._silent else ''}")
        car = SimCar(self._model, self._args.seed, FIRST_DAY)
        for scene in scenes(car, self._args.scenario):
            says = told(scene)
            _say(f"{says.what}, {says.minutes / self._args.speed:.0f} min")
            if isinstance(scene, Awake):
                await self._play(scene)
            else:
                await asyncio.sleep((scene.end_ms - scene.start_ms) / 1000 / self._args.speed)

    async def _play(self, scene: Awake) -> None:
        loop = asyncio.get_running_loop()
        rates = LIGHT if self._args.light else REAL
        self._playing = Playing(scene, self._model, self._args.seed, self._args.speed, rates, silent=self._silent)
        playing, self._began_s = self._playing, loop.time()
        self._units.asleep = False
        try:
            at_s, columns = 0.0, await asyncio.to_thread(playing.frames, 0.0, WINDOW_S)
            while at_s < playing.seconds:
                at_s += WINDOW_S
                ahead = asyncio.create_task(asyncio.to_thread(playing.frames, at_s, at_s + WINDOW_S))
                await self._send(columns)
                await asyncio.sleep(self._began_s + min(at_s, playing.seconds) - loop.time())
                self._tell_trouble()
                columns = await ahead
        finally:
            self._units.asleep = True

    async def _send(self, columns: Columns) -> None:
        """Each frame when it is due, a few at a time."""
        due_s = columns.wall_ns / NS_PER_S
        frames = list(zip(columns.can_id.tolist(), columns.length.tolist(), map(bytes, columns.data), strict=True))
        done = 0
        while done < len(frames):
            now_s = self._now_s()
            first = max(done, int(np.searchsorted(due_s, now_s - LATE_S)))
            self._late += first - done
            done = max(first, int(np.searchsorted(due_s, now_s, "right")))
            for key, length, data in frames[first:done]:
                self._bus.send(CAR, key, data[:length])
            if done < len(frames):
                await asyncio.sleep(max(TURN_S, due_s[done] - now_s))

    def _tell_trouble(self) -> None:
        refusing = self._bus.trouble is not None
        if refusing != self._refusing:
            self._refusing = refusing
            _say(f"{self._bus.name}: takes {f'no frames: {self._bus.trouble}' if refusing else 'frames again'}")

    def _truth(self) -> Mapping[str, float]:
        assert self._playing is not None, "who sleeps is not asked"
        return self._playing.truth(self._now_s())

    def _own_answer(self, poll: Poll) -> bytes | None:
        assert self._playing is not None, "who sleeps is not asked"
        return self._playing.own_answer(poll, self._now_s())

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s


def _say(line: str) -> None:
    print(line, flush=True)


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > SEED_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at most {SEED_DIGITS} digits")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= SPEED_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0, at most {SPEED_MAX:g}")
    return speed


def _mood(text: str) -> tuple[str, Mood]:
    poll, equals, how = text.partition("=")
    word, colon, number = how.partition(":")
    with contextlib.suppress(ValueError):
        if equals and word in MOODS and not colon:
            return poll, MOODS[word]
        if word == "refuses" and 0 < int(number, 16) <= 0xFF:
            return poll, Mood(refuses=int(number, 16))
        if word == "waits" and 0 < float(number) <= WAITS_MAX_S:
            return poll, Mood(waits_s=float(number))
    raise argparse.ArgumentTypeError(f"{text!r}: expected POLL=silent, skips, stops, refuses:HEX or waits:SECONDS")
