"""Another pack in the same car is noticed; a single odd answer is not another pack."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbox.adapters.profile_dir import Catalogue
from packbox.core import box
from packbox.core.box import BoxPlan, BoxState
from packbox.core.decode import Decoder, DecodeState
from packbox.core.frames import FrameBatch
from packbox.core.outcome import EventName, EventSeen, Introduced, Outcome
from packbox.core.profile import AnswerShape, Evidence, Profile
from packbox.core.record import BatteryId, BoxId
from packbox.core.stamp import NS_PER_S, BootId
from packbox.core.swap import rivals_of, weigh

STATE_24 = "61 01 00000328 0288 0000049F FFFFFFFF 02EE16A0 9052 38F3 038B 01F9 0AD6 00 05322B 00 04E23E 800005"
# The longer layout: 53 bytes, 369.46 V, 75 % and 96 Ah (facts/vehicles.md 3.4).
STATE_40 = f"6101 {'00' * 18} 9052 {'00' * 11} 0B71B0 00 0EA600 {'00' * 13}"
CELLS_HEAD = "61 02"


LEAF = Catalogue().profile("nissan-leaf")


@pytest.fixture
def leaf() -> Profile:
    return LEAF


def answers(*said: tuple[float, str]) -> FrameBatch:
    """Answers on 7BB at their seconds, as ISO-TP frames 10 ms apart."""
    rows: list[tuple[int, bytes]] = []
    for at_s, text in said:
        data = bytes.fromhex(text.replace(" ", ""))
        parts = [bytes([0x10 | len(data) >> 8, len(data) & 0xFF]) + data[:6]]
        rest = data[6:]
        parts += [bytes([0x20 | (k // 7 + 1) & 0xF]) + rest[k : k + 7] for k in range(0, len(rest), 7)]
        rows += [(int(at_s * NS_PER_S) + k * 10_000_000, part.ljust(8, b"\0")) for k, part in enumerate(parts)]
    n = len(rows)
    return FrameBatch(
        BootId("0" * 16),
        None,
        np.array([at for at, _ in rows], np.int64),
        np.zeros(n, np.uint8),
        np.full(n, 0x7BB, np.uint32),
        np.zeros(n, np.uint8),
        np.full(n, 8, np.uint8),
        np.array([list(part) for _, part in rows], np.uint8),
    )


def serial(text: str) -> str:
    return "618400 0000" + text.encode().hex()


def decoded(leaf: Profile, batch: FrameBatch, cuts: tuple[int, ...] = ()) -> DecodeState:
    decoder = Decoder(leaf)
    state = decoder.start()
    bounds = [0, *sorted(cuts), len(batch)]
    for begin, end in pairwise(bounds):
        state, _ = decoder.decode(state, batch.pick(slice(begin, end)))
    return state


def folded(leaf: Profile, batch: FrameBatch) -> tuple[BoxState, list[Outcome]]:
    plan = BoxPlan(Decoder(leaf), BoxId("ab" * 8), BatteryId("van-7"), "configured", "test")
    state, outcomes = box.advance(plan, box.start(plan), batch)
    state, more = box.finish(plan, state)
    return state, [*outcomes, *more]


SWAP = answers(*((k * 5.0, STATE_24) for k in range(4)), *((100 + k * 5.0, STATE_40) for k in range(4)))


def test_another_length_of_answer_is_another_pack(leaf: Profile) -> None:
    """Many older cars carry a newer pack: from the swap on the old layout would decode nonsense."""
    decoder = Decoder(leaf)
    state = decoded(leaf, SWAP)
    pack = decoder.pack(state)
    assert pack is not None
    assert (pack.id, state.swaps, state.swap_text) == ("leaf-40", 1, "answer-40 seen, no more answer-24")


def test_one_odd_answer_is_not_another_pack(leaf: Profile) -> None:
    """Two testers on one id garble answers; a history must not fork on that."""
    once = answers((0, STATE_24), (5, STATE_24), (10, STATE_40), (15, STATE_24), (20, STATE_40), (25, STATE_24))
    state = decoded(leaf, once)
    pack = Decoder(leaf).pack(state)
    assert pack is not None
    assert (pack.id, state.swaps) == ("leaf-24", 0)


@settings(deadline=None)
@given(st.sets(st.integers(1, len(SWAP) - 1), max_size=6))
def test_a_swap_is_the_same_however_frames_are_cut(cuts: set[int]) -> None:
    """The box reads in batches of any size, a replay in others."""
    assert decoded(LEAF, SWAP, tuple(cuts)) == decoded(LEAF, SWAP)


def test_the_box_says_that_the_battery_changed_and_begins_a_new_one(leaf: Profile) -> None:
    """What was counted for one battery must never be added to another one's."""
    _, outcomes = folded(leaf, SWAP)
    events = [o for o in outcomes if isinstance(o, EventSeen) and o.event is EventName.BATTERY_CHANGED]
    assert [e.text for e in events] == [
        "reported capacity rose: 32.0062 to 96",
        "leaf-24 → leaf-40: answer-40 seen, no more answer-24",
    ]
    names = [o.identity.battery for o in outcomes if isinstance(o, Introduced)]
    assert names[0] == "van-7"
    assert names[-1] == f"prov-{'ab' * 8}-2"


