"""A look at one car with a person beside it who agreed that it is asked: recognise it, ask each thing once, end.

In:  profiles, a live source and its tester. Out: everything heard, and what the car is.
Listens first. A car that shows by itself what it is is asked its own questions only; one whose plug is mute is asked a
few of each family until one fits. Every rule of `core.courtesy` holds; consent is for the standing car.
Ends by itself: when everything was answered, refused or asked twice, or after so many seconds in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from packbox.app.ask import Asking, CarSight, car_sight
from packbox.app.recognise import beginning
from packbox.core import box
from packbox.core.box import BoxPlan
from packbox.core.courtesy import Consent, Sight
from packbox.core.decode import Decoder
from packbox.core.detect import Detection, detect
from packbox.core.frames import FrameBatch
from packbox.core.probe import probe_profile
from packbox.core.profile import Profile
from packbox.core.record import BatteryId, BoxId
from packbox.core.stamp import NS_PER_S, Tick
from packbox.ports import Clock, FrameSource, Tester

RECOGNISE_S: Final = 15.0  # before the first question: the rarest typical frame comes every 3 s
AFTERWARDS_S: Final = 1.0  # the last answer is still on its way through the source
PROBE_S: Final = 120.0  # every question of every family, none answered


@dataclass(frozen=True, slots=True, eq=False)
class Attended:
    heard: tuple[FrameBatch, ...]
    detection: Detection


async def listen(
    source: FrameSource,
    seconds: float,
    hear: Callable[[FrameBatch], object] | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> list[FrameBatch]:
    """Frames of so many seconds by the source's own clock, and of no more by ours. Raises BusDownError."""
    heard: list[FrameBatch] = []
    now_s = asyncio.get_running_loop().time
    over_s: float | None = None
    try:
        async with asyncio.timeout(seconds), aclosing(_inputs(source)) as inputs:
            async for item in inputs:
                if isinstance(item, FrameBatch) and len(item):
                    heard.append(item)
                    if hear is not None:
                        hear(item)
                    if item.mono_ns[-1] - heard[0].mono_ns[0] >= seconds * NS_PER_S:
                        break
                over_s = (over_s or now_s()) if is_over() else None
                if over_s is not None and now_s() - over_s >= AFTERWARDS_S:
                    break
    except TimeoutError:
        pass
    return heard


async def _inputs(source: FrameSource) -> AsyncGenerator[FrameBatch | Tick, None]:
    async for item in source.inputs():
        yield item


async def attend(
    profiles: Sequence[Profile],
    known: Profile | None,
    source: FrameSource,
    tester: Tester,
    clock: Clock,
    seconds: float,
) -> Attended:
    """`known`: a person told which car this is. `seconds`: for asking it."""
    heard = await listen(source, RECOGNISE_S)
    candidates = [known] if known is not None else profiles
    detection = detect(candidates, beginning(heard))
    profile = known or _found(profiles, detection)
    sight: Sight | None = None
    if profile is None:
        asking = Asking(probe_profile(profiles), Consent.STANDING, tester, clock, CarSight, attended=True)
        heard += await _probe(profiles, asking, source, heard)
        sight = asking.sight
        detection = detect(profiles, beginning(heard))
        profile = _found(profiles, detection)
    if profile is not None:
        heard += await ask_once(profile, source, tester, clock, seconds, sight)
        if not detection.frames or detection.found is None:
            detection = detect(candidates, beginning(heard))
    return Attended(tuple(heard), detection)


async def ask_once(
    profile: Profile, source: FrameSource, tester: Tester, clock: Clock, seconds: float, before: Sight | None = None
) -> list[FrameBatch]:
    """Each of the profile's questions once, while and as long as the rules of courtesy allow it."""
    plan = BoxPlan(Decoder(profile), BoxId("0" * 16), BatteryId("inspected"), "provisional", "")
    along = box.start(plan)

    def fold(batch: FrameBatch) -> None:
        nonlocal along
        along = box.advance(plan, along, batch)[0]

    once = replace(profile, polls=tuple(replace(poll, once=True, every_s={}) for poll in profile.polls))
    asking = Asking(once, Consent.STANDING, tester, clock, lambda: car_sight(along), attended=True, before=before)
    return await _while_asking(asking, source, seconds, fold, lambda: asking.tried_all)


async def _probe(
    profiles: Sequence[Profile], asking: Asking, source: FrameSource, before: Sequence[FrameBatch]
) -> list[FrameBatch]:
    heard = list(before)
    looked_at = 0
    found = False

    def is_over() -> bool:
        nonlocal looked_at, found
        if asking.answers != looked_at and not found:
            looked_at = asking.answers
            found = detect(profiles, beginning(heard)).found is not None
        return found or asking.tried_all

    return await _while_asking(asking, source, PROBE_S, heard.append, is_over)


async def _while_asking(
    asking: Asking,
    source: FrameSource,
    seconds: float,
    hear: Callable[[FrameBatch], object],
    is_over: Callable[[], bool],
) -> list[FrameBatch]:
    async with asyncio.TaskGroup() as tasks:
        questions = tasks.create_task(asking.run(), name="ask")
        try:
            return await listen(asking.overhear(source), seconds, hear, is_over)
        finally:
            questions.cancel()


def _found(profiles: Sequence[Profile], detection: Detection) -> Profile | None:
    found = detection.found
    return None if found is None else next(p for p in profiles if p.id == found.profile)
