"""Which family of cars is this? Every profile is held against the same frames, and the evidence is named.

In:  profiles, and the frames of some seconds of a bus or of the beginning of a log.
Out: `Detection`: the families ranked, each with what speaks for it and what it lacks; at most one is the answer.
Refuses to guess: a few ids that happen to be the same are what any two cars have in common. Evidence is counted in
bits: how unlikely it is that a car which has nothing to do with the family shows it. A family with less than
NEEDED_BITS, whose typical ids are missing, or whose values make no sense, is not the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from packbox.core.answers import Window, layout_for, matching, read
from packbox.core.decode import Decoder
from packbox.core.frames import ERROR, EXTENDED, REMOTE, FrameBatch, IntArray
from packbox.core.integrity import CHECKS
from packbox.core.layout import words
from packbox.core.overheard import Overheard, Overhearing
from packbox.core.profile import (
    EXTENDED_BIT,
    GROUP_BIT,
    GROUP_MASK,
    AnswerLayout,
    Message,
    Poll,
    Profile,
    group_key,
    id_text,
)
from packbox.core.wiring import Wiring

NEEDED_BITS: Final = 20.0  # one chance in a million that another car looks like this
TRY_BITS: Final = 12.0  # from here on it is worth a look whether the values make sense
VALUE_BITS: Final = 2.0  # per quantity that does: a random field passes its range about one time in four
LEAD_BITS: Final = 6.0  # by which the first must lead: below it two families look alike
GOOD_SHARE: Final = 0.95  # of an id's frames must have the right length and checksum; real cars have all of them
NONSENSE_SHARE: Final = 0.2  # of values outside their range: more, and these bits mean something else here
SHORT_IDS: Final = 2048
LONG_IDS: Final = 1 << 20  # 29-bit ids are made of a few fields: far fewer than 2^29 are in use
EXACT_ANSWER_BITS: Final = 10.0  # echo of the identifier and one of the known lengths
ANSWER_BITS: Final = 7.0  # echo of the identifier, any length
GENERIC_ANSWER_BITS: Final = 1.0  # what every car answers alike
CHARACTER_BITS: Final = 5.0  # of a typical text: one of 36 letters and digits
OWN_PAIR_BITS: Final = 8.0  # once: answers on ids outside the range that the standard gives to all makers
STANDARD_IDS: Final = range(0x7E0, 0x7F0)  # ISO 15765-4
GENERIC_SERVICES: Final = (0x01, 0x09, 0x19, 0x3E)
GENERIC_IDENTIFIERS: Final = (0xF1, 0xF4, 0xF8)  # first byte after 22: ISO 14229-1 annex C, SAE J1979-2
IDS_NAMED: Final = 8  # in a sentence; the rest is a number

Place = tuple[int, int]  # bus, key


@dataclass(frozen=True, slots=True)
class Finding:
    """One family held against the frames."""

    profile: str
    name: str
    experimental: bool
    bits: float
    fits: bool
    evidence: tuple[str, ...]  # sentences for people
    lacks: tuple[str, ...]
    variant: str | None = None
    wiring: Wiring = field(default_factory=Wiring)
    generic: bool = False  # it says only what every car says


@dataclass(frozen=True, slots=True)
class Detection:
    frames: int
    ids: int
    findings: tuple[Finding, ...]  # the likeliest first
    found: Finding | None

    @property
    def why_not(self) -> str:
        """What is missing where no family was found."""
        if not self.frames:
            return "no frame was heard: is the car awake, is the bus the right one?"
        fitting = [f.profile for f in self.findings if f.fits]
        if len(fitting) > 1:
            return f"{self.ids} ids fit {' and '.join(fitting)} alike"
        nearest = self.findings[0] if self.findings and self.findings[0].bits > 0 else None
        text = f"{self.ids} ids in {self.frames:,} frames fit no known family"
        return text if nearest is None else f"{text}; nearest is {nearest.profile}, but {'; '.join(nearest.lacks)}"


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """The frames by place, and the diagnostic answers heard."""

    frames: FrameBatch
    places: Mapping[Place, IntArray]
    ids: Mapping[int, tuple[int, int]]  # bus -> how many different 11-bit and 29-bit ids
    answers: Sequence[Overheard]


class _Fitting(NamedTuple):
    """An answer as the profile says."""

    poll: Poll
    length: int
    exact: bool  # it had to be of this length
    typical: str  # beginning of a text that only this family's cars send


@dataclass(frozen=True, slots=True)
class _Hit:
    """An id of the profile on one bus, and how many of its frames are as the profile says."""

    message: Message
    frames: int
    good: int

    @property
    def fits(self) -> bool:
        return self.good >= GOOD_SHARE * self.frames


def detect(profiles: Sequence[Profile], frames: FrameBatch) -> Detection:
    """Rank the families. The frames' order matters for answers only; one batch, some seconds to a minute of traffic."""
    seen = _look(profiles, frames)
    findings = sorted((_hold(p, seen) for p in profiles), key=lambda f: (not f.fits, f.generic, -f.bits, f.profile))
    fitting = [f for f in findings if f.fits]
    rivals = [f for f in fitting[1:] if f.generic == fitting[0].generic and fitting[0].bits - f.bits < LEAD_BITS]
    found = fitting[0] if fitting and not rivals else None
    ids = len({key for _, key in seen.places})
    return Detection(len(frames), ids, tuple(findings), found)


