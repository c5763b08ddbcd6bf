"""Cut the samples into sessions: drives, charges and rests.

In:  `Samples` in time order, and silences (time that passed without a frame).
Out: `Cut`, one per session that ended; sessions tile the line, but for blips too short to be one.
Unseen time is never invented: a silence longer than a session may bridge ends the session at its last frame.

`NEXT` and `PAUSE_S` are the rules; a session ends where its last own second was, also when that is known only later.
Every decision falls at an instant that follows from the samples alone, so batching and ticks change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from packbox.core.charging import charged
from packbox.core.sample import Col, Samples
from packbox.core.sight import Sight, sights
from packbox.core.stretch import Hole, Stretch, join


class Phase(StrEnum):
    RESTING = "rest"
    CHARGING = "charge"
    DRIVING = "drive"


# Where a sight leads once it has lasted `CONFIRM_S`; sights not named leave a session open for `PAUSE_S`.
NEXT: Final[Mapping[Sight, Phase]] = {
    Sight.CHARGE: Phase.CHARGING,
    Sight.FILL: Phase.CHARGING,
    Sight.MOVE: Phase.DRIVING,
}
CONFIRM_S: Final[Mapping[Sight, int]] = {
    Sight.CHARGE: 10,
    Sight.FILL: 30,  # facts/vehicles.md §2: regeneration is never this long at standstill
    Sight.MOVE: 10,  # shunting in the yard is no drive
}
# How long after its last own second a session outlives a sight; then it has ended at that second.
PAUSE_S: Final[Mapping[Phase, Mapping[Sight, int]]] = {
    Phase.DRIVING: {
        Sight.STILL: 300,  # red lights and level crossings
        Sight.PLUGGED: 60,
        Sight.OUT: 300,
        Sight.OFF: 60,  # a stalled restart, not an errand
        Sight.OFF_OUT: 60,
        Sight.UNSEEN: 300,
    },
    Phase.CHARGING: {
        Sight.STILL: 1800,  # plug unknown: a charger's own breaks and a cloud over the roof
        Sight.PLUGGED: 7200,  # solar surplus and night tariffs stop and go within one plug-in
        Sight.OUT: 10,
        Sight.OFF: 1800,
        Sight.OFF_OUT: 10,
        Sight.UNSEEN: 7200,  # power cut of the box, or everything asleep between two solar hours
    },
}
_CHARGES: Final = frozenset(sight for sight, phase in NEXT.items() if phase is Phase.CHARGING)
REST_MIN_S: Final = 60  # less between two sessions is only the way from the plug to the road
SEGMENT_PAUSE_S: Final = 60  # a longer break makes a new segment of the charge


@dataclass(frozen=True, slots=True, eq=False)
class SegmentState:
    phase: Phase = Phase.RESTING
    body: Stretch | None = None  # the session up to its last own second
    pause: Stretch | None = None  # after it, while it may still go on
    rival: Stretch | None = None  # after that: looks like another phase, not yet long enough
    rival_sight: Sight = Sight.STILL  # the sight the rival began with
    segments: int = 1
    end_s: int | None = None  # the line up to which all this is known
    sessions: int = 0  # numbers given so far

    @property
    def open_since_s(self) -> int | None:
        """Start of the oldest thing still open."""
        first = self.body or self.pause or self.rival
        return None if first is None else first.start_s


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A session ended. Known at `at_s`; rows before `row` of the samples given belong to the time before that."""

    number: int
    phase: Phase
    stretch: Stretch
    segments: int
    at_s: int
    row: int

    @property
    def interrupted(self) -> bool:
        """A sleeping car is no interruption of its rest."""
        return self.stretch.hole >= (Hole.BROKEN if self.phase is Phase.RESTING else Hole.SILENT)


@dataclass(slots=True)
class _Work:
    """The state on its way through one call."""

    state: SegmentState
    cuts: list[Cut]


