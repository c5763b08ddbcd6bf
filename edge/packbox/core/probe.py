"""Which questions tell families of cars apart, for a car on whose plug nothing is broadcast.

In:  profiles. Out: a few questions of each, those that say most first.
Only what the profiles hold is asked, and only by a person at the car who agreed (`core.courtesy` decides, as always).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from packbox.core.detect import is_generic
from packbox.core.profile import Care, Poll, Profile

EACH: Final = 3  # of a family: two answers of a known length are certainty enough, and one may be refused


def probe_profile(profiles: Sequence[Profile]) -> Profile:
    """As if all families were one: their most telling questions, under the strictest care of any."""
    polls: dict[tuple[int, int, bytes], Poll] = {}
    for profile in sorted(profiles, key=lambda p: p.experimental):  # proven families first
        for poll in _telling(profile):
            polls.setdefault((poll.tx_key, poll.rx_key, poll.request), poll)
    return replace(profiles[0], polls=tuple(polls.values()), care=_strictest([p.care for p in profiles]))


def _telling(profile: Profile) -> Iterator[Poll]:
    ranked = sorted(profile.questions, key=lambda p: (is_generic(p), not all(a.lengths for a in p.layouts)))
    for poll in ranked[:EACH]:
        yield replace(poll, id=f"{profile.id}/{poll.id}", once=True, every_s={})


def _strictest(cares: Sequence[Care]) -> Care:
    return Care(
        bus_alive_s=min(c.bus_alive_s for c in cares),
        stop_after_silence_s=min(c.stop_after_silence_s for c in cares),
        aux_voltage_min_v=max(c.aux_voltage_min_v for c in cares),
        other_tester_pause_s=max(c.other_tester_pause_s for c in cares),
    )
