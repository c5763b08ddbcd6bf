"""The simulated bus: real layouts, right checksums, whole answers, and never a frame twice or lost."""

from __future__ import annotations

import time
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbox.core.frames import FloatArray, IntArray
from packbox.sim import imiev as sim_imiev
from packbox.sim import leaf as sim_leaf
from packbox.sim.car import IMIEV_16, LEAF_24, LEAF_62, MODELS, Awake, CarModel, SimCar
from packbox.sim.frames import ECONOMICAL, REAL, Columns, Rates, encode, field

FIRST_DAY = 20_400
EVERY_CAR = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


@cache
def _stretches(model: CarModel, *, plugged: bool) -> list[Awake]:
    """Some drives or some charges of the first weeks."""
    found: list[Awake] = []
    for stretch in SimCar(model, 1, FIRST_DAY).stretches(0):
        if isinstance(stretch, Awake) and stretch.plugged == plugged:
            found.append(stretch)
            if len(found) == 4:
                return found
    raise AssertionError("life ended")


def _frames(
    model: CarModel, awake: Awake, rates: Rates, from_ms: int | None = None, to_ms: int | None = None
) -> Columns:
    leaf = model.family == "leaf"
    senders = sim_leaf.senders(model) if leaf else sim_imiev.senders(model)
    polls = sim_leaf.polls(model, 1) if leaf else []
    begin_ms = awake.start_ms if from_ms is None else from_ms
    return encode(awake, senders, polls, rates, begin_ms, awake.end_ms if to_ms is None else to_ms)


def _of(frames: Columns, can_id: int) -> tuple[IntArray, IntArray]:
    """Times and bytes (as int64) of one id."""
    which = frames.can_id == can_id
    return frames.wall_ns[which], frames.data[which].astype(np.int64)


