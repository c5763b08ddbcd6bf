"""Sift out frames that may not be believed: wrong length, bad checksum, a counter that stands still.

In:  `Sorted` frames, what their ids should look like, the counters of the frames before these.
Out: the frames that may be read; the counters brought forward; the others counted by reason.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from packbox.core.decoding.plans import MessagePlan
from packbox.core.decoding.sorting import Group, Sorted
from packbox.core.decoding.tally import Tally
from packbox.core.decoding.view import LENGTHS, View
from packbox.core.frames import BoolArray
from packbox.core.integrity import CHECKS, moving
from packbox.core.layout import among, count, every, from_intel

BUS_SHIFT: Final = 32

Counters = dict[int, tuple[int, int]]  # bus, key -> (counter, mono_ns)


def sift(frames: Sorted, view: View, counters: Counters, tally: Tally) -> Sorted:
    """What may be read. Later tests see only what passed those before, so each frame is counted once."""
    frames = _kept(frames, _right_length(frames, view), "wrong_length", tally)
    frames = _kept(frames, _good_checksum(frames, view), "bad_checksum", tally)
    return _kept(frames, _alive(frames, view, counters), "stuck_counter", tally)


def intact(frames: Sorted, group: Group, ready: MessagePlan) -> Sorted:
    """A group's frames of the right length with a good checksum that say something; others are counted elsewhere."""
    alone = frames.only(group)
    message = ready.message
    good = among(alone.length, message.lengths)
    if message.checksum is not None:
        good &= CHECKS[message.checksum](alone.frames, message.can_id)
    silent = ready.silent(alone.frames)
    if silent is not None:
        good &= ~silent
    return alone if every(good) else alone.keep(good)


def _kept(frames: Sorted, good: BoolArray | None, reason: str, tally: Tally) -> Sorted:
    """`good`: None = all."""
    if good is None:
        return frames
    tally.add(reason, len(good) - count(good))
    return frames.keep(good)


def _right_length(frames: Sorted, view: View) -> BoolArray | None:
    starts = np.array([g.slot * LENGTHS for g in frames.groups], np.int64)
    rows = np.repeat(starts, [g.end - g.begin for g in frames.groups])
    fits = view.lengths[rows + frames.length]
    return None if every(fits) else fits


def _good_checksum(frames: Sorted, view: View) -> BoolArray | None:
    """One look at all frames that carry the same kind of checksum, whatever their ids."""
    good: BoolArray | None = None
    for kind, ids in view.checked.items():
        carrying = [g for g in frames.groups if g.slot in ids]
        if not carrying:
            continue
        lengths = [g.end - g.begin for g in carrying]
        together = from_intel(np.concatenate([frames.frames.intel[g.begin : g.end] for g in carrying]))
        can_id = np.repeat(np.array([ids[g.slot] for g in carrying], np.uint64), lengths)
        passed = CHECKS[kind](together, can_id)
        if not every(passed):
            good = np.ones(len(frames.index), np.bool_) if good is None else good
            for group, of_group in zip(carrying, np.split(passed, np.cumsum(lengths)[:-1]), strict=True):
                good[group.span] = of_group
    return good


def _alive(frames: Sorted, view: View, counters: Counters) -> BoolArray | None:
    alive: BoolArray | None = None
    for group in frames.groups:
        if group.slot not in view.counting:
            continue
        message, column = view.counting[group.slot]
        place = group.bus << BUS_SHIFT | message.key
        counter = column.cut(column.word(frames.frames)[group.span])
        times = frames.mono_ns[group.span]
        moves = moving(counter, times, counters.get(place), message)
        counters[place] = (int(counter[-1]), int(times[-1]))
        if not every(moves):
            alive = np.ones(len(frames.index), np.bool_) if alive is None else alive
            alive[group.span] = moves
    return alive
