"""The columnar decoder: what it lets through, what it refuses, and that batches do not matter."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from can_frames import Frame, batch_of, battery_state, cut, iso_tp, leaf_state_answer, series, with_crc
from packbox.core.decode import Decoder, DecodeState
from packbox.core.frames import ERROR, EXTENDED, REMOTE, FrameBatch
from packbox.core.profile import Profile, Variant
from packbox.core.signals import Decoded, Refused, Signal
from packbox.core.stamp import BootId

GIDS_62_FULL = bytes.fromhex("BB80F064B711C000")  # 750 gids when full
CHARGER_AZE0 = bytes.fromhex("0400000000803C07")
ODOMETER = bytes.fromhex("40012F5E00000000")
CLUSTER_KM = bytes(8)
CLUSTER_MILES = bytes.fromhex("0000000000002000")


def run(decoder: Decoder, batches: list[FrameBatch], state: DecodeState | None = None) -> tuple[DecodeState, Decoded]:
    """All batches through the decoder, their signals end to end."""
    state = decoder.start() if state is None else state
    parts = []
    for batch in batches:
        state, decoded = decoder.decode(state, batch)
        parts.append(decoded)
    names = {name for part in parts for name in part.signals}
    joined = {
        name: Signal(
            np.concatenate([p.signals[name].mono_ns for p in parts if name in p.signals]),
            np.concatenate([p.signals[name].value for p in parts if name in p.signals]),
        )
        for name in names
    }
    refused = Refused()
    for part in parts:
        refused += part.refused
    return state, Decoded(joined, refused)


def decode(profile: Profile, frames: list[Frame], variant: str | None = None) -> tuple[DecodeState, Decoded]:
    return run(Decoder(profile, variant), [batch_of(frames)])


def test_a_frame_becomes_its_quantities(leaf: Profile) -> None:
    """The plainest case: one good 1DB, current positive into the pack."""
    _, decoded = decode(leaf, [(5, 0x1DB, battery_state(-482.5, 368.5, 0))], "ze1-62")
    assert series(decoded, "pack_current_a") == [(5, -482.5)]
    assert series(decoded, "pack_voltage_v") == [(5, 368.5)]
    assert series(decoded, "contactor_closed") == [(5, 1.0)]
    assert decoded.refused == Refused()


def test_start_up_values_are_counted_and_never_become_numbers(leaf: Profile) -> None:
    """0x3FF is the largest positive current: +511.5 A would be integrated as charge."""
    _, decoded = decode(leaf, [(0, 0x1DB, bytes.fromhex("7FE0FFC67F00000D"))], "env200-40")
    assert set(decoded.signals) == {"contactor_closed"}
    assert decoded.refused == Refused(void_values=3)


def test_a_frame_with_a_bad_checksum_is_dropped_whole(leaf: Profile) -> None:
    """A flipped bit may be anywhere: no field of the frame is believed."""
    torn = bytes.fromhex("9760B86A00C3B259")
    _, decoded = decode(leaf, [(0, 0x1DB, torn), (10, 0x390, bytes(7) + b"\x01")], "ze1-62")
    assert decoded.signals == {}
    assert decoded.refused == Refused(bad_checksum=2)


def test_an_id_with_two_lengths_is_read_only_at_the_right_one(leaf: Profile) -> None:
    """A short frame would read zeros where bytes are missing."""
    good = battery_state(-3, 385, 0)
    _, decoded = decode(leaf, [(0, 0x1DB, good), (10, 0x1DB, good[:6]), (20, 0x5A9, bytes(7))], "ze0")
    assert len(decoded.signals["pack_current_a"]) == 1
    assert decoded.refused == Refused(wrong_length=1)


def test_a_sender_that_stands_still_is_not_believed(leaf: Profile) -> None:
    """A gateway that repeats its last frame looks alive; its counter does not."""
    frames = [(10.0 * k, 0x1DB, battery_state(-k, 385, min(k, 2))) for k in range(6)]
    _, decoded = decode(leaf, frames, "ze0")
    assert series(decoded, "pack_current_a") == [(0, 0.0), (10, -1.0), (20, -2.0)]
    assert decoded.refused == Refused(stuck_counter=3)


def test_a_repeated_counter_after_lost_frames_is_no_fault(leaf: Profile) -> None:
    """Two bits come round after four frames: the e-NV200 recording has such gaps of 40 ms."""
    _, decoded = decode(leaf, [(0, 0x1DB, battery_state(1, 385, 2)), (40, 0x1DB, battery_state(2, 385, 2))], "ze0")
    assert series(decoded, "pack_current_a") == [(0, 1.0), (40, 2.0)]


@pytest.mark.parametrize("silent_ms", [1_000, 3_600_000 * 9])
def test_a_counter_that_slept_may_begin_where_it_was(leaf: Profile, silent_ms: int) -> None:
    """A frame on each awakening would be lost by chance, and the sleep is no fault; also of ids that come rarely."""
    slow = replace_cycle(leaf, 0x1DB, 1000)
    frames = [(0, 0x1DB, battery_state(1, 385, 2)), (float(silent_ms), 0x1DB, battery_state(2, 385, 2))]
    for profile in (leaf, slow):
        _, decoded = decode(profile, frames, "ze0")
        assert series(decoded, "pack_current_a") == [(0, 1.0), (silent_ms, 2.0)]
        assert decoded.refused.stuck_counter == 0


def replace_cycle(profile: Profile, key: int, cycle_ms: int) -> Profile:
    """The profile with one message at another pace."""

    def variant(one: Variant) -> Variant:
        messages = tuple(dataclasses.replace(m, cycle_ms=cycle_ms) if m.key == key else m for m in one.messages)
        return dataclasses.replace(one, messages=messages)

    return dataclasses.replace(profile, variants=tuple(variant(v) for v in profile.variants))


def test_values_that_no_pack_of_this_size_can_have_are_refused(leaf: Profile) -> None:
    """96 cells at 150 V would be 1.6 V each: a wrong reading, not a battery."""
    _, decoded = decode(leaf, [(0, 0x1DB, battery_state(0, 150, 0)), (10, 0x1DB, battery_state(0, 430, 1))], "ze0")
    assert "pack_voltage_v" not in decoded.signals
    assert decoded.refused == Refused(implausible_values=2)


def test_multiplexer_values_never_seen_are_counted(leaf: Profile) -> None:
    """A new row of 5C0 is news about the car, not a temperature."""
    rows = [(0.0, 0x5C0, bytes([row]) + bytes(7)) for row in (1, 2, 3, 7)]
    _, decoded = decode(leaf, rows, "ze1-62")
    assert decoded.signals == {}
    assert decoded.refused.unknown_mux == 1


def test_error_frames_remote_frames_and_strangers_are_counted_apart(leaf: Profile) -> None:
    """`doctor` tells a noisy bus from an unknown car."""
    batch = batch_of([(k, 0x1DB, battery_state(1, 385, k)) for k in range(3)] + [(9, 0x7AA, bytes(8))])
    flags = np.array([ERROR, REMOTE, EXTENDED, 0], np.uint8)
    spoilt = FrameBatch(batch.boot, None, batch.mono_ns, batch.bus, batch.can_id, flags, batch.length, batch.data)
    _, decoded = run(Decoder(leaf, "ze0"), [spoilt])
    assert decoded.signals == {}
    assert decoded.refused == Refused(error_frames=2, unknown_frames=2)


def test_the_whole_374_is_void_while_its_capacity_is_zero(imiev: Profile) -> None:
    """At power-on its first byte already looks like a state of charge."""
    _, decoded = decode(imiev, [(0, 0x374, bytes.fromhex("0A825B003D3C0030"))], "outlander-12")
    assert decoded.signals == {}
    assert decoded.refused == Refused(void_values=5)


# -- several sources of one quantity ---------------------------------------------------------------------------------


def test_a_poll_does_not_disturb_the_broadcast_and_takes_over_when_it_is_gone(leaf: Profile) -> None:
    """Current every 10 ms must not be mixed with a poll that is 300 ms old, but a ZE1's plug has only polls."""
    frames: list[Frame] = [(0, 0x7BB, f) for f in iso_tp(leaf_state_answer(-99, 50, 110))]
    frames += [(1_000 + 10 * k, 0x1DB, battery_state(-5, 360, k)) for k in range(3)]
    frames += [(1_500, 0x7BB, f) for f in iso_tp(leaf_state_answer(-98, 50, 110))]
    frames += [(20_000, 0x7BB, f) for f in iso_tp(leaf_state_answer(-97, 50, 110))]
    _, decoded = decode(leaf, frames, "ze1-40")
    assert series(decoded, "pack_current_a") == [(0, -99), (1000, -5), (1010, -5), (1020, -5), (20000, -97)]
    assert series(decoded, "soc_bms_pct") == [(0, 50), (1500, 50), (20000, 50)]


