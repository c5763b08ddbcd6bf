"""The one fold: frames and ticks in, outcomes out. `run`, `replay`, the demo and every test call this and nothing else.

In:  `BoxPlan` (what does not change while the box runs), `BoxState` (frozen, small, saved with the records it led
     to), and one `FrameBatch` or `Tick` after the other.
Out: the next state and what became true, in order.
The same input, however batched, gives the same outcomes and the same state: frames of the unfinished second wait
in the state, only whole seconds are worked on, and every sum that outlives a second runs strictly in order.
Ticks only let time pass on a silent bus. A clock that runs back or a new boot is a hole, never made-up time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from packbox.core import harm, segment, timeline, usage
from packbox.core import sample as sampling
from packbox.core.decode import Decoder, DecodeState
from packbox.core.frames import FrameBatch, IntArray, join
from packbox.core.harm import Harm, HarmState
from packbox.core.outcome import (
    EventName,
    EventSeen,
    Identity,
    Introduced,
    Outcome,
    ReadingsTaken,
    SessionClosed,
    SohComputed,
    UsageDue,
)
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.record import BatteryId, BoxId
from packbox.core.sample import GAP_S, Col, Samples, SampleState, Sum
from packbox.core.seen import SeenState
from packbox.core.seen import note as note_seen
from packbox.core.seen import start as start_seen
from packbox.core.segment import Cut, Phase, SegmentState
from packbox.core.sessions import session_of
from packbox.core.signals import Decoded, Refused
from packbox.core.soh import panel
from packbox.core.soh.method import SessionEnd
from packbox.core.soh.panel import PanelState
from packbox.core.soh.reading import in_steps
from packbox.core.stamp import NS_PER_MS, NS_PER_S, Stamp, Tick
from packbox.core.timeline import Timeline
from packbox.core.usage import UsageState

STATE_VERSION: Final = 3  # of `BoxState` and all within: raise it when a field changes, and bring a conversion
TRIAL_S: Final = 30  # seconds with frames after which a wrong profile is told from a right one
TRIAL_FRAMES: Final = 500  # fewer prove nothing
TRIAL_BAD_SHARE: Final = 0.2  # of known frames; real logs of the right car have none (facts/vehicles.md §2)
TRIAL_UNKNOWN_SHARE: Final = (
    0.85  # of all frames; real logs: at most 0.83 with the right profile, from 0.91 on with another
)
BLOCK_SECONDS: Final = 16_384  # worked on at once: bounds memory, changes nothing else
TIME_BACK_EVERY_S: Final = 3600  # a source that runs back all the time is said once an hour

Item: TypeAlias = FrameBatch | Tick


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often what is always true is said again, at the end of a session."""

    usage_every_s: float = 86_400.0
    soh_every_s: float = 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class BoxPlan:
    """What a box knows from outside."""

    decoder: Decoder
    box: BoxId
    battery: BatteryId
    battery_source: str  # read configured provisional
    software: str
    vehicle: str | None = None  # the operator's own name; never a VIN
    cadence: Cadence = field(default_factory=Cadence)


@dataclass(frozen=True, slots=True, eq=False)
class BoxState:
    decode: DecodeState
    sample: SampleState
    segment: SegmentState
    usage: UsageState
    harm: HarmState
    soh: PanelState
    seen: SeenState
    line: Timeline | None = None  # None until the first input
    pending: FrameBatch | None = None  # frames of the unfinished second
    introduced: Identity | None = None
    first_s: int | None = None  # second of the first frame
    first_wall_ms: int | None = None
    frames: int = 0
    trial_s: int = 0  # seconds with frames before the profile was judged
    judged: bool = False
    refused: Refused = field(default_factory=Refused)
    usage_said_s: float | None = None
    soh_said_s: float | None = None
    time_back_said_s: float | None = None
    pack: str | None = None  # id of the last pack that was known
    swaps: int = 0  # of the decoder's, those that were said
    serials: int = 0
    packs_before: int = 0  # how many packs this store has seen go


def start(plan: BoxPlan | None = None) -> BoxState:
    """A box that has seen nothing yet; without a plan one that does not even know which car it is in."""
    return BoxState(
        decode=DecodeState("") if plan is None else plan.decoder.start(),
        sample=sampling.start(),
        segment=SegmentState(),
        usage=usage.start(),
        harm=harm.start(),
        soh=panel.start(),
        seen=start_seen(),
    )


