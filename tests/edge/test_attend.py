"""Twenty-five cars in an afternoon: one command each, minutes, and it ends by itself, whatever the car does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from packbox.adapters.isotp import FrameTester
from packbox.adapters.profile_dir import Catalogue
from packbox.adapters.record_file import read_records
from packbox.app.attend import Attended, attend
from packbox.app.inspect import Material, _car, _inspect
from packbox.app.recognise import UnknownCarError, profiles_of
from packbox.app.sheet import Look
from packbox.core.exchange import harm_reason
from packbox.core.profile import Profile
from packbox.settings import load_settings
from packbox.sim.units import Mood, SimUnits
from packbox.testing.sim_clock import LoopClock
from packbox.testing.sim_ecu import BOX, SimBus, SimBusSource, SimLink

pytestmark = pytest.mark.looptime

MINUTES_MAX_S = 300.0
TRUTH = {
    "aux_voltage_v": 14.2, "capacity_reported_ah": 55.5, "cell_voltage_min_v": 3.71, "cell_voltage_max_v": 3.74,
    "pack_voltage_v": 358.0, "pack_current_a": -1.0, "soc_bms_pct": 55.0, "soc_shown_pct": 54.0,
    "pack_temp_min_degc": 18.0, "pack_temp_max_degc": 20.0, "soh_reported_pct": 91.0, "odometer_km": 43_210.0,
    "ambient_temp_degc": 15.0, "charge_count_ac": 120.0, "charge_count_dc": 14.0, "speed_kmh": 0.0,
}  # fmt: skip


@dataclass
class Yard:
    """A car whose plug is mute until asked, and the box beside it."""

    profiles: list[Profile]
    bus: SimBus
    units: SimUnits
    tester: FrameTester

    async def look(self, known: Profile | None = None) -> Attended:
        source = SimBusSource(self.bus, 10_000.0)
        return await attend(self.profiles, known, source, self.tester, LoopClock(), 240.0)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture(scope="module")
def profiles(catalogue: Catalogue) -> list[Profile]:
    return profiles_of(catalogue)


def yard(
    profiles: list[Profile],
    family: str,
    moods: Mapping[str, Mood] | None = None,
    lengths: Mapping[str, int] | None = None,
) -> Yard:
    bus = SimBus()
    profile = next(p for p in profiles if p.id == family)
    units = SimUnits(bus, profile, lambda: TRUTH, moods=moods, lengths=lengths)
    return Yard(profiles, bus, units, FrameTester(SimLink(bus)))


async def sheet(
    yard: Yard, catalogue: Catalogue, tmp_path: Path, known: Profile | None = None
) -> tuple[Look, list[Path], float]:
    began_s = asyncio.get_running_loop().time()
    look = await yard.look(known)
    took_s = asyncio.get_running_loop().time() - began_s
    car = _car(catalogue, look.detection, None if known is None else (known, None))
    settings = load_settings(None, {"data_dir": tmp_path / "data"})
    material = Material("sim", heard=look.heard, frames_sent=yard.tester.frames_sent)
    made, files = _inspect(car, material, settings, tmp_path / "out")
    return made, files, took_s


LENGTHS = {"nissan-leaf": {"lbc-state": 41}}
FAMILIES = ["nissan-leaf", "hyundai-kia", "vw-meb", "renault-zoe-ph2", "mitsubishi-imiev", "byd-atto3", "toyota-bz4x"]


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_car_with_a_mute_plug_is_recognised_asked_and_done_in_minutes(
    profiles: list[Profile], catalogue: Catalogue, family: str, tmp_path: Path
) -> None:
    """Plug in, one command, next car: identity, health and cells on a sheet, sealed."""
    car = yard(profiles, family, lengths=LENGTHS.get(family))
    look, files, took_s = await sheet(car, catalogue, tmp_path)
    assert look.profile.id == family
    assert took_s < MINUTES_MAX_S
    assert [f for f in car.bus.sent_by(BOX) if harm_reason(f.data)] == []
    assert look.frames_sent == len(car.bus.sent_by(BOX))
    assert look.records == len(list(read_records(files[0])))
    assert "Traction battery inspection" in files[1].read_text()


async def test_generic_obd_is_read_when_a_person_names_it(
    profiles: list[Profile], catalogue: Catalogue, tmp_path: Path
) -> None:
    """What every car says alike proves no family; named, it is asked all the same."""
    generic = catalogue.profile("generic-obd")
    car = yard(profiles, "generic-obd")
    look, _, took_s = await sheet(car, catalogue, tmp_path, generic)
    assert look.profile.id == "generic-obd"
    assert look.found.texts["vin"]
    assert took_s < MINUTES_MAX_S


async def test_a_car_that_refuses_everything_gets_no_sheet(profiles: list[Profile], catalogue: Catalogue) -> None:
    """Locked behind a secure gateway: said, and nothing made up."""
    leaf = catalogue.profile("nissan-leaf")
    car = yard(profiles, "nissan-leaf", moods={p.id: Mood(refuses=0x31) for p in leaf.polls})
    began_s = asyncio.get_running_loop().time()
    look = await car.look()
    assert asyncio.get_running_loop().time() - began_s < MINUTES_MAX_S
    with pytest.raises(UnknownCarError):
        _car(catalogue, look.detection, None)


async def test_a_car_that_is_switched_off_ends_in_minutes_too(profiles: list[Profile], catalogue: Catalogue) -> None:
    """Somebody forgot the key: the next car waits."""
    leaf = catalogue.profile("nissan-leaf")
    car = yard(profiles, "nissan-leaf", moods={p.id: Mood(silent=True) for p in leaf.polls})
    began_s = asyncio.get_running_loop().time()
    look = await car.look()
    assert asyncio.get_running_loop().time() - began_s < MINUTES_MAX_S
    with pytest.raises(UnknownCarError):
        _car(catalogue, look.detection, None)


async def test_a_unit_that_is_not_there_does_not_hold_up_the_others(
    profiles: list[Profile], catalogue: Catalogue, tmp_path: Path
) -> None:
    """A dead module on a damaged car: three questions, then on with the rest."""
    meb = catalogue.profile("vw-meb")
    dead = {p.id for p in meb.polls if p.tx == 0x17FC007B}
    car = yard(profiles, "vw-meb", moods={name: Mood(silent=True) for name in dead})
    look, _, took_s = await sheet(car, catalogue, tmp_path, meb)
    assert look.profile is meb
    assert took_s < 90
    assert len([name for name in car.units.asked if name in dead]) <= 4