def _motorola(data: IntArray, msb: int, length: int) -> IntArray:
    """Bit by bit, to be independent of how the simulator packs."""
    value = np.zeros(len(data), np.int64)
    bit = msb
    for _ in range(length):
        value = value << 1 | (data[:, bit // 8] >> bit % 8 & 1)
        bit = bit - 1 if bit % 8 else bit + 15
    return value


def _charge_ah(times_ns: IntArray, current_a: FloatArray) -> float:
    return float(np.trapezoid(current_a, times_ns / 1e9)) / 3600.0


@EVERY_CAR
@pytest.mark.parametrize("rates", [REAL, ECONOMICAL], ids=["real", "economical"])
@pytest.mark.parametrize("plugged", [False, True], ids=["drive", "charge"])
def test_the_current_in_the_frames_is_the_charge_the_pack_took(
    model: CarModel,
    rates: Rates,
    plugged: bool,
) -> None:
    """An estimator judged by them must be able to reach the truth: sensor error and rounding are all there is."""
    awake = _stretches(model, plugged=plugged)[0]
    frames = _frames(model, awake, rates)
    if model.family == "leaf":
        times_ns, data = _of(frames, 0x1DB)
        raw = _motorola(data, 7, 11)
        valid = raw != 0x3FF
        current_a = np.where(raw > 1023, raw - 2048, raw) * 0.5
    else:
        times_ns, data = _of(frames, 0x373)
        raw = _motorola(data, 23, 16)
        valid = raw != 0
        current_a = raw * 0.01 - 327.0
    hours = awake.seconds / 3600.0
    true_ah = _charge_ah(np.arange(len(awake.current_a)) * int(awake.step_s * 1e9), awake.current_a)
    expected_ah = true_ah * model.bms.gain + model.bms.offset_a * hours
    assert _charge_ah(times_ns[valid], current_a[valid]) == pytest.approx(expected_ah, abs=0.005 * abs(true_ah) + 0.01)


@EVERY_CAR
def test_control_units_that_start_up_say_so(model: CarModel) -> None:
    """The first second is void on real cars; a decoder that believes it would see 511 A."""
    for plugged in (False, True):
        awake = _stretches(model, plugged=plugged)[0]
        frames = _frames(model, awake, REAL, to_ms=awake.start_ms + 5000)
        times_ns, data = _of(frames, 0x1DB if model.family == "leaf" else 0x373)
        raw = _motorola(data, 7, 11) if model.family == "leaf" else _motorola(data, 23, 16)
        void = raw == (0x3FF if model.family == "leaf" else 0)
        since_s = (times_ns - frames.wall_ns[0]) / 1e9
        assert 98 <= void.sum() <= 102
        assert since_s[void].max() < 1.01


@pytest.mark.parametrize("model", [LEAF_24, LEAF_62], ids=["leaf-24", "leaf-62"])
def test_every_checksum_of_the_leaf_is_right(model: CarModel) -> None:
    """Computed bit by bit here and by table there (facts/vehicles.md §3.2)."""
    frames = _frames(
        model, _stretches(model, plugged=True)[0], REAL, to_ms=_stretches(model, plugged=True)[0].start_ms + 60_000
    )
    checked = 0
    for can_id in (0x1DB, 0x1DC, 0x55B):
        _times, data = _of(frames, can_id)
        crc = np.zeros(len(data), np.int64)
        for byte in range(7):
            crc ^= data[:, byte]
            for _bit in range(8):
                crc = np.where(crc & 0x80, (crc << 1) ^ 0x85, crc << 1) & 0xFF
        assert np.array_equal(crc, data[:, 7])
        counter = data[:, 6] & 3
        assert np.all(np.diff(counter) % 4 == 1)
        checked += len(data)
    for can_id in (0x1F2, 0x390):
        _times, data = _of(frames, can_id)
        nibbles = [int(c, 16) for c in f"{can_id:03x}"]
        total = (data[:, :7] >> 4).sum(axis=1) + (data[:, :7] & 15).sum(axis=1) + (data[:, 7] >> 4) + sum(nibbles)
        assert np.array_equal(total & 15, data[:, 7] & 15)
        checked += len(data)
    assert checked > 10_000


def test_the_worked_frames_of_real_cars_pack_to_the_same_bits() -> None:
    """Of a 62 kWh Leaf at full throttle and of an iOn (facts/vehicles.md §3.3, §4.2)."""
    current, wide, volts = field("7|11@0-", 0.5), field("47|12@0-", 0.5), field("23|10@0+", 0.5)
    word = sum(
        int(f.raw(v)) % (1 << f.length) << f.shift for f, v in ((current, -482.5), (wide, -482.5), (volts, 368.5))
    )
    real = bytes.fromhex("8760B86A00C3B259")
    mask = sum(((1 << f.length) - 1) << f.shift for f in (current, wide, volts))
    assert word == int.from_bytes(real, "big") & mask
    ion_a, ion_v = field("23|16@0+", 0.01, -327.0), field("39|16@0+", 0.1)
    word = sum(int(f.raw(v)) << f.shift for f, v in ((ion_a, -76.33), (ion_v, 317.6)))
    assert word == int.from_bytes(bytes.fromhex("0000 61EB 0C68 0000"), "big")
    cell = field("8|8@1+", 0.01, 2.10)
    assert int(cell.raw(3.97)) << cell.shift == int.from_bytes(bytes.fromhex("00BB"), "little")


def test_another_testers_answers_are_whole() -> None:
    """Capacity in Ah comes only this way; the length tells the pack family (facts/vehicles.md §3.4)."""
    for model, length in ((LEAF_24, 0x29), (LEAF_62, 0x35)):
        awake = _stretches(model, plugged=True)[0]
        frames = _frames(model, awake, REAL)
        which = np.isin(frames.can_id, (0x79B, 0x7BB))
        ids, data = frames.can_id[which], frames.data[which]
        rows = [bytes(d) for d in data]
        assert rows[0] == bytes.fromhex("0221010000000000")
        assert (ids[1], rows[1][:4]) == (0x7BB, bytes([0x10, length, 0x61, 0x01]))
        assert (ids[2], rows[2][0]) == (0x79B, 0x30)
        body, place = rows[1][2:], 3
        while len(body) < length:
            assert rows[place][0] == 0x20 | place - 2
            body += rows[place][1:]
            place += 1
        at = 2 + (33 if model is LEAF_24 else 35)
        assert int.from_bytes(body[at : at + 3], "big") == round(awake.bms_capacity_ah * 1e4)


def test_the_small_car_tells_all_its_cells() -> None:
    """Numbering of facts/vehicles.md §4.1: modules 6 and 12 have four cells, 88 in all; together they are the pack."""
    awake = _stretches(IMIEV_16, plugged=True)[0]
    frames = _frames(IMIEV_16, awake, ECONOMICAL, from_ms=awake.start_ms + 10_000, to_ms=awake.start_ms + 20_000)
    cells: dict[int, float] = {}
    for place in range(4):
        _times, data = _of(frames, 0x6E1 + place)
        for module, a, b in zip(data[:, 0] & 15, _motorola(data, 39, 16), _motorola(data, 55, 16), strict=True):
            first = (module - 1) * 8 + 2 * place + 1 - 4 * (module >= 7)
            cells |= {int(first): 2.1 + a * 0.005, int(first) + 1: 2.1 + b * 0.005}
    assert sorted(cells) == list(range(1, 89))
    voltage_v = float(np.interp(10.0, np.arange(len(awake.voltage_v)) * awake.step_s, awake.voltage_v))
    assert sum(cells.values()) == pytest.approx(voltage_v, rel=0.003)


@EVERY_CAR
@pytest.mark.parametrize("rates", [REAL, ECONOMICAL], ids=["real", "economical"])
def test_frames_do_not_depend_on_how_they_are_fetched(model: CarModel, rates: Rates) -> None:
    """A box that restarts, or takes small bites, must hear the same bus: no frame twice, none lost, none altered."""
    awake = _stretches(model, plugged=False)[0]
    whole = _frames(model, awake, rates)
    assert np.all(np.diff(whole.wall_ns) >= 0)

    @settings(max_examples=5, deadline=None)
    @given(cuts=st.lists(st.integers(awake.start_ms, awake.end_ms), max_size=5))
    def check(cuts: list[int]) -> None:
        edges = [awake.start_ms, *sorted(cuts), awake.end_ms]
        parts = [_frames(model, awake, rates, a, b) for a, b in pairwise(edges)]
        for name in ("wall_ns", "can_id", "data"):
            assert np.array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name))

    check()


