"""Ask the car what it does not say by itself, politely.

In:  the frames on their way to the fold, overheard, and what the fold knows of the car.
Out: questions through a `Tester`. Answers take the ordinary way into the fold, like those that others ask for.
Whether a question may be asked now is decided by `core.courtesy` alone, which one by `core.poll`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from packbox.core import courtesy, poll, seen
from packbox.core import sample as sampling
from packbox.core.answers import Window, layout_for, read
from packbox.core.box import BoxState
from packbox.core.courtesy import Consent, Rule, Sight, Signs
from packbox.core.exchange import Ending, Reply, send_all
from packbox.core.frames import ERROR, EXTENDED, SENT, FrameBatch
from packbox.core.profile import EXTENDED_BIT, FUNCTIONAL_KEYS, CarState, Poll, Profile
from packbox.core.quantities import QUANTITIES
from packbox.core.sample import Col
from packbox.core.segment import Phase
from packbox.core.sight import STANDSTILL_KMH
from packbox.core.stamp import NS_PER_MS, NS_PER_S, Tick
from packbox.ports import BusBusyError, BusDownError, Clock, FrameSource, Tester

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.25  # no poll is asked more often than once a second
NOT_BEFORE_NS: Final = 100 * NS_PER_MS  # clocks of kernel and box differ by less; an answer is never that early
AFTERGLOW_NS: Final = 300 * NS_PER_MS  # frames of an answer that are stamped or read after its end
LATE_NS: Final = 6 * NS_PER_S  # a slow unit still answers what we gave up
TURNS_KEPT: Final = 64  # older ones are long out of every batch on its way
TRIED: Final = 2
HEARD: Final = -1
ABSENT: Final = 3  # silent to so many different questions, a unit is not there
SILENT_AT_FIRST: Final = 10  # questions without any answer since the start: something is wrong with the wiring

_DOING: Final = {Phase.RESTING: CarState.READY, Phase.CHARGING: CarState.CHARGING, Phase.DRIVING: CarState.DRIVING}


@dataclass(frozen=True, slots=True)
class CarSight:
    """What the fold knows. `aux_count`: how often the car told the 12 V side, to tell new from old."""

    state: CarState | None = None
    aux_voltage_v: float | None = None
    aux_count: int = 0


@dataclass(slots=True)
class _Turn:
    """A question of ours: frames of these ids are ours in that time."""

    tx_keys: frozenset[int]
    rx_key: int | None  # None: everybody was asked
    from_ns: int
    to_ns: int | None  # None: still open


def car_sight(state: BoxState) -> CarSight:
    """What the car does by the open session, or at once when it moves: a session needs seconds to be sure."""
    if state.segment.end_s is None:
        return CarSight()
    doing = _DOING[state.segment.phase]
    if state.sample.held[Col.SPEED_KMH] > STANDSTILL_KMH:  # False for NaN: not known
        doing = CarState.DRIVING
    place = seen.NAMES.index(poll.AUX_VOLTAGE)
    return CarSight(doing, sampling.known(state.seen.last[place]), int(state.seen.count[place]))


class Asking:
    """First `overhear`, then `run`; `look` is asked before every question.

    `attended`: a person at the car has turned it on and waits, so a plug that carries nothing but answers may be asked
    too, for `courtesy.ATTENDED_MAX_NS`. `signs`: what the installation tells of a car whose bus is mute.
    `before`: what another `Asking` saw on the same bus just now, so that its pauses hold.
    """

    def __init__(
        self,
        profile: Profile,
        consent: Consent,
        tester: Tester,
        clock: Clock,
        look: Callable[[], CarSight],
        *,
        attended: bool = False,
        signs: Callable[[], Signs] = Signs,
        before: Sight | None = None,
    ) -> None:
        self.tester = tester
        self.held_by: Rule | None = None  # why nothing is asked now
        self._polls = tuple(p for p in profile.questions if p.once or p.every_s)
        self._clock = clock
        self._look = look
        self._signs = signs
        self._attended = attended  # somebody waits: a unit that is not there must not hold up the others
        now_ns = clock.now().mono_ns
        until_ns = now_ns + courtesy.ATTENDED_MAX_NS if attended else courtesy.NEVER_NS
        self._sight = replace(before or Sight(consent, profile.care), care=profile.care, attended_until_ns=until_ns)
        self._plan = poll.start(self._polls, now_ns)
        self._asks = np.array(sorted({p.tx_key for p in profile.polls} | FUNCTIONAL_KEYS), np.int64)
        self._answers = np.array(sorted({p.rx_key for p in profile.polls}), np.int64)
        self._turns: deque[_Turn] = deque(maxlen=TURNS_KEPT)
        self._aux_count = look().aux_count
        self._questions = 0
        self._replies = 0
        self._mute: Counter[int] = Counter()  # by asking id: questions that nobody answered, while nobody ever did

    @property
    def sight(self) -> Sight:
        return self._sight

    @property
    def answers(self) -> int:
        """How many questions were answered or refused so far."""
        return self._replies

    @property
    def tried_all(self) -> bool:
        """Everything was answered, is not known to the car, or was asked twice, or its unit is not there."""
        return all(
            asked.over or asked.misses >= TRIED or self._mute[one.tx_key] >= ABSENT
            for one, asked in zip(self._polls, self._plan.asked, strict=True)
        )

    def hold(self) -> None:
        """It is not known whether the car on the bus is the one that the questions were chosen for."""
        self._sight = replace(self._sight, known=False)

    def release(self) -> None:
        """It is."""
        self._sight = replace(self._sight, known=True)

    def renew(self) -> None:
        """Everything may be asked again, as if the car had just woken up. Every rule holds as before."""
        self._plan = poll.start(self._polls, self._clock.now().mono_ns)

    # -- listening ---------------------------------------------------------------------------------------------------

    def overhear(self, source: FrameSource) -> FrameSource:
        """The same source, with us listening along."""
        return _Overheard(source, self)

    def hear(self, batch: FrameBatch) -> None:
        if not len(batch):
            return
        keys = batch.can_id.astype(np.int64) | np.where(batch.flags & EXTENDED, EXTENDED_BIT, 0)
        sound = (batch.flags & ERROR) == 0
        asks, answers = sound & np.isin(keys, self._asks), sound & np.isin(keys, self._answers)
        others = sound & ~asks & ~answers & ((batch.flags & SENT) == 0)
        if others.any():
            self._heard(int(batch.mono_ns[others].max()))
        if not sound.all():
            self._sight = courtesy.troubled(self._sight, int(batch.mono_ns[~sound].max()))
        for place in np.flatnonzero(asks | answers).tolist():
            at_ns = int(batch.mono_ns[place])
            sent = bool(batch.flags[place] & SENT)  # by this machine, perhaps by another program on it
            ours = (sent or bool(answers[place])) and self._is_ours(int(keys[place]), at_ns, is_answer=not sent)
            if not ours:
                self._sight = replace(self._sight, other_tester_ns=max(self._sight.other_tester_ns, at_ns))

    def _heard(self, at_ns: int) -> None:
        if courtesy.is_asleep(self._sight, at_ns):
            self._wake(at_ns)
        self._sight = replace(self._sight, heard_ns=max(self._sight.heard_ns, at_ns))

    def _wake(self, at_ns: int) -> None:
        self._sight = courtesy.forget(self._sight)
        self._aux_count = self._look().aux_count
        self._plan = poll.start(self._polls, at_ns)

    def _is_ours(self, key: int, at_ns: int, *, is_answer: bool) -> bool:
        """Whether it was seen while a question of ours to this unit was under way."""
        return any(
            (turn.rx_key in (key, None) if is_answer else key in turn.tx_keys)
            and turn.from_ns <= at_ns
            and (turn.to_ns is None or at_ns <= turn.to_ns)
            for turn in self._turns
        )

    # -- asking ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not await self.step():
                await asyncio.sleep(LOOK_EVERY_S)

    async def step(self) -> bool:
        """Ask one question, if one is due and may be asked. Whether it was."""
        now_ns = self._clock.now().mono_ns
        self._look_around(now_ns)
        rule = courtesy.restraint(self._sight, now_ns)
        self._say_held(rule)
        if rule is not None:
            return False
        place = poll.next_due(self._polls, self._plan, self._sight.car_state or CarState.READY, now_ns)
        if place is not None and self._attended and self._mute[self._polls[place].tx_key] >= ABSENT:
            self._plan = poll.given_up(self._plan, place)
            return True
        if place is None:
            return False
        await self._ask(place, now_ns)
        return True

    def _look_around(self, now_ns: int) -> None:
        signs = self._signs()
        if signs.awake and not self._sight.signs.awake and courtesy.is_asleep(self._sight, now_ns):
            self._wake(now_ns)
        self._sight = courtesy.told(self._sight, signs)
        known = self._look()
        self._sight = replace(self._sight, car_state=known.state)
        if known.aux_count != self._aux_count:
            self._aux_count = known.aux_count
            self._sight = replace(self._sight, aux_voltage_v=known.aux_voltage_v)

    async def _ask(self, place: int, now_ns: int) -> None:
        one = self._polls[place]
        rx_key = None if one.tx_key in FUNCTIONAL_KEYS else one.rx_key
        flow = {send_all(replace(one, rx=rx)).key for rx in (one.rx, *one.also)}
        turn = _Turn(frozenset({one.tx_key} | flow), rx_key, now_ns - NOT_BEFORE_NS, None)
        self._turns.append(turn)
        self._sight = courtesy.asked(self._sight, now_ns)
        plan = self._plan
        reply = Reply(Ending.SILENT)
        try:
            reply = await self.tester.ask(one)
        except BusBusyError as problem:
            self._sight = courtesy.troubled(self._sight, self._clock.now().mono_ns)
            log.debug("could not ask: %s", problem)
        except BusDownError as problem:
            log.debug("no bus to ask on: %s", problem)
        finally:
            ended_ns = self._clock.now().mono_ns
            late = reply.ending in (Ending.SILENT, Ending.BROKEN)
            turn.to_ns = ended_ns + (LATE_NS if late else AFTERGLOW_NS)
            self._sight = replace(self._sight, asked_ns=ended_ns)
        self._note(one, reply)
        if self._plan is plan:  # else the car slept meanwhile, and all begins anew
            self._plan = poll.after(self._polls, plan, place, reply, now_ns)

    def _note(self, one: Poll, reply: Reply) -> None:
        self._questions += 1
        if reply.ending is Ending.SILENT and self._mute[one.tx_key] >= 0:
            self._mute[one.tx_key] += 1
        if reply.ending in (Ending.ANSWERED, Ending.REFUSED):
            self._mute[one.tx_key] = HEARD
            self._replies += 1
            self._sight = courtesy.answered(self._sight)
        if self._questions == SILENT_AT_FIRST and not self._replies:
            log.warning("the car answers nothing: is the interface listen-only, or the plug on another bus?")
        if reply.ending is Ending.ANSWERED and (volts := _aux_voltage_v(one, reply.data)) is not None:
            self._sight = replace(self._sight, aux_voltage_v=volts)  # the fold knows it a second or two later

    def _say_held(self, rule: Rule | None) -> None:
        if rule is courtesy.PACE or rule is self.held_by:
            return
        if rule is None:
            log.info("asks the car")
        else:
            log.info("does not ask the car: %s", rule.name)
        self.held_by = rule


class _Overheard:
    def __init__(self, source: FrameSource, asking: Asking) -> None:
        self._source = source
        self._asking = asking

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        async for item in self._source.inputs():
            if isinstance(item, FrameBatch):
                self._asking.hear(item)
            yield item


def _aux_voltage_v(one: Poll, data: bytes) -> float | None:
    """What an answer says of the 12 V side; nothing that no car can have."""
    layout = layout_for(one, len(data))
    limits = QUANTITIES[poll.AUX_VOLTAGE]
    for reading in [] if layout is None else read(layout, Window(0, data[len(one.head) :]), each_row=False):
        for use in reading.uses:
            if use.quantity == poll.AUX_VOLTAGE and isinstance(reading.value, float | int) and not use.steps:
                volts = reading.value * use.factor + use.offset
                return volts if limits.low <= volts <= limits.high else None
    return None