# -- what is on the buses ----------------------------------------------------------------------------------------------


def _look(profiles: Iterable[Profile], frames: FrameBatch) -> _Seen:
    whole = (frames.flags & (ERROR | REMOTE)) == 0
    index = np.flatnonzero(whole)
    keys = frames.can_id.astype(np.int64) | np.where(frames.flags & EXTENDED, EXTENDED_BIT, 0)
    place = (frames.bus.astype(np.int64) << 32 | keys)[index]
    order = np.argsort(place, kind="stable")
    sorted_places = place[order]
    starts = np.flatnonzero(np.diff(sorted_places, prepend=-1))
    places: dict[Place, IntArray] = {}
    for begin, end in pairwise([*starts.tolist(), len(order)]):
        bus, key = divmod(int(sorted_places[begin]), 1 << 32)
        places[bus, key] = index[order[begin:end]]
    buses = {bus for bus, _ in places}
    ids = {
        bus: (
            sum(b == bus and not key & EXTENDED_BIT for b, key in places),
            sum(b == bus and bool(key & EXTENDED_BIT) for b, key in places),
        )
        for bus in buses
    }
    pairs = [(poll.tx_key, poll.rx_key) for profile in profiles for poll in profile.polls]
    return _Seen(frames, places, ids, tuple(Overhearing(pairs).hear(frames)))


# -- one family --------------------------------------------------------------------------------------------------------


def _hold(profile: Profile, seen: _Seen) -> Finding:
    messages = _messages(profile)
    lengths: dict[int, set[int]] = {}
    for message in (m for v in profile.variants for m in v.messages):
        lengths.setdefault(message.key, set()).update(message.lengths)
    hits = {
        (bus, own): _compare(messages[own], lengths[own], seen.frames, index)
        for (bus, key), index in seen.places.items()
        if (own := _own(key, messages)) in messages
    }
    wiring = _wire(profile, hits)
    at_home = {
        place: hit for place, hit in hits.items() if hit.fits and wiring.carries(*place, profile_bus=hit.message.bus)
    }
    answered, misshapen = _answered(profile, seen)
    frame_bits = sum(_frame_bits(messages.values(), at_home, bus, ids) for bus, ids in seen.ids.items())
    answer_bits = _answer_bits(answered)
    heard = {_own(key, messages) for _, key in seen.places}
    known = {key for _, key in at_home} | (heard - messages.keys())
    missing = [key for key in profile.detect if key not in known]
    evidence = [*_frame_words(profile, at_home, wiring, known), *_answer_words(answered)]
    lacks = [*_spoilt(hits, wiring), *(f"answer of {p.id} has another length here" for p in misshapen)]
    bits = frame_bits + answer_bits
    told = answer_bits >= NEEDED_BITS
    variant: str | None = None
    sane = bits >= TRY_BITS and (told or not missing)
    if sane:
        trial = _try(profile, wiring, seen)
        variant, sane = trial.variant, not trial.against
        bits += VALUE_BITS * trial.quantities if sane else 0.0
        evidence += trial.evidence
        lacks += trial.against
    if missing and not told:
        lacks.append(f"typical ids absent: {_names(missing, messages)}")
    if bits < NEEDED_BITS:
        lacks.append(_too_little(at_home, answered))
    return Finding(
        profile.id,
        profile.name,
        profile.experimental,
        bits,
        sane and bits >= NEEDED_BITS,
        tuple(evidence),
        tuple(lacks),
        variant,
        wiring,
        not messages and all(is_generic(p) for p in profile.polls),
    )


def _too_little(at_home: Mapping[Place, _Hit], answered: Mapping[str, object]) -> str:
    if not at_home and not answered:
        return "none of its ids and answers"
    return f"{len(at_home)} known ids and {len(answered)} answers are too few to be sure"