def advance(plan: BoxPlan, state: BoxState, item: Item) -> tuple[BoxState, tuple[Outcome, ...]]:
    """Take in one item; what became true meanwhile."""
    work = _Work(plan, state)
    if isinstance(item, Tick):
        work.tick(item)
    elif len(item):
        work.frames(item)
    return work.state, tuple(work.outcomes)


def finish(plan: BoxPlan, state: BoxState) -> tuple[BoxState, tuple[Outcome, ...]]:
    """The source ended: close what is open, say what is known."""
    work = _Work(plan, state)
    work.finish()
    return work.state, tuple(work.outcomes)


class _Work:
    """The state on its way through one call. The one place where the rooms' parts are put together."""

    def __init__(self, plan: BoxPlan, state: BoxState) -> None:
        self.plan = plan
        self.state = state
        self.outcomes: list[Outcome] = []

    # -- time --------------------------------------------------------------------------------------------------------

    def frames(self, batch: FrameBatch) -> None:
        self._enter(Stamp(batch.boot, int(batch.mono_ns[0]), None), batch.wall_offset_ms)
        rest: FrameBatch | None = batch
        while rest is not None:
            line, straight, rest = timeline.take(self._line, rest)
            self.state = replace(self.state, line=line)
            if len(straight):
                self._queue(straight)
            if rest is not None:
                self._step(int(rest.mono_ns[0]))

    def tick(self, tick: Tick) -> None:
        stamp = tick.stamp
        offset_ms = None if stamp.wall_ms is None else stamp.wall_ms - stamp.mono_ns // NS_PER_MS
        self._enter(stamp, offset_ms)
        # A frame that is on its way may still be late by the jitter: leave its second open.
        now_s = (stamp.mono_ns + self._line.now.shift_ns - timeline.JITTER_NS) // NS_PER_S
        if now_s * NS_PER_S <= self._line.high_ns:
            return
        self._flush()
        self.state = replace(self.state, line=replace(self._line, high_ns=now_s * NS_PER_S))
        self._silence(now_s)

    def finish(self) -> None:
        if self.state.line is None:
            return
        self._flush()
        self._judge(last=True)
        after, found = harm.finish(self.state.harm)
        self.state = replace(self.state, harm=after)
        for one in found:
            self._harm(one)
        self._closed(*segment.finish(self.state.segment))
        at_s = self.state.segment.end_s
        if at_s is not None and self.state.usage_said_s != at_s:
            self._say_usage(at_s)
        if at_s is not None and self.state.soh_said_s != at_s:
            self._say_soh(at_s)

    @property
    def _line(self) -> Timeline:
        assert self.state.line is not None
        return self.state.line

    def _enter(self, first: Stamp, wall_offset_ms: int | None) -> None:
        """Bring the line to the boot of what comes next, and take over its wall clock."""
        if self.state.line is None:
            self.state = replace(self.state, line=timeline.begin(first.boot, first.mono_ns, wall_offset_ms))
        elif first.boot != self._line.now.boot:
            self._reboot(first, wall_offset_ms)
        line, moved_ms = timeline.set_wall(self._line, wall_offset_ms)
        self.state = replace(self.state, line=line)
        if moved_ms is not None:  # smaller moves are followed without a word
            error_ms = float(max(timeline.CLOCK_STEP_MS, abs(moved_ms)))
            text = f"wall clock moved by {moved_ms / 1000:+.1f} s" if moved_ms else "wall clock set"
            self._say(EventSeen(line.stamp(line.high_ns), EventName.CLOCK_SET, extreme=error_ms, text=text))

    def _reboot(self, first: Stamp, wall_offset_ms: int | None) -> None:
        self._flush()
        self._date_first()
        line, gap_known = timeline.reboot(self._line, first.boot, first.mono_ns, wall_offset_ms)
        if gap_known:
            self._silence(line.high_ns // NS_PER_S)
        else:
            self._closed(*segment.lost(self.state.segment))
        self.state = replace(
            self.state, line=line, sample=sampling.after_break(self.state.sample, forget=not gap_known)
        )

    def _step(self, mono_ns: int) -> None:
        """The source's time ran back, or leapt ahead by more than any car is parked."""
        self._flush()
        before = self._line
        line = timeline.step(before, mono_ns)
        self.state = replace(self.state, line=line, sample=sampling.after_break(self.state.sample, forget=True))
        at_s = line.high_ns / NS_PER_S
        if self.state.time_back_said_s is None or at_s - self.state.time_back_said_s >= TIME_BACK_EVERY_S:
            back_ms = (before.high_ns - before.now.shift_ns - mono_ns) / NS_PER_MS
            self._event(EventSeen(line.stamp(line.high_ns), EventName.TIME_BACK, extreme=back_ms))
            self.state = replace(self.state, time_back_said_s=at_s)

    def _silence(self, until_s: int) -> None:
        """Nothing came up to then. Less than `GAP_S` is no silence: the next sample stands for it."""
        end_s = self.state.segment.end_s
        if end_s is None or until_s - end_s < GAP_S:
            return
        after, found = harm.silence(self.state.harm, until_s)
        self.state = replace(self.state, harm=after)
        for one in found:
            self._harm(one)
        self._closed(*segment.silence(self.state.segment, until_s))

    # -- whole seconds -----------------------------------------------------------------------------------------------

    def _queue(self, straight: FrameBatch) -> None:
        """Work on the seconds that are whole now; the unfinished one waits."""
        pending = self.state.pending
        frames = straight if pending is None else join((pending, straight))
        begin = int(np.searchsorted(frames.mono_ns, frames.mono_ns[-1] // NS_PER_S * NS_PER_S))
        self.state = replace(self.state, pending=_narrow(frames.pick(slice(begin, None))))
        if begin:
            self._seconds(frames.pick(slice(0, begin)))

    def _flush(self) -> None:
        """The unfinished second ends here."""
        pending = self.state.pending
        self.state = replace(self.state, pending=None)
        if pending is not None:
            self._seconds(pending)

    def _seconds(self, frames: FrameBatch) -> None:
        """Frames of whole seconds, cut where something must be decided."""
        second = frames.mono_ns // NS_PER_S
        starts = np.flatnonzero(np.concatenate(([True], second[1:] != second[:-1])))
        low = 0
        while low < len(starts):
            high = min(len(starts), low + BLOCK_SECONDS)
            if not self.state.judged:
                high = min(high, low + TRIAL_S - self.state.trial_s % TRIAL_S)
            ends = len(frames) if high == len(starts) else int(starts[high])
            self._block(frames.pick(slice(int(starts[low]), ends)))
            if not self.state.judged:
                self.state = replace(self.state, trial_s=self.state.trial_s + high - low)
                if self.state.trial_s % TRIAL_S == 0:
                    self._judge()
            low = high

    def _block(self, frames: FrameBatch) -> None:
        for part, decode, decoded in _decoded(self.plan.decoder, self.state.decode, frames):
            self.state = replace(
                self.state,
                decode=decode,
                frames=self.state.frames + len(part),
                refused=self.state.refused + decoded.refused,
                seen=note_seen(self.state.seen, decoded),
            )
            second = part.mono_ns // NS_PER_S
            self._notice_swap(int(second[0]))
            self._samples(second[np.concatenate(([True], second[1:] != second[:-1]))], decoded)

    def _samples(self, second: IntArray, decoded: Decoded) -> None:
        before = self.state
        if before.first_s is None:
            self.state = replace(self.state, first_s=int(second[0]))
        after, samples = sampling.sample(before.sample, second, decoded)
        self.state = replace(self.state, sample=after)
        # Cars tell what they are within seconds: wait for that, so that a store begins with one introduction.
        if self.state.introduced is not None or self.state.trial_s >= TRIAL_S or self._pack is not None:
            self._introduce(self._line.stamp(int(second[0]) * NS_PER_S))
        pack = self._pack
        reference_ah = None if pack is None else pack.reference_ah
        cut_state, cuts = segment.segment(before.segment, samples)
        harm_state, harms = harm.watch(
            before.harm, samples, Chemistry.UNKNOWN if pack is None else pack.chemistry, reference_ah
        )
        self.state = replace(self.state, segment=cut_state, harm=harm_state)
        done = 0
        for row, say in _in_order(cuts, harms, self._cut, self._harm):
            done = self._watch(samples, done, row)
            say()
        self._watch(samples, done, len(samples))
        since_s = [s for s in (cut_state.open_since_s, harm_state.open_since_s) if s is not None]
        if since_s:
            self.state = replace(self.state, line=timeline.forget(self._line, min(since_s) * NS_PER_S))

    def _watch(self, samples: Samples, low: int, high: int) -> int:
        """Count rows low to high into what lives longer than a session."""
        if high > low:
            rows, pack = samples.cut(low, high), self._pack
            self.state = replace(
                self.state,
                usage=usage.watch(self.state.usage, rows, None if pack is None else pack.reference_ah),
                soh=panel.watch(self.state.soh, rows, pack),
            )
        return max(low, high)

    def _notice_swap(self, at_s: int) -> None:
        """Another pack in the same car: say so, and count for the new one from nothing."""
        decode, pack = self.state.decode, self._pack
        before, pack_id = self.state.pack, None if pack is None else pack.id
        other = decode.swaps > self.state.swaps and None not in (before, pack_id) and before != pack_id
        if other or decode.serials > self.state.serials:
            if self.state.first_s is not None:
                self._say_usage(at_s)
            was = f"{before} → {pack_id}: " if other else ""
            stamp = self._line.stamp(at_s * NS_PER_S)
            self._event(EventSeen(stamp, EventName.BATTERY_CHANGED, text=f"{was}{decode.swap_text}"))
            self.state = replace(
                self.state,
                usage=usage.start(self.state.sample.total),
                soh=panel.start(),
                usage_said_s=None,
                soh_said_s=None,
                swaps=decode.swaps,
                serials=decode.serials,
                packs_before=self.state.packs_before + 1,
            )
            self._introduce(stamp)
        if pack_id is not None:
            self.state = replace(self.state, pack=pack_id)

    # -- what is said ------------------------------------------------------------------------------------------------

    @property
    def _pack(self) -> PackFacts | None:
        return self.plan.decoder.pack(self.state.decode)

    def _introduce(self, stamp: Stamp) -> None:
        plan, profile = self.plan, self.plan.decoder.profile
        gone = self.state.packs_before
        battery, source = plan.battery, plan.battery_source
        if gone:  # the name we were given belongs to a pack that is no longer here
            battery, source = BatteryId(f"prov-{plan.box}-{gone + 1}"), "provisional"
        identity = Identity(
            battery,
            source,
            plan.vehicle,
            plan.software,
            profile.id,
            profile.digest,
            plan.decoder.variant(self.state.decode),
            self._pack,
            gone,
        )
        if identity != self.state.introduced:
            self.state = replace(self.state, introduced=identity)
            self.outcomes.append(Introduced(stamp, identity))

    def _say(self, outcome: Outcome) -> None:
        """Nothing is said before it is said about whom."""
        if self.state.introduced is None:
            self._introduce(outcome.stamp)
        self.outcomes.append(outcome)

    def _closed(self, after: SegmentState, cuts: Sequence[Cut]) -> None:
        """Sessions that ended between samples."""
        self.state = replace(self.state, segment=after)
        for cut in cuts:
            self._cut(cut)

    def _cut(self, cut: Cut) -> None:
        stamp = self._line.stamp(cut.at_s * NS_PER_S)
        session = session_of(cut, self._line.stamp(cut.stretch.start_s * NS_PER_S))
        self._say(SessionClosed(stamp, session))
        used = self.state.usage
        if cut.phase is Phase.CHARGING:
            used = usage.add_charge(used, session.energy_in_wh, dc=session.charge_kind == "dc")
        elif cut.phase is Phase.DRIVING:
            used = usage.add_drive(used, session.distance_km)
        readings = self.state.soh.readings
        after, taken = panel.closed(self.state.soh, SessionEnd(cut.number, cut.at_s), self._pack)
        self.state = replace(self.state, usage=used, soh=after)
        if taken is not None:
            self._say(ReadingsTaken(stamp, taken))
        if _due(self.state.usage_said_s, cut.at_s, self.plan.cadence.usage_every_s):
            self._say_usage(cut.at_s)
        if after.readings != readings or _due(self.state.soh_said_s, cut.at_s, self.plan.cadence.soh_every_s):
            self._say_soh(cut.at_s)

    def _say_usage(self, at_s: int) -> None:
        self._date_first()
        pack = self._pack
        used = usage.usage_of(self.state.usage, self.state.first_wall_ms)
        self._say(UsageDue(self._line.stamp(at_s * NS_PER_S), used, None if pack is None else pack.reference_ah))
        self.state = replace(self.state, usage_said_s=float(at_s))

    def _say_soh(self, at_s: int) -> None:
        used = usage.usage_of(self.state.usage, None)
        newest = self.state.usage.newest
        told_pct = sampling.known(newest[Col.SOH_REPORTED_PCT])
        reported_pct = None if told_pct is None else in_steps("soh_reported_pct", told_pct)
        said = panel.verdict(self.state.soh, float(at_s), self._pack, reported_pct)
        self._say(
            SohComputed(
                self._line.stamp(at_s * NS_PER_S),
                said.soh,
                said.estimates,
                reported_pct,
                sampling.known(newest[Col.CAPACITY_REPORTED_AH]),
                used.observed_s,
                used.inferred_s,
                used.unobserved_s,
                used.charge_in_ah + used.charge_out_ah,
                float(self.state.usage.total[Sum.DISTANCE_KM]),
                used.odometer_km,
                said.soce_pct,
                said.r25_ohm,
                at_s,
            )
        )
        self.state = replace(self.state, soh_said_s=float(at_s))

    def _date_first(self) -> None:
        """The first frame's wall time, as soon as its boot's clock was set; a later boot cannot tell it."""
        first_s = self.state.first_s
        if self.state.first_wall_ms is None and first_s is not None:
            wall_ms = self._line.stamp(first_s * NS_PER_S).wall_ms if self._line.covers(first_s * NS_PER_S) else None
            self.state = replace(self.state, first_wall_ms=wall_ms)

    def _harm(self, one: Harm) -> None:
        stamp, began = self._line.stamp(one.at_s * NS_PER_S), self._line.stamp(one.start_s * NS_PER_S)
        self._event(EventSeen(stamp, EventName(one.name), began, one.duration_s, one.extreme, one.text))

    def _event(self, event: EventSeen) -> None:
        self._say(event)
        self.state = replace(self.state, usage=usage.add_event(self.state.usage, event.event.value))

    def _judge(self, *, last: bool = False) -> None:
        """Once, when there are frames enough: does this profile fit what is on the bus?"""
        if self.state.judged or (self.state.frames < TRIAL_FRAMES and not last):
            return
        self.state = replace(self.state, judged=True)
        text = misfit(self.state.frames, self.state.refused, self.state.seen)
        if text is not None:
            at_s = self.state.segment.end_s
            assert at_s is not None  # there were frames, so there were samples
            self._event(EventSeen(self._line.stamp(at_s * NS_PER_S), EventName.WRONG_PROFILE, text=text))


def misfit(frames: int, refused: Refused, seen: SeenState) -> str | None:
    """Why this looks like the log of another car, or None."""
    decodable = frames - refused.error_frames
    if decodable < TRIAL_FRAMES:
        return None
    known = decodable - refused.unknown_frames
    bad = refused.bad_checksum + refused.wrong_length
    unknown_share = refused.unknown_frames / decodable
    text = f"{100 * unknown_share:.0f} % of frames unknown, {bad} bad: is this the right profile?"
    mute = not (seen.has("pack_current_a") or seen.has("pack_voltage_v"))
    alien = mute and unknown_share > TRIAL_UNKNOWN_SHARE
    return text if alien or bad > TRIAL_BAD_SHARE * max(known, 1) else None


def _due(said_s: float | None, at_s: float, every_s: float) -> bool:
    return said_s is None or at_s - said_s >= every_s


def _in_order(
    cuts: Sequence[Cut], harms: Sequence[Harm], on_cut: Callable[[Cut], None], on_harm: Callable[[Harm], None]
) -> list[tuple[int, Callable[[], None]]]:
    """Sessions and events by the instant they became known, each with the rows that belong before it."""
    said: list[tuple[int, int, int, Callable[[], None]]] = []
    said += [(h.row, h.at_s, 0, partial(on_harm, h)) for h in harms]
    said += [(c.row, c.at_s, 1, partial(on_cut, c)) for c in cuts]
    return [(row, say) for row, _, _, say in sorted(said, key=lambda one: one[:3])]


def _decoded(
    decoder: Decoder, state: DecodeState, frames: FrameBatch
) -> Iterator[tuple[FrameBatch, DecodeState, Decoded]]:
    """Decode whole seconds; where the car's variant becomes known, cut so that each part knows one thing only."""
    after, decoded = decoder.decode(state, frames)
    second = frames.mono_ns // NS_PER_S
    if decoder.variant(after) == decoder.variant(state) or second[0] == second[-1]:
        yield frames, after, decoded
        return
    middle = int(np.searchsorted(second, (second[0] + second[-1]) // 2, side="right"))
    for half in (slice(0, middle), slice(middle, None)):
        for part in _decoded(decoder, state, frames.pick(half)):
            state = part[1]
            yield part


def _narrow(frames: FrameBatch) -> FrameBatch:
    """Classic frames in eight columns, however wide the batch was that brought them."""
    if frames.data.shape[1] == 8 or int(frames.length.max(initial=0)) > 8:
        return frames
    return replace(frames, data=frames.data[:, :8])