def test_another_serial_number_is_another_pack_of_the_same_kind(leaf: Profile) -> None:
    """A pack of the same size tells itself apart by its number only."""
    same = answers((0, serial("230AA0000000001")), (5, serial("230AA0000000001")))
    other = answers((0, serial("230AA0000000001")), (5, serial("230BB0000000002")))
    assert not [o for o in folded(leaf, same)[1] if isinstance(o, EventSeen)]
    texts = [o.text for o in folded(leaf, other)[1] if isinstance(o, EventSeen)]
    assert texts == ["serial number was 230AA0000000001, now 230BB0000000002"]


def test_cells_that_do_not_add_up_to_the_pack_are_no_value(leaf: Profile) -> None:
    """Two testers at once mix answers: 96 plausible cells of nobody's pack."""

    def cells(pack_v: float) -> FrameBatch:
        words = [3900] * 96 + [round(pack_v * 100)] * 2
        return answers((0, CELLS_HEAD + "".join(f"{w:04X}" for w in words)))

    decoder = Decoder(leaf, "aze0-24")
    _, good = decoder.decode(decoder.start(), cells(374.4))
    _, bad = decoder.decode(decoder.start(), cells(380.0))
    assert (good.refused.cells_not_sum, "cell_voltage_min_v" in good.signals) == (0, True)
    assert (bad.refused.cells_not_sum, "cell_voltage_min_v" in bad.signals) == (1, False)


def piece(name: str, *lengths: int, at_least: int = 1) -> Evidence:
    return Evidence(name, at_least, answer=AnswerShape("state", lengths))


def test_rivals_are_what_no_car_can_show_at_once(leaf: Profile) -> None:
    """Evidence of two answers, or of overlapping ranges, goes together."""
    pieces = (piece("a", 10), piece("b", 20), piece("c", 10, 20), Evidence("id", seen=(0x1DB,)))
    assert rivals_of(replace(leaf, evidence=pieces)) == (frozenset({1}), frozenset({0}), frozenset(), frozenset())


def test_evidence_is_complete_at_its_last_needed_frame() -> None:
    """From that very frame on the variant holds."""
    weighed = weigh((piece("a", 10, at_least=3),), (frozenset(),), (0,), (), {0: np.array([4, 7, 9])})
    assert (weighed.counts, dict(weighed.holds), weighed.swapped) == ((3,), {9: (3,)}, ())


def test_a_value_that_wanders_is_no_rival_of_itself(leaf: Profile) -> None:
    """A 62 kWh pack that fades through 118 Ah has not become a 40 kWh pack; a shorter answer has."""
    names = [e.name for e in leaf.evidence]
    rivals = {name: {names[k] for k in found} for name, found in zip(names, rivals_of(leaf), strict=True)}
    assert "answer-40" not in rivals["answer-62"]
    assert {"answer-24", "answer-30"} <= rivals["answer-62"]