def _messages(profile: Profile) -> dict[int, Message]:
    """By key, of all variants; where they differ the first one's."""
    return {m.key: m for v in reversed(profile.variants) for m in v.messages}


def _own(key: int, messages: Mapping[int, Message]) -> int:
    """The key as the profile has it: J1939 names a group, whoever sends it."""
    return group_key(key) if key not in messages and key & EXTENDED_BIT and group_key(key) in messages else key


def _compare(message: Message, lengths: set[int], frames: FrameBatch, index: IntArray) -> _Hit:
    right = index[np.isin(frames.length[index], sorted(lengths))]
    if message.checksum is not None and len(right):
        right = right[CHECKS[message.checksum](words(frames.data[right]), message.can_id)]
    return _Hit(message, len(index), len(right))


def _wire(profile: Profile, hits: Mapping[Place, _Hit]) -> Wiring:
    """Each bus of the profile is where most of its ids are right. One bus alone is never doubted."""
    buses = sorted({bus for bus, _ in hits})
    homes: dict[str, int] = {}
    for profile_bus in profile.buses:
        counts = {
            b: sum(bus == b and h.fits and h.message.bus == profile_bus.name for (bus, _), h in hits.items())
            for b in buses
        }
        best = max(buses, key=lambda b: (counts[b], -b), default=None)
        if best is not None and counts[best] > 1:
            homes[profile_bus.name] = best
    ours = set(homes.values())
    copies = {
        (bus, key)
        for (bus, key), hit in hits.items()
        if bus in ours and hit.fits and (homes.get(hit.message.bus), key) not in hits
    }
    return Wiring(homes, frozenset(copies))


def _frame_bits(messages: Iterable[Message], at_home: Mapping[Place, _Hit], bus: int, ids: tuple[int, int]) -> float:
    """How surprising so many right ids are on a bus with this many ids."""
    bits = 0.0
    for extended, count, room in ((False, ids[0], SHORT_IDS), (True, ids[1], LONG_IDS)):
        here = {key for b, key in at_home if b == bus and bool(key & EXTENDED_BIT) == extended}
        on_these = {at_home[bus, key].message.bus for key in here}
        could = sum(m.extended == extended and m.bus in on_these for m in messages)
        bits += _tail_bits(max(could, len(here)), len(here), count / room)
    return bits


def _tail_bits(tries: int, hits: int, chance: float) -> float:
    """-log2 of the chance of at least so many hits: the binomial tail."""
    if not hits:
        return 0.0
    chance = min(chance, 0.5)
    tail = math.fsum(math.comb(tries, n) * chance**n * (1 - chance) ** (tries - n) for n in range(hits, tries + 1))
    return -math.log2(max(tail, 1e-300))


def _answered(profile: Profile, seen: _Seen) -> tuple[dict[str, _Fitting], list[Poll]]:
    """Polls whose answers are as the profile says, and those whose are not."""
    fitting: dict[str, _Fitting] = {}
    misshapen: dict[str, Poll] = {}
    for answer in seen.answers:
        data = answer.data
        poll = matching(profile.polls, answer.key, data, answer.request)
        if poll is None or len(data) in poll.ignored_lengths:
            continue
        layout = layout_for(poll, len(data))
        if layout is None:
            misshapen[poll.id] = poll
        elif len(data) > len(poll.head):
            before = fitting[poll.id].typical if poll.id in fitting else ""
            fitting[poll.id] = _Fitting(poll, len(data), bool(layout.lengths), _typical(layout, poll, data) or before)
    return fitting, [p for name, p in misshapen.items() if name not in fitting]


def _typical(layout: AnswerLayout, poll: Poll, data: bytes) -> str:
    wanted = {field.name: field.typical for field in layout.fields if field.typical}
    said = read(layout, Window(0, data[len(poll.head) :]), each_row=False) if wanted else []
    texts = ((r.value, begins) for r in said if isinstance(r.value, str) for begins in wanted.get(r.name, ()))
    return next((begins for value, begins in texts if value.startswith(begins)), "")


def is_generic(poll: Poll) -> bool:
    """Whether every car answers it alike."""
    service = poll.request[0]
    return service in GENERIC_SERVICES or (service == 0x22 and poll.request[1] in GENERIC_IDENTIFIERS)


