"""The one fold: frames and ticks in, outcomes out. `run`, `replay`, the demo and every test call this and nothing else.

In:  `BoxPlan` (what does not change while the box runs), `BoxState` (frozen, small, saved with the records it led
     to), and one `FrameBatch` or `Tick` after the other.
Out: the next state and what became true, in order.
The same input, however batched, gives the same outcomes and the same state: frames of the unfinished second wait
in the state, only whole seconds are worked on, and every sum that outlives a second runs strictly in order.
Ticks only let time pass on a silent bus. A clock that runs back or a new boot is a hole, never made-up time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from packbox.core import cells, harm, segment, timeline, usage
from packbox.core import sample as sampling
from packbox.core.box_state import STATE_VERSION, BoxPlan, BoxState, Cadence, start
from packbox.core.cells import CellsState
from packbox.core.decode import Decoder, DecodeState
from packbox.core.fit import TRIAL_S
from packbox.core.frames import FrameBatch, IntArray, join
from packbox.core.outcome import EventName, EventSeen, Outcome
from packbox.core.packs import Chemistry
from packbox.core.sample import GAP_S, Samples
from packbox.core.seen import note as note_seen
from packbox.core.segment import Cut, SegmentState
from packbox.core.signals import Decoded
from packbox.core.soh import panel
from packbox.core.stamp import NS_PER_MS, NS_PER_S, Stamp, Tick
from packbox.core.telling import Telling

__all__ = ["STATE_VERSION", "BoxPlan", "BoxState", "Cadence", "Item", "advance", "finish", "start"]

BLOCK_SECONDS: Final = 16_384  # worked on at once: bounds memory, changes nothing else
TIME_BACK_EVERY_S: Final = 3600  # a source that runs back all the time is said once an hour

Item: TypeAlias = FrameBatch | Tick


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


class _Work(Telling):
    """The one place where the rooms' parts are put together."""

    # -- time --------------------------------------------------------------------------------------------------------

    def frames(self, batch: FrameBatch) -> None:
        self._enter(Stamp(batch.boot, int(batch.mono_ns[0]), None), batch.wall_offset_ms)
        rest: FrameBatch | None = batch
        while rest is not None:
            line, straight, rest = timeline.take(self.line, rest)
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
        now_s = (stamp.mono_ns + self.line.now.shift_ns - timeline.JITTER_NS) // NS_PER_S
        if now_s * NS_PER_S <= self.line.high_ns:
            return
        self._flush()
        self.state = replace(self.state, line=replace(self.line, high_ns=now_s * NS_PER_S))
        self._silence(now_s)

    def finish(self) -> None:
        if self.state.line is None:
            return
        self._flush()
        self.judge(last=True)
        after, found = harm.finish(self.state.harm)
        self.state = replace(self.state, harm=after)
        for one in found:
            self.say_harm(one)
        self._closed(*segment.finish(self.state.segment))
        at_s = self.state.segment.end_s
        if at_s is not None and self.state.usage_said_s != at_s:
            self.say_usage(at_s)
        if at_s is not None and self.state.soh_said_s != at_s:
            self.say_soh(at_s)

    def _enter(self, first: Stamp, wall_offset_ms: int | None) -> None:
        """Bring the line to the boot of what comes next, and take over its wall clock."""
        if self.state.line is None:
            self.state = replace(self.state, line=timeline.begin(first.boot, first.mono_ns, wall_offset_ms))
        elif first.boot != self.line.now.boot:
            self._reboot(first, wall_offset_ms)
        line, moved_ms = timeline.set_wall(self.line, wall_offset_ms)
        self.state = replace(self.state, line=line)
        if moved_ms is not None:  # smaller moves are followed without a word
            error_ms = float(max(timeline.CLOCK_STEP_MS, abs(moved_ms)))
            text = f"wall clock moved by {moved_ms / 1000:+.1f} s" if moved_ms else "wall clock set"
            self.say(EventSeen(line.stamp(line.high_ns), EventName.CLOCK_SET, extreme=error_ms, text=text))

    def _reboot(self, first: Stamp, wall_offset_ms: int | None) -> None:
        self._flush()
        self.date_first()
        line, gap_known = timeline.reboot(self.line, first.boot, first.mono_ns, wall_offset_ms)
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
        before = self.line
        line = timeline.step(before, mono_ns)
        self.state = replace(self.state, line=line, sample=sampling.after_break(self.state.sample, forget=True))
        at_s = line.high_ns / NS_PER_S
        if self.state.time_back_said_s is None or at_s - self.state.time_back_said_s >= TIME_BACK_EVERY_S:
            back_ms = (before.high_ns - before.now.shift_ns - mono_ns) / NS_PER_MS
            self.say_event(EventSeen(line.stamp(line.high_ns), EventName.TIME_BACK, extreme=back_ms))
            self.state = replace(self.state, time_back_said_s=at_s)

    def _silence(self, until_s: int) -> None:
        """Nothing came up to then. Less than `GAP_S` is no silence: the next sample stands for it."""
        end_s = self.state.segment.end_s
        if end_s is None or until_s - end_s < GAP_S:
            return
        after, found = harm.silence(self.state.harm, until_s)
        self.state = replace(self.state, harm=after)
        for one in found:
            self.say_harm(one)
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
                    self.judge()
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
        if self.state.introduced is not None or self.state.trial_s >= TRIAL_S or self.pack is not None:
            self.introduce(self.line.stamp(int(second[0]) * NS_PER_S))
        pack = self.pack
        reference_ah = None if pack is None else pack.reference_ah
        cut_state, cuts = segment.segment(before.segment, samples)
        harm_state, harms = harm.watch(
            before.harm, samples, Chemistry.UNKNOWN if pack is None else pack.chemistry, reference_ah
        )
        cells_state, quiet = cells.watch(before.cells, samples, decoded.cells)
        self.state = replace(self.state, segment=cut_state, harm=harm_state, cells=cells_state)
        said = [
            *((h.row, h.at_s, 0, partial(self.say_harm, h)) for h in harms),
            *((c.row, c.at_s, 1, partial(self.close_session, c)) for c in cuts),
            *((q.row, q.at_s, 2, partial(self.say_cells, q)) for q in quiet),
        ]
        done = 0
        for row, _, _, say in sorted(said, key=lambda one: one[:3]):
            done = self._watch(samples, done, row)
            say()
        self._watch(samples, done, len(samples))
        since_s = [s for s in (cut_state.open_since_s, harm_state.open_since_s) if s is not None]
        if since_s:
            self.state = replace(self.state, line=timeline.forget(self.line, min(since_s) * NS_PER_S))

    def _watch(self, samples: Samples, low: int, high: int) -> int:
        """Count rows low to high into what lives longer than a session."""
        if high > low:
            rows, pack = samples.cut(low, high), self.pack
            self.state = replace(
                self.state,
                usage=usage.watch(self.state.usage, rows, None if pack is None else pack.reference_ah),
                soh=panel.watch(self.state.soh, rows, pack),
            )
        return max(low, high)

    def _notice_swap(self, at_s: int) -> None:
        """Another pack in the same car: say so, and count for the new one from nothing."""
        decode, pack = self.state.decode, self.pack
        before, pack_id = self.state.pack, None if pack is None else pack.id
        other = decode.swaps > self.state.swaps and None not in (before, pack_id) and before != pack_id
        if other or decode.serials > self.state.serials:
            if self.state.first_s is not None:
                self.say_usage(at_s)
            was = f"{before} → {pack_id}: " if other else ""
            stamp = self.line.stamp(at_s * NS_PER_S)
            self.say_event(EventSeen(stamp, EventName.BATTERY_CHANGED, text=f"{was}{decode.swap_text}"))
            self.state = replace(
                self.state,
                usage=usage.start(self.state.sample.total),
                soh=panel.start(),
                cells=CellsState(),
                usage_said_s=None,
                soh_said_s=None,
                swaps=decode.swaps,
                serials=decode.serials,
                packs_before=self.state.packs_before + 1,
            )
            self.introduce(stamp)
        if pack_id is not None:
            self.state = replace(self.state, pack=pack_id)

    def _closed(self, after: SegmentState, cuts: Sequence[Cut]) -> None:
        """Sessions that ended between samples."""
        self.state = replace(self.state, segment=after)
        for cut in cuts:
            self.close_session(cut)


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