def segment(state: SegmentState, samples: Samples) -> tuple[SegmentState, tuple[Cut, ...]]:
    """Take in samples; the sessions that ended, in order."""
    work = _Work(state, [])
    for run in _runs(samples):
        if work.state.end_s is not None and run.stretch.start_s > work.state.end_s:
            _silence(work, run.stretch.start_s, run.row)
        _add(work, run.sight, run.stretch)
        _decide(work, run, samples)
    return work.state, tuple(work.cuts)


def silence(state: SegmentState, until_s: int) -> tuple[SegmentState, tuple[Cut, ...]]:
    """No frames came up to `until_s`, for longer than any frame could be late."""
    work = _Work(state, [])
    if state.end_s is not None and until_s > state.end_s:
        _silence(work, until_s, 0)
    return work.state, tuple(work.cuts)


def lost(state: SegmentState) -> tuple[SegmentState, tuple[Cut, ...]]:
    """The box restarted and nobody knows after how long. A charge goes on if it goes on; a drive is over."""
    work = _Work(state, [])
    if state.phase is Phase.DRIVING and state.end_s is not None:
        _end_session(work, state.end_s, 0)
    return work.state, tuple(work.cuts)


def finish(state: SegmentState) -> tuple[SegmentState, tuple[Cut, ...]]:
    """The source ended: close what is open where it was last seen."""
    work = _Work(state, [])
    if state.end_s is not None:
        tail = join(state.pause, state.rival)
        if state.phase is Phase.RESTING:
            _cut(work, Phase.RESTING, join(state.body, tail), 1, state.end_s, 0)
        else:
            _cut(work, state.phase, state.body, state.segments, state.end_s, 0)
            _cut(work, Phase.RESTING, tail, 1, state.end_s, 0)
    return SegmentState(end_s=state.end_s, sessions=work.state.sessions), tuple(work.cuts)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Consecutive rows of one sight without a hole between them."""

    sight: Sight
    row: int
    end_row: int
    stretch: Stretch


def _runs(samples: Samples) -> Iterator[_Run]:
    sight = sights(samples)
    n = len(samples)
    change = (sight[1:] != sight[:-1]) | (samples.gap_s[1:] > 0) | samples.broken[1:]
    starts = np.concatenate(([0], np.flatnonzero(change) + 1))
    ends = np.concatenate((starts[1:], [n]))
    value = samples.value
    low, high = np.fmin.reduceat(value, starts, axis=0), np.fmax.reduceat(value, starts, axis=0)
    unknown = np.isnan(value)
    row = np.arange(n)[:, np.newaxis]
    first_row = np.minimum.reduceat(np.where(unknown, n, row), starts, axis=0)
    last_row = np.maximum.reduceat(np.where(unknown, -1, row), starts, axis=0)
    cols = np.arange(len(Col))
    # Where nothing is known in a run, any row of it says NaN.
    first = value[np.where(first_row == n, starts[:, np.newaxis], first_row), cols]
    last = value[np.where(last_row < 0, starts[:, np.newaxis], last_row), cols]
    for k, (begin, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        lead = Hole.BROKEN if samples.broken[begin] else Hole.SILENT if samples.gap_s[begin] else Hole.NONE
        yield _Run(
            Sight(int(sight[begin])),
            begin,
            end,
            Stretch(
                int(samples.second[begin] + 1 - samples.span_s[begin]),
                int(samples.second[end - 1] + 1),
                samples.total[begin].copy(),  # the state must not hold on to a whole block
                samples.total[end].copy(),
                low[k],
                high[k],
                first[k],
                last[k],
                lead,
                charged=charged(samples, begin, end) if int(sight[begin]) in _CHARGES else None,
            ),
        )


def _add(work: _Work, sight: Sight, run: Stretch) -> None:
    """Put a run where it belongs: to the session, to its pause, or to what may replace it."""
    state = work.state
    wants = NEXT.get(sight, Phase.RESTING)
    if wants is state.phase:
        quiet_s = run.start_s - state.body.end_s if state.body is not None else 0
        again = state.phase is Phase.CHARGING and quiet_s >= SEGMENT_PAUSE_S
        state = replace(
            state,
            body=join(state.body, state.pause, state.rival, run),
            pause=None,
            rival=None,
            segments=state.segments + int(again),
        )
    elif wants is Phase.RESTING:
        state = replace(state, pause=join(state.pause, state.rival, run), rival=None)
    elif state.rival is not None and NEXT[state.rival_sight] is wants:
        state = replace(state, rival=join(state.rival, run))
    elif state.phase is Phase.RESTING:
        state = replace(state, body=join(state.body, state.rival), rival=run, rival_sight=sight)
    else:
        state = replace(state, pause=join(state.pause, state.rival), rival=run, rival_sight=sight)
    work.state = replace(state, end_s=run.end_s)


def _decide(work: _Work, run: _Run, samples: Samples) -> None:
    """Take the decisions that fall within a run, in the order of their instants."""
    quiet = run.sight if run.sight not in NEXT else Sight.STILL
    while True:
        confirm_s = _confirm_s(work.state)
        over_s = _over_s(work.state, quiet, run.stretch.start_s)
        instants = [at_s for at_s in (confirm_s, over_s) if at_s is not None and at_s <= run.stretch.end_s]
        if not instants:
            return
        at_s = min(instants)
        ends = samples.second[run.row : run.end_row] + 1
        row = run.row + int(np.searchsorted(ends, at_s)) + 1
        if at_s == confirm_s:
            _switch(work, at_s, row)
        else:
            _end_session(work, at_s, row)


def _confirm_s(state: SegmentState) -> int | None:
    return None if state.rival is None else state.rival.start_s + CONFIRM_S[state.rival_sight]


def _over_s(state: SegmentState, sight: Sight, from_s: int) -> int | None:
    """When the open session has paused for too long, seen from `from_s` on."""
    if state.body is None or state.phase is Phase.RESTING or state.end_s == state.body.end_s:
        return None
    return max(from_s, state.body.end_s + PAUSE_S[state.phase][sight])


def _silence(work: _Work, until_s: int, row: int) -> None:
    assert work.state.end_s is not None
    over_s = _over_s(replace(work.state, end_s=until_s), Sight.UNSEEN, work.state.end_s)
    if over_s is not None and over_s <= until_s:
        _end_session(work, over_s, row)
    state = work.state
    if state.phase is Phase.RESTING:
        body = join(state.body, state.rival)
        if body is not None:
            body = replace(body, end_s=until_s, hole=max(body.hole, Hole.SILENT))
        state = replace(state, body=body, rival=None)
    elif state.rival is not None:
        state = replace(state, pause=join(state.pause, state.rival), rival=None)
    work.state = replace(state, end_s=until_s)


def _switch(work: _Work, at_s: int, row: int) -> None:
    """What looked like another phase is one: the open session ended before it began."""
    state = work.state
    assert state.rival is not None
    if state.phase is Phase.RESTING:
        _cut(work, Phase.RESTING, state.body, 1, at_s, row)
    else:
        _cut(work, state.phase, state.body, state.segments, at_s, row)
        _cut(work, Phase.RESTING, state.pause, 1, at_s, row)
    work.state = replace(
        work.state, phase=NEXT[state.rival_sight], body=state.rival, pause=None, rival=None, segments=1
    )


def _end_session(work: _Work, at_s: int, row: int) -> None:
    """The open session is over; the car has rested since."""
    state = work.state
    assert state.body is not None
    _cut(work, state.phase, state.body, state.segments, at_s, row)
    rest = state.pause
    if rest is None and state.rival is None:
        last = state.body.last
        unknown = np.full_like(last, np.nan)
        rest = Stretch(
            state.body.end_s, state.body.end_s, state.body.after, state.body.after, unknown, unknown, last, last
        )
    work.state = replace(work.state, phase=Phase.RESTING, body=rest, pause=None, segments=1)


def _cut(work: _Work, phase: Phase, stretch: Stretch | None, segments: int, at_s: int, row: int) -> None:
    if stretch is None or (phase is Phase.RESTING and stretch.duration_s < REST_MIN_S):
        return
    number = work.state.sessions + 1
    work.cuts.append(Cut(number, phase, stretch, segments, at_s, row))
    work.state = replace(work.state, sessions=number)