def test_the_odometer_is_read_only_once_its_unit_is_known(leaf: Profile) -> None:
    """The same frame counts kilometres in Japan and miles in Britain."""
    before = [(0.0, 0x5C5, ODOMETER)]
    for cluster, expected in ((CLUSTER_KM, 77662.0), (CLUSTER_MILES, pytest.approx(77662 * 1.609344))):
        told = [(float(k), 0x355, cluster) for k in range(1, 21)]
        _, decoded = decode(leaf, [*before, *told, (30, 0x5C5, ODOMETER)])
        assert series(decoded, "odometer_km") == [(30, expected)]


# -- diagnostic answers heard ------------------------------------------------------------------------------------------


def test_answers_to_another_tester_are_read_with_or_without_the_question(leaf: Profile) -> None:
    """A phone app polls; the box listens. The answer's echo tells what was asked."""
    answer = [(10.0 + k, 0x7BB, f) for k, f in enumerate(iso_tp(leaf_state_answer(-9.5, 43.21, 111.1)))]
    asked: list[Frame] = [(0, 0x79B, bytes.fromhex("0221010000000000")), (11, 0x79B, bytes.fromhex("3000000000000000"))]
    for frames in (answer, sorted(asked + answer)):
        _, decoded = decode(leaf, frames)
        assert series(decoded, "capacity_reported_ah") == [(17, pytest.approx(111.1))]
        assert decoded.refused.broken_answers == 0