@EVERY_CAR
def test_real_rates_are_those_of_the_car(model: CarModel) -> None:
    """Measured cycle times of facts/vehicles.md §3.3 and §4.1, over one minute."""
    awake = max(_stretches(model, plugged=False), key=lambda a: a.seconds)
    frames = _frames(model, awake, REAL, to_ms=awake.start_ms + 60_000)
    expected = (
        {0x1DB: 6000, 0x55B: 600, 0x59E: 120, 0x284: 3000}
        if model.family == "leaf"
        else {0x373: 6000, 0x374: 600, 0x6E1: 1500}
    )
    assert {can_id: int((frames.can_id == can_id).sum()) for can_id in expected} == pytest.approx(expected, abs=12)


@EVERY_CAR
def test_economical_frames_leave_no_gap_that_the_box_would_not_bridge(model: CarModel) -> None:
    """Charge is integrated across at most 10 s (facts/soh.md §7)."""
    for plugged in (False, True):
        frames = _frames(model, _stretches(model, plugged=plugged)[0], ECONOMICAL)
        for can_id in set(frames.can_id.tolist()) - {0x79B, 0x7BB, 0x797, 0x79A}:
            times_ns, _data = _of(frames, can_id)
            assert np.diff(times_ns).max() <= 10.1e9


def test_frames_are_made_fast_enough_for_months() -> None:
    """A demo shows 240 days within a minute on two cores, and this is the cheap part of it."""
    awake = _stretches(LEAF_62, plugged=True)[0]
    began = time.perf_counter()
    made = len(_frames(LEAF_62, awake, REAL, to_ms=awake.start_ms + 600_000))
    assert made / (time.perf_counter() - began) > 250_000  # quiet machine: ten times that
