"""Simulated cars against the profiles: two transcriptions of the facts, written apart, must say the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cantools
import numpy as np
import pytest

from packbox.adapters.profile_dir import load_profile
from packbox.core.decode import Decoder
from packbox.core.frames import FloatArray, FrameBatch
from packbox.core.signals import Refused
from packbox.core.stamp import BootId
from packbox.sim import imiev as sim_imiev
from packbox.sim import leaf as sim_leaf
from packbox.sim.car import MODELS, Awake, CarModel, SimCar
from packbox.sim.frames import ECONOMICAL, REAL, Columns, encode

EVERY_CAR = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
LEAF_DBC = {
    "leaf-24": ("ev-can.dbc", "battery-aze0.dbc"),
    "leaf-62": ("ev-can.dbc", "battery-ze1-62.dbc"),
    "imiev-16": ("battery.dbc", "car-imiev.dbc"),
}

Truth = Callable[[Awake], FloatArray]
# Signal of the DBC file: what the car really did, and how far rounding and the sensor may move it.
EXPECTED: dict[str, tuple[Truth, float]] = {
    "pack_current": (lambda a: a.sensed_a, 1.5),
    "pack_current_wide": (lambda a: a.sensed_a, 1.5),
    "pack_voltage": (lambda a: a.voltage_v, 0.26),
    "soc_bms": (lambda a: a.soc_bms_pct, 0.26),
    "temp_avg": (lambda a: a.temp_degc, 0.51),
    "temp_max": (lambda a: a.temp_degc + 1.2, 0.51),
    "temp_min": (lambda a: a.temp_degc - 1.2, 0.51),
    "cell_temp_max": (lambda a: a.temp_degc + 1.0, 0.51),
    "cell_temp_min": (lambda a: a.temp_degc - 1.0, 0.51),
    "vehicle_speed": (lambda a: a.speed_kmh, 0.02),
    "odometer": (lambda a: np.floor(a.odometer_km), 1.0),
    "odometer_raw": (lambda a: np.floor(a.odometer_km), 1.0),
    "charge_request": (lambda a: a.charge_kind.astype(float), 0.0),
    "capacity_ah": (lambda a: np.full(len(a.soc), a.bms_capacity_ah), 0.26),
    "ambient_temp": (lambda a: np.full(len(a.soc), a.ambient_degc), 0.26),
}


def _longest(model: CarModel, *, plugged: bool) -> Awake:
    found = []
    for stretch in SimCar(model, 1, 20_400).stretches(0):
        if isinstance(stretch, Awake) and stretch.plugged == plugged:
            found.append(stretch)
            if len(found) == 5:
                return max(found, key=lambda a: a.seconds)
    raise AssertionError("life ended")


def _frames(model: CarModel, awake: Awake, from_s: int, to_s: int) -> Columns:
    leaf = model.family == "leaf"
    senders = sim_leaf.senders(model) if leaf else sim_imiev.senders(model)
    polls = sim_leaf.polls(model, 1) if leaf else []
    return encode(awake, senders, polls, REAL, awake.start_ms + from_s * 1000, awake.start_ms + to_s * 1000)


@EVERY_CAR
@pytest.mark.parametrize("plugged", [False, True], ids=["drive", "charge"])
def test_cantools_reads_from_the_frames_what_the_car_did(model: CarModel, plugged: bool, root: Path) -> None:
    """The simulator packs by its own table, cantools unpacks by the profile's DBC: a mistake in either shows."""
    database = cantools.database.Database()
    for name in LEAF_DBC[model.id]:
        database.add_dbc_file(root / "can_profiles" / model.profile / name)
    awake = _longest(model, plugged=plugged)
    frames = _frames(model, awake, 60, 75)
    knots_s = np.arange(len(awake.soc)) * awake.step_s
    compared: dict[str, int] = {}
    for number in range(0, len(frames), 3):
        try:
            message = database.get_message_by_frame_id(int(frames.can_id[number]))
        except KeyError:
            continue
        assert message.length == frames.length[number]
        at_s = frames.wall_ns[number] / 1e9 - awake.start_ms / 1e3
        decoded = message.decode_simple(bytes(frames.data[number][: message.length]), decode_choices=False)
        for name, value in decoded.items():
            if name in EXPECTED:
                truth, tolerance = EXPECTED[name]
                column = truth(awake)
                low, high = np.interp([at_s - awake.step_s, at_s + awake.step_s], knots_s, column)
                expected = float(np.interp(at_s, knots_s, column))
                slack = tolerance + (0.02 * abs(high - low) if tolerance else abs(high - low))
                assert float(value) == pytest.approx(expected, abs=slack), (name, at_s)
                compared[name] = compared.get(name, 0) + 1
    assert {"pack_current", "pack_voltage", "soc_bms"} <= set(compared)
    assert sum(compared.values()) > 500


@EVERY_CAR
def test_the_box_recognises_the_car_and_refuses_none_of_its_frames(model: CarModel) -> None:
    """Variant and pack found by behaviour, all checksums, lengths and counters accepted, at economical rates too."""
    decoder = Decoder(load_profile(model.profile))
    refused, heard = Refused(), set[str]()
    leaf = model.family == "leaf"
    senders = sim_leaf.senders(model) if leaf else sim_imiev.senders(model)
    polls = sim_leaf.polls(model, 1) if leaf else []
    for plugged in (False, True):
        awake = _longest(model, plugged=plugged)
        frames = encode(awake, senders, polls, ECONOMICAL, awake.start_ms, awake.end_ms)
        n = len(frames)
        mono_ns = frames.wall_ns - 20_000 * 86_400 * 1_000_000_000
        still = np.zeros(n, np.uint8)
        batch = FrameBatch(BootId("b" * 16), None, mono_ns, still, frames.can_id, still, frames.length, frames.data)
        state, decoded = decoder.decode(decoder.start(), batch)
        pack = decoder.pack(state)
        assert pack is not None
        assert pack.id == model.id
        refused += decoded.refused
        heard |= {name for name, signal in decoded.signals.items() if len(signal)}
    harmless = Refused(unknown_frames=refused.unknown_frames, void_values=refused.void_values)
    assert refused == harmless
    assert refused.unknown_frames > 0
    needed = {
        "pack_current_a",
        "pack_voltage_v",
        "soc_bms_pct",
        "soc_shown_pct",
        "speed_kmh",
        "odometer_km",
        "charge_kind",
    }
    needed |= {"capacity_reported_ah", "cell_voltage_min_v", "cell_voltage_max_v", "pack_temp_max_degc"}
    assert needed <= heard