def test_broken_and_negative_answers_are_counted_once_each(leaf: Profile) -> None:
    """Two testers on one id tear each other's answers apart: that shows in `doctor`, not in the history."""
    good = iso_tp(leaf_state_answer(-9.5, 43.21, 111.1))
    torn = [*good[:3], *good[4:]]
    refused = bytes.fromhex("037F2112FFFFFFFF")
    pending = bytes.fromhex("037F2178FFFFFFFF")
    frames = [(float(k), 0x7BB, f) for k, f in enumerate([*good[2:4], *torn, refused, pending, *good])]
    _, decoded = decode(leaf, frames)
    assert len(decoded.signals["capacity_reported_ah"]) == 1
    assert decoded.refused == Refused(broken_answers=2, negative_answers=1)


def test_an_answer_of_a_length_nobody_knows_is_not_guessed_at(leaf: Profile) -> None:
    """24, 30 and 40 kWh packs put other things in the same places."""
    _, decoded = decode(leaf, [(0, 0x7BB, f) for f in iso_tp(b"\x61\x01" + bytes(45))])
    assert decoded.signals == {}
    assert decoded.refused == Refused(wrong_length=1)
    _, ignored = decode(leaf, [(0, 0x7BB, f) for f in iso_tp(b"\x61\x01" + bytes(42))])
    assert ignored.refused == Refused()


# -- variants ----------------------------------------------------------------------------------------------------------


def test_behaviour_tells_the_variant_and_its_pack(leaf: Profile) -> None:
    """Packs get swapped: neither the year nor the name on the car tells them."""
    decoder = Decoder(leaf)
    state, _ = run(decoder, [batch_of([(k, 0x390, CHARGER_AZE0) for k in range(3)])])
    assert decoder.variant(state) is None
    state, _ = run(decoder, [batch_of([(k, 0x5BC, GIDS_62_FULL) for k in range(3)])], state)
    assert decoder.variant(state) == "ze1-62"
    pack = decoder.pack(state)
    assert pack is not None
    assert (pack.id, pack.reference_ah) == ("leaf-62", 176.4)


