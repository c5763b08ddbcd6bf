"""A log played on the bus against `packbox replay` of the same log: the same frames, values and sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from packbox.adapters import snapshot
from packbox.adapters.journal import JOURNAL_FILE, open_copy
from packbox.adapters.profile_dir import Catalogue
from packbox.app.mind import Saved
from packbox.app.sources import _keys
from packbox.core.box import BoxState
from packbox.core.seen import NAMES
from packbox.sim.car import IMIEV_16, LEAF_24, CarModel
from rig.boxes import DATA, Packbox
from rig.driving import LOG, log_of, play
from rig.figures import FIGURES
from rig.logs import Frame, driven_and_charged, replayed, slice_of
from rig.machine import Rig

SHARED = Path(__file__).resolve().parents[2] / "shared"
KEPT = "/run/hil/kept.log"
SETTINGS = """\
source = "socketcan:{bus}"
profile = "{profile}"
commit_every_s = 1
raw_ring_mb = 16
"""
LATE_MAX_S = 0.5  # a frame's time on the bus, against its time in the log
# Seconds of the box begin elsewhere than those of the replay: a session may gain or lose one at either end.
SECOND_EITHER_END_S = 2.0
SOC_STEP_PCT = {LEAF_24.id: 0.1, IMIEV_16.id: 0.5}  # in which the car counts
COUNTED = ("bad_checksum", "stuck_counter", "wrong_length", "unknown_mux", "implausible_values", "broken_answers")
SAME = (
    "soc_start_pct",
    "soc_end_pct",
    "soh_reported_pct",
    "capacity_reported_ah",
    "odometer_start_km",
    "odometer_end_km",
    "ambient_temp_degc",
    "charge_kind",
)


@dataclass(frozen=True)
class Lived:
    """What the box made of a log that was played on its bus."""

    kept: list[Frame]
    state: BoxState
    health: Mapping[str, Any]
    sessions: Sequence[Mapping[str, Any]]


def lived(rig: Rig, frames: Sequence[Frame], profile: str, tmp_path: Path) -> Lived:
    box = Packbox(rig.box)
    box.configure(SETTINGS.format(bus=rig.box_can, profile=profile))
    box.start()
    known = sum(can_id in heard_ids(profile) for _, can_id, _ in frames)
    play(rig.car, log_of(frames), rig.car_can, within_s=frames[-1][0] + 30)
    status = box.wait_for(f"s['health']['frames'] >= {known}")
    box.stop()
    rig.box.run(f"rm -f {KEPT}; packbox raw export {KEPT} --undated || packbox raw export {KEPT}", within_s=60)
    history = [record for record in box.history() if record["kind"] in ("drive", "charge")]
    journal = tmp_path / JOURNAL_FILE
    journal.write_bytes(rig.box.get(f"{DATA}/{JOURNAL_FILE}"))
    with open_copy(journal) as copy:
        saved = copy.snapshot()
    assert saved is not None
    state = snapshot.load(msgspec.msgpack.decode(saved, type=Saved).state, BoxState)
    return Lived(frames_of(rig.box.get(KEPT).decode()), state, status["health"], history[::-1])


def frames_of(candump: str) -> list[Frame]:
    found = []
    for line in candump.splitlines():
        at, _bus, frame = line.split()[:3]
        can_id, _, data = frame.partition("#")
        found.append((float(at.strip("()")), int(can_id, 16), bytes.fromhex(data)))
    return found


@cache
def heard_ids(profile: str) -> frozenset[int]:
    """What the kernel lets through for this profile."""
    return _keys(Catalogue().find(profile)[0])


def same_frames(what: str, lived: Lived, frames: Sequence[Frame], profile: str) -> None:
    """Each one, in order, byte for byte, at its time."""
    expected = [frame for frame in frames if frame[1] in heard_ids(profile)]
    assert [frame[1:] for frame in lived.kept] == [frame[1:] for frame in expected]
    late_s = np.array([kept[0] for kept in lived.kept]) - np.array([frame[0] for frame in expected])
    late_s -= np.median(late_s)
    FIGURES.tell(f"{what}: frames played, each received as sent", len(expected), "frames")
    FIGURES.tell(f"{what}: a frame's time against the log's, 99 of 100", float(np.quantile(abs(late_s), 0.99)), "s")
    assert abs(late_s).max() < LATE_MAX_S
    assert lived.health["frames_dropped"] == 0


def same_values(lived: Lived, facts: Mapping[str, Any]) -> None:
    seen = lived.state.seen
    got = {
        name: (int(seen.count[k]), *(round(float(column[k]), 6) for column in (seen.last, seen.low, seen.high)))
        for k, name in enumerate(NAMES)
        if seen.count[k]
    }
    expected = {name: (q["count"], q["last"], q["min"], q["max"]) for name, q in facts["quantities"].items()}
    assert got == expected
    refused = {name: getattr(lived.state.refused, name) for name in COUNTED}
    assert refused == {name: facts["refused"][name] for name in COUNTED}


@pytest.mark.parametrize("model", [LEAF_24, IMIEV_16], ids=lambda model: str(model.id))
def test_a_car_on_the_bus_gives_what_its_log_gives(rig: Rig, model: CarModel, tmp_path: Path) -> None:
    """Receiver, filters, clock and fold together, against the fold alone: a drive, a charge, every value."""
    frames = driven_and_charged(model)
    facts = replayed(frames, model.profile, tmp_path)
    made = lived(rig, frames, model.profile, tmp_path)
    same_frames(model.id, made, frames, model.profile)
    same_values(made, facts)
    sessions = facts["sessions"][:-1]  # the last is still open in a car, and closed by the end of a log
    assert [s["kind"] for s in sessions] == [s["kind"] for s in made.sessions] == ["drive", "charge"]
    soc = SOC_STEP_PCT[model.id] + 0.001  # a second more or less is one step at most
    for expected, got in zip(sessions, made.sessions, strict=True):
        assert got["duration_s"] == pytest.approx(expected["duration_s"], abs=SECOND_EITHER_END_S)
        most_a = max(abs(expected["current_max_a"]), abs(expected["current_min_a"]))
        for charge in ("charge_in_ah", "charge_out_ah"):
            second_ah = SECOND_EITHER_END_S * most_a / 3600
            assert got[charge] == pytest.approx(expected[charge], abs=second_ah + 0.001)
        assert {key: got[key] for key in SAME if key in got} == {
            key: pytest.approx(expected[key], abs=soc if key.startswith("soc_") else 0.051)
            if isinstance(expected[key], float)
            else expected[key]
            for key in SAME
            if key in got
        }


RECORDINGS = {
    "leaf-62-quick-charge": ("nissan-leaf-ze1-62kwh/EV_can-bus_from_62_ZE1_QCcharging.txt", "nissan-leaf"),
    "env200-40-startup": ("nissan-env200-40kwh/ME0_40kWh Startup.log", "nissan-leaf"),
    "ion-drive": ("imiev-peugeot-ion/Triplet_2017-04-14_191849.log", "mitsubishi-imiev"),
}


@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_a_recording_of_a_real_car_gives_the_same(rig: Rig, name: str, tmp_path: Path) -> None:
    """Our simulator is ours; these were recorded by others."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here: real recordings may not ship with the project")
    path, profile = RECORDINGS[name]
    frames = slice_of(SHARED / "logs" / path, heard_ids(profile), 8000)
    facts = replayed(frames, profile, tmp_path)
    made = lived(rig, frames, profile, tmp_path)
    same_frames(name, made, frames, profile)
    same_values(made, facts)


def test_the_installed_box_replays_a_log_to_the_same_bytes(rig: Rig, tmp_path: Path) -> None:
    """Another processor, another Python, the libraries of the package: not a digit differs."""
    frames = driven_and_charged(LEAF_24)
    facts = replayed(frames, "nissan-leaf", tmp_path)
    rig.box.put(LOG, log_of(frames))
    there = json.loads(rig.box.run(f"packbox replay {LOG} --profile nissan-leaf --json", within_s=60).out)
    assert {**there, "log": ""} == {**facts, "log": ""}
