"""Frames in columns to quantities in columns: the hot part of the box.

In:  `DecodeState` and a `FrameBatch` of one boot.
Out: the next state and `Decoded`: valid values only, in the order of the frames, and counts of everything refused.
Refuses: frames of wrong length, with a bad checksum or a counter that stands still; values that the car calls void, or
that lie outside the quantity's range or are impossible for the pack.

Nothing is added up over frames, so the result is the same however frames are cut into batches.

Several sources of one quantity stand in an order: `prefer`, then name, then bus number. A source speaks only while no
better one has spoken within that one's `hold_ms`. So a poll never disturbs a broadcast, and takes over when it is gone.

Evidence of the variant is counted until it suffices; from the frame that completes it on, the variant holds. Before
that only what all variants agree on is decoded. Evidence that excludes what was seen before means another pack
(`core.swap`): then it is counted in `swaps`, and what the old pack showed is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from packbox.core.decoding.columns import series_of
from packbox.core.decoding.evidence import Judge
from packbox.core.decoding.heard import Answered, Listener, cells_of, series_of_answers, uses_of
from packbox.core.decoding.plans import Plans, plan
from packbox.core.decoding.sifting import sift
from packbox.core.decoding.sorting import Slots, Sorter
from packbox.core.decoding.sources import Series, Voice, speak
from packbox.core.decoding.tally import Tally
from packbox.core.decoding.view import View
from packbox.core.frames import FrameBatch
from packbox.core.isotp import Line
from packbox.core.packs import PackFacts
from packbox.core.profile import Profile, agreed_messages, sent_by_all
from packbox.core.signals import Decoded
from packbox.core.swap import SERIAL
from packbox.core.wiring import Wiring


@dataclass(frozen=True, slots=True)
class DecodeState:
    """All that the decoder remembers. Plain values: it is saved with the sessions and survives a restart."""

    profile_digest: str
    boot: str = ""
    evidence: tuple[int, ...] = ()  # how often each piece was seen, not counted past what it needs
    counters: dict[int, tuple[int, int]] = field(default_factory=dict)  # bus, key -> (counter, mono_ns)
    lines: dict[int, Line] = field(default_factory=dict)  # bus, answer key -> reassembly
    heard: dict[str, tuple[Voice, ...]] = field(default_factory=dict)  # quantity -> its sources so far
    against: tuple[int, ...] = ()  # evidence that contradicts what holds, seen so often in a row
    serial: str | None = None  # of the pack, as it told last
    serials: int = 0  # how often it told another one
    swaps: int = 0  # how often evidence excluded what held before
    swap_text: str | None = None  # why, the last time


class Decoder:
    """Reads one family of cars. What it learns is in the state that it returns."""

    def __init__(self, profile: Profile, variant: str | None = None, wiring: Wiring | None = None) -> None:
        """`wiring`: which bus is which; without it every bus may be any."""
        self.profile: Final = profile
        only = profile.variants[0] if len(profile.variants) == 1 else None  # nothing to choose
        fixed = only if variant is None else profile.variant(variant)
        agreed = agreed_messages(profile.variants)
        as_agreed: Plans = {m.key: plan(m) for m in agreed}
        by_variant: dict[str | None, Plans] = {v.id: {m.key: plan(m) for m in v.messages} for v in profile.variants}
        # An id that only some variants send may mean something else in the others: it waits for the variant.
        everywhere = sent_by_all(profile.variants)
        common: Plans = {key: p for key, p in as_agreed.items() if key in everywhere}
        self._plans: Final[dict[str | None, Plans]] = by_variant | {None: common}
        self._listener: Final = Listener(profile.polls)
        self._slots: Final = Slots({m.key for m in agreed} | self._listener.keys)
        self._sorter: Final = Sorter(self._slots, {m.key: m.bus for m in agreed}, wiring or Wiring())
        needed = _needed(profile)
        self._judge: Final = Judge(profile, fixed, needed, by_variant | {None: as_agreed}, self._slots)
        self._views: Final[dict[tuple[str | None, frozenset[str]], View]] = {}

    # -- what others ask ---------------------------------------------------------------------------------------------

    def start(self) -> DecodeState:
        return DecodeState(self.profile.digest, evidence=(0,) * len(self.profile.evidence))

    def knows(self, key: int) -> bool:
        """Whether frames with this key (id, and whether it is a 29-bit one) mean anything here."""
        return self._slots.knows(key)

    def variant(self, state: DecodeState) -> str | None:
        chosen = self._judge.chosen(self._current(state, state.boot).evidence)
        return None if chosen is None else chosen.id

    def pack(self, state: DecodeState) -> PackFacts | None:
        chosen = self._judge.chosen(self._current(state, state.boot).evidence)
        return None if chosen is None else self.profile.pack(chosen.pack)

    def decode(self, state: DecodeState, batch: FrameBatch) -> tuple[DecodeState, Decoded]:
        """Decode the next frames. A state of another profile version or boot is brought up to date first."""
        state = self._current(state, batch.boot)
        tally = Tally()
        frames = self._sorter.sort(batch, tally)
        lines, answered = self._listener.listen(state.lines, batch, frames, self._slots, tally)
        weighed = self._judge.weigh(state.evidence, state.against, frames, answered)
        cuts = self._judge.telling(state.evidence, weighed.holds)
        series: list[Series] = []
        counters = dict(state.counters)
        seen = state.evidence
        for begin, end in pairwise([0, *sorted(cuts), len(batch)]):
            seen = cuts.get(begin, seen)
            if begin == end:
                continue
            view = self._view(*self._judge.outlook(seen))
            part = frames.between(begin, end) if cuts else frames
            series += series_of(sift(part, view, counters, tally), view, tally)
            series += series_of_answers([a for a in answered if begin <= a.index < end], view, tally)
        signals, heard = speak(series, state.heard)
        done = replace(
            state,
            evidence=weighed.counts,
            counters=counters,
            lines=lines,
            heard=heard,
            against=weighed.against,
            swaps=state.swaps + len(weighed.swapped),
            swap_text=weighed.swapped[-1] if weighed.swapped else state.swap_text,
        )
        return _named_pack(done, answered), Decoded(signals, tally.refused(), cells_of(answered))

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _current(self, state: DecodeState, boot: str) -> DecodeState:
        """The state as this profile and this boot can use it."""
        if state.profile_digest != self.profile.digest:
            return replace(self.start(), boot=boot)
        if state.boot != boot:  # monotonic times of two boots are never compared
            return replace(state, boot=boot, counters={}, lines={}, heard={})
        return state

    def _view(self, variant: str | None, shown: frozenset[str]) -> View:
        view = self._views.get((variant, shown))
        if view is None:
            pack = None if variant is None else self.profile.pack(self.profile.variant(variant).pack)
            view = self._views[variant, shown] = View(self._plans[variant], pack, shown, self._slots)
        return view


def _needed(profile: Profile) -> frozenset[str]:
    """Evidence that some use needs."""
    signals = (s for v in profile.variants for m in v.messages for s in m.signals)
    uses = [use for signal in signals for use in signal.uses]
    uses += [use for poll in profile.polls for layout in poll.layouts for use in uses_of(layout)]
    return frozenset(use.needs for use in uses if use.needs is not None)


def _named_pack(state: DecodeState, answered: Sequence[Answered]) -> DecodeState:
    """A pack that tells another serial number than before is another pack."""
    for serial in (r.value for a in answered for r in a.readings if r.name == SERIAL and isinstance(r.value, str)):
        if state.serial is not None and serial != state.serial:
            text = f"serial number was {state.serial}, now {serial}"
            state = replace(state, serials=state.serials + 1, swap_text=text)
        if serial != state.serial:
            state = replace(state, serial=serial)
    return state