def test_a_car_that_only_answers_polls_is_told_by_its_answers(leaf: Profile) -> None:
    """Behind a ZE1's gateway there is nothing else to go by."""
    decoder = Decoder(leaf)
    for capacity, variant in ((108.0, "ze1-40"), (161.0, "ze1-62")):
        frames = [(0.0, 0x7BB, f) for f in iso_tp(leaf_state_answer(0, 50, capacity))]
        state, _ = run(decoder, [batch_of(frames)])
        assert decoder.variant(state) == variant


def test_the_variant_holds_from_the_frame_that_completes_its_evidence(leaf: Profile) -> None:
    """The capacity frame of a 62 kWh car is read wrongly by every other layout: it must wait."""
    capacity = bytes.fromhex("0000229FA00000BC")
    frames: list[Frame] = [(0, 0x59E, capacity), (1, 0x5BC, GIDS_62_FULL), (2, 0x5BC, GIDS_62_FULL)]
    frames += [(3, 0x59E, capacity), (4, 0x5BC, GIDS_62_FULL), (5, 0x59E, capacity)]
    _, decoded = decode(leaf, frames)
    assert series(decoded, "energy_full_kwh") == [(5, pytest.approx(55.3))]


def test_cells_are_counted_from_voltages(imiev: Profile) -> None:
    """An iOn has 80 or 88 cells; only the ratio of pack to cell voltage says which."""
    decoder = Decoder(imiev)
    for cells, variant in ((80, "imiev-14"), (88, "imiev-16")):
        volts = (cells * 40 - 3).to_bytes(2, "big")
        state_frame = bytes([190, 189, 0x7F, 0xBC]) + volts + b"\x00\x06"
        frames: list[Frame] = [(k, 0x373, state_frame) for k in range(100)]
        frames += [(200 + k, 0x412, bytes.fromhex("FE00000AFC002112")) for k in range(3)]
        state, _ = run(decoder, [batch_of(frames)])
        assert decoder.variant(state) == variant


def test_what_one_variant_alone_sends_waits_for_the_variant(imiev: Profile) -> None:
    """On the Outlander's other bus the i-MiEV's speed id means something else."""
    _, undecided = decode(imiev, [(0, 0x215, bytes.fromhex("1900000000000000"))])
    _, decided = decode(imiev, [(0, 0x215, bytes.fromhex("1900000000000000"))], "imiev-16")
    assert undecided.signals == {}
    assert series(decided, "speed_kmh") == [(0, 50.0)]


# -- state -------------------------------------------------------------------------------------------------------------


def busy_frames() -> list[Frame]:
    """A car with everything at once: counters, torn frames, polls across frames, a variant found on the way."""
    answer = iso_tp(leaf_state_answer(-12.5, 61.5, 160.5))
    cells = iso_tp(b"\x61\x02" + (3_700).to_bytes(2, "big") * 96 + bytes(4))
    frames: list[Frame] = []
    for k in range(60):
        frames.append((10 * k, 0x1DB, battery_state(-k / 2, 370, k if k % 13 else k - 1)))
        frames.append((10 * k + 1, 0x1DB if k % 7 else 0x1DC, bytes([k]) * 8))
        if k % 3 == 0:
            frames.append((10 * k + 2, 0x5BC, GIDS_62_FULL if k > 20 else bytes.fromhex("A4C0E664B6014000")))
            frames.append((10 * k + 3, 0x59E, bytes.fromhex("0000229FA00000BC")))
            frames.append((10 * k + 3, 0x5C5, ODOMETER))
        frames.append((10 * k + 4, 0x355, CLUSTER_KM))
        frames.append((10 * k + 5, 0x55B, with_crc(bytes([0x8C, 0, 0x55, 0, 0, 0, k & 3, 0]))))
        if k < len(cells):
            frames.append((10 * k + 6, 0x7BB, cells[k]))
        elif k - len(cells) < len(answer):
            frames.append((10 * k + 6, 0x7BB, answer[k - len(cells)]))
        frames.append((10 * k + 7, 0x123, bytes(4)))
    return frames


