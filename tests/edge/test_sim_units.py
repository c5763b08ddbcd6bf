"""How simulated units speak to testers that are not ours: flow control of all kinds, and what any OBD app asks."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from packbox.adapters.profile_dir import Catalogue
from packbox.core.profile import Profile
from packbox.sim.mouth import CAR, separation_s
from packbox.sim.obd import ObdUnit, pages, vin_of
from packbox.sim.units import SimUnits
from packbox.testing.sim_ecu import SimBus

TRUTH = {
    "speed_kmh": 72.4,
    "aux_voltage_v": 14.2,
    "soc_shown_pct": 60.0,
    "pack_voltage_v": 380.25,
    "pack_current_a": -12.3,
    "odometer_km": 98_400.1,
}
VIN = vin_of(7)
NAME = "app"


@pytest.fixture(scope="module")
def leaf() -> Profile:
    return Catalogue().profile("nissan-leaf")


class App:
    """Another's tool on the bus."""

    def __init__(self, leaf: Profile) -> None:
        self.bus = SimBus()
        self.units = SimUnits(self.bus, leaf, lambda: TRUTH, standard=ObdUnit(lambda: TRUTH, VIN))

    async def ask(self, key: int, frame: str, wait_s: float = 0.05) -> list[tuple[int, bytes]]:
        """What the car says to this frame, in order."""
        before = len(self.bus.frames)
        self.bus.send(NAME, key, bytes.fromhex(frame))
        await asyncio.sleep(wait_s)
        return [(frame.key, frame.data) for frame in self.bus.frames[before:] if frame.sender == CAR]


@pytest.mark.looptime
async def test_an_app_reads_speed_voltage_charge_and_vin(leaf: Profile) -> None:
    """The four things that every app on a phone shows first, asked of everybody, with any padding or none."""
    app = App(leaf)
    assert await app.ask(0x7DF, "02 01 0D") == [(0x7E8, bytes.fromhex("03 41 0D 48 AA AA AA AA"))]
    assert await app.ask(0x7DF, "02 01 5B 55 55 55 55 55") == [(0x7E8, bytes.fromhex("03 41 5B 99 AA AA AA AA"))]
    ((_, both),) = await app.ask(0x7E0, "03 01 42 0D")
    assert both[:7] == bytes.fromhex("06 41 42 3778 0D 48")
    ((key, first),) = await app.ask(0x7DF, "02 09 02 00 00 00 00 00")
    rest = await app.ask(0x7E0, "30 00 00")
    vin = first[5:] + b"".join(data[1:] for _, data in rest)
    assert (key, first[:5], vin[:17].decode()) == (0x7E8, bytes.fromhex("10 14 49 02 01"), VIN)


@pytest.mark.looptime
async def test_flow_control_is_obeyed(leaf: Profile) -> None:
    """isotpsend, SavvyCAN and ELM chips ask for blocks and gaps; a car that ignores them is no test of them."""
    app = App(leaf)
    await app.ask(0x79B, "02 21 02")
    assert len(await app.ask(0x79B, "30 04 0A", 0.2)) == 4
    assert len(await app.ask(0x79B, "31 00 00", 0.2)) == 0
    began = len(app.bus.frames)
    rest = await app.ask(0x79B, "30 00 14", 2.0)
    assert [data[0] for _, data in rest[:13]] == [0x25 + k if k < 11 else 0x20 + k - 11 for k in range(13)]
    times = [frame.at_s for frame in app.bus.frames[began:] if frame.sender == CAR]
    assert min(b - a for a, b in pairwise(times)) >= 0.02 - 1e-9
    assert await app.ask(0x79B, "30 00 00") == []  # all was said
    await app.ask(0x79B, "02 21 02")
    assert await app.ask(0x79B, "32 00 00") == []
    assert await app.ask(0x79B, "30 00 00") == []  # the tester gave up
    await app.ask(0x79B, "02 21 02", 1.5)
    assert await app.ask(0x79B, "30 00 00") == []  # too late


def test_the_gap_between_frames_is_read_as_the_standard_has_it() -> None:
    """Reserved values mean the longest gap, never none."""
    assert [separation_s(code) for code in (0, 5, 0x7F, 0x80, 0xF0, 0xF1, 0xF9, 0xFF)] == pytest.approx(
        [0, 0.005, 0.127, 0.127, 0.127, 0.0001, 0.0009, 0.127]
    )


@pytest.mark.looptime
async def test_what_would_change_a_car_is_refused(leaf: Profile) -> None:
    """Somebody will try; and asked of everybody, what nobody knows stays unanswered."""
    app = App(leaf)
    assert [data[1:4] for _, data in await app.ask(0x79B, "05 2E 01 02 03 04")] == [b"\x7f\x2e\x11"]
    assert [data[1:4] for _, data in await app.ask(0x7E0, "01 04")] == [b"\x7f\x04\x22"]
    assert [data[1:4] for _, data in await app.ask(0x7E0, "02 01 0C")] == [b"\x7f\x01\x12"]
    assert [data[1:4] for _, data in await app.ask(0x79B, "03 22 F1 11")] == [b"\x7f\x22\x31"]
    assert await app.ask(0x7DF, "02 01 0C") == []
    assert await app.ask(0x7DF, "04 2E 01 02 03") == []
    assert await app.ask(0x7DF, "02 3E 80") == []
    assert [data[1:3] for _, data in await app.ask(0x79B, "02 3E 00")] == [b"\x7e\x00"]
    assert [data[:1] for _, data in await app.ask(0x79B, "10 0A 22 01 02 03 04 05")] == [b"\x32"]


@pytest.mark.looptime
async def test_torn_frames_and_a_sleeping_car_get_no_answer(leaf: Profile) -> None:
    """A bus is full of what was meant for others."""
    app = App(leaf)
    for torn in ("", "00", "07 01 0D", "0F 01 0D", "21 00", "F0"):
        assert await app.ask(0x7E0, torn) == []
    app.units.asleep = True
    assert await app.ask(0x7DF, "02 01 0D") == []


def test_the_pages_of_what_is_supported_lead_on_to_one_another() -> None:
    """Apps stop asking where the last bit of a page is not set."""
    made = pages({0x01: b"", 0x0D: b"", 0x42: b"", 0xA6: b""})
    assert {base: data.hex() for base, data in made.items()} == {
        0x00: "80080001",
        0x20: "00000001",
        0x40: "40000001",
        0x60: "00000001",
        0x80: "00000001",
        0xA0: "04000000",
    }


def test_what_the_car_does_not_know_is_not_supported() -> None:
    """A made-up zero would be shown as a value."""
    unit = ObdUnit(lambda: {"speed_kmh": 0.0}, VIN)
    assert unit.answer(b"\x01\x00", to_all=True) == bytes.fromhex("41 00 80080010")
    assert unit.answer(b"\x01\x5b", to_all=True) is None