def _answer_bits(answered: Mapping[str, _Fitting]) -> float:
    bits = 0.0
    for poll, _, exact, typical in answered.values():
        bits += CHARACTER_BITS * len(typical)
        if is_generic(poll):
            bits += GENERIC_ANSWER_BITS
        else:
            bits += EXACT_ANSWER_BITS if exact else ANSWER_BITS
    own = any(not is_generic(p) and not (p.extended or p.rx in STANDARD_IDS) for p, *_ in answered.values())
    return bits + (OWN_PAIR_BITS if own else 0.0)


@dataclass(frozen=True, slots=True)
class _Trial:
    variant: str | None
    quantities: int  # how many spoke and made sense
    evidence: tuple[str, ...]
    against: tuple[str, ...]


def _try(profile: Profile, wiring: Wiring, seen: _Seen) -> _Trial:
    """Decode the frames as this family: which variant, do the values make sense, and in what words."""
    decoder = Decoder(profile, wiring=wiring)
    state, decoded = decoder.decode(decoder.start(), seen.frames)
    good = sum(len(signal) for signal in decoded.signals.values())
    bad = decoded.refused.implausible_values
    if bad > NONSENSE_SHARE * (good + bad):
        return _Trial(None, 0, (), (f"{bad:,} of {good + bad:,} values are impossible",))
    variant = decoder.variant(state)
    shown = {e.name for e, n in zip(profile.evidence, state.evidence, strict=True) if n >= e.at_least}
    words_said = [f"{len(decoded.signals)} quantities make sense"] if decoded.signals else []
    words_said += _variant_words(profile, variant, shown)
    return _Trial(variant, len(decoded.signals), tuple(words_said), ())


# -- words -------------------------------------------------------------------------------------------------------------


def _frame_words(profile: Profile, at_home: Mapping[Place, _Hit], wiring: Wiring, known: set[int]) -> Iterator[str]:
    messages = _messages(profile)
    typical = [key for key in profile.detect if key in known]
    if typical:
        yield f"ids {_names(typical, messages)} seen"
    elif at_home:
        yield f"ids {_names(sorted(key for _, key in at_home), messages)} seen"
    for profile_bus, bus in wiring.homes.items():
        count = sum(b == bus and h.message.bus == profile_bus for (b, _), h in at_home.items())
        yield f"bus {bus} is {profile_bus} ({count} known ids)"
    for (_, key), hit in sorted(at_home.items()):
        if hit.message.checksum is not None and key in profile.detect:
            yield f"checksum of {hit.message.label} right in {hit.good:,} of {hit.frames:,}"


def _spoilt(hits: Mapping[Place, _Hit], wiring: Wiring) -> Iterator[str]:
    for (bus, key), hit in sorted(hits.items()):
        if not hit.fits and wiring.carries(bus, key, hit.message.bus):
            yield f"{hit.message.label} is another frame here ({hit.good:,} of {hit.frames:,} are right)"


def _answer_words(answered: Mapping[str, _Fitting]) -> Iterator[str]:
    for poll, length, _, typical in answered.values():
        question = poll.request.hex(" ").upper()
        yield f"{id_text(poll.rx, poll.extended)} answers {question} with {length} bytes ({poll.id})" + (
            f", a text that begins with {typical}" if typical else ""
        )


def _variant_words(profile: Profile, variant: str | None, shown: set[str]) -> Iterator[str]:
    """What the variant was chosen by, and which id is absent that another one would send."""
    messages = _messages(profile)
    choice = next((c for c in profile.choices if shown.issuperset(c.when)), None)
    if choice is not None and choice.variant == variant:
        yield f"{' and '.join(choice.when)} → {variant}"
    by_name = {e.name: e for e in profile.evidence}
    told: set[str] = set()
    for other in profile.choices:
        absent = next((by_name[n] for n in other.when if n not in shown and by_name[n].seen), None)
        if absent is None or variant is None:
            continue
        if other.variant != variant and other.variant not in told:
            told.add(other.variant)
            yield f"{_names(absent.seen, messages)} absent → not {other.variant}"


def _names(keys: Sequence[int], messages: Mapping[int, Message]) -> str:
    """A J1939 group by its name: its id on the bus depends on who sends it."""
    texts = [
        f"{messages[key].name} (PGN {(key & GROUP_MASK) >> 8})"
        if key & GROUP_BIT and key in messages
        else id_text(key & ~(EXTENDED_BIT | GROUP_BIT), bool(key & EXTENDED_BIT))
        for key in keys
    ]
    more = f" and {len(texts) - IDS_NAMED} more" if len(texts) > IDS_NAMED else ""
    return ", ".join(texts[:IDS_NAMED]) + more