BUSY = batch_of(busy_frames())


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(1, len(BUSY) - 1), max_size=12))
def test_batches_do_not_matter(leaf: Profile, places: list[int]) -> None:
    """A live bus, a log reader and a replay cut differently; the history must come out the same."""
    decoder = Decoder(leaf)
    whole_state, whole = run(decoder, [BUSY])
    state, pieces = run(decoder, cut(BUSY, places))
    assert state == whole_state
    assert pieces.refused == whole.refused
    assert {n: series(pieces, n) for n in pieces.signals} == {n: series(whole, n) for n in whole.signals}


def test_single_frames_give_what_one_batch_gives(leaf: Profile) -> None:
    """The hardest cut of all."""
    decoder = Decoder(leaf)
    whole_state, whole = run(decoder, [BUSY])
    state, pieces = run(decoder, cut(BUSY, range(len(BUSY))))
    assert (state, pieces.refused) == (whole_state, whole.refused)
    assert decoder.variant(state) == "ze1-62"
    assert {n: series(pieces, n) for n in pieces.signals} == {n: series(whole, n) for n in whole.signals}


def test_the_state_survives_being_saved(leaf: Profile) -> None:
    """It is stored with the sessions and read back after a power cut, in the middle of an answer too."""
    decoder = Decoder(leaf)
    first, second = cut(BUSY, [90])
    state, _ = run(decoder, [first])
    loaded = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=DecodeState)
    assert loaded == state
    assert run(decoder, [second], loaded)[0] == run(decoder, [second], state)[0]


def test_a_new_boot_forgets_times_but_not_the_car(leaf: Profile) -> None:
    """Monotonic times of two boots cannot be compared; the pack is still the same."""
    decoder = Decoder(leaf)
    state, _ = run(decoder, [BUSY])
    frames: list[Frame] = [(0, 0x1DB, battery_state(1, 370, 3))]
    state, decoded = run(decoder, [batch_of(frames, boot=BootId("f" * 16))], state)
    assert decoder.variant(state) == "ze1-62"
    assert series(decoded, "pack_current_a") == [(0, 1.0)]


def test_a_changed_profile_starts_afresh(leaf: Profile) -> None:
    """Counts of evidence mean nothing when the list of evidence may have changed."""
    decoder = Decoder(leaf)
    state, _ = run(decoder, [BUSY])
    old = dataclasses.replace(state, profile_digest="another", evidence=(1,))
    assert (decoder.variant(old), decoder.pack(old)) == (None, None)
    state, decoded = run(decoder, [batch_of([(0, 0x1DB, battery_state(1, 370, 3))])], old)
    assert decoder.variant(state) is None
    assert state.profile_digest == leaf.digest
    assert series(decoded, "pack_current_a") == [(0, 1.0)]


def test_known_ids_are_those_of_frames_and_polls(leaf: Profile) -> None:
    """Replay tells how much of a log was understood."""
    decoder = Decoder(leaf)
    assert [decoder.knows(i) for i in (0x1DB, 0x5B3, 0x79B, 0x7BB, 0x108, 0x123)] == [True] * 5 + [False]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_random_frames_never_raise(leaf: Profile, imiev: Profile, data: st.DataObject) -> None:
    """A noisy bus is bad data, not an exception."""
    profile = data.draw(st.sampled_from([leaf, imiev]))
    ids = sorted({m.can_id for v in profile.variants for m in v.messages} | {p.rx for p in profile.polls})
    frames = data.draw(st.lists(st.tuples(st.just(0.0), st.sampled_from(ids), st.binary(max_size=8)), max_size=40))
    decoder = Decoder(profile, data.draw(st.sampled_from([None, *(v.id for v in profile.variants)])))
    _, decoded = run(decoder, [batch_of(frames)])
    for signal in decoded.signals.values():
        assert np.isfinite(signal.value).all()
