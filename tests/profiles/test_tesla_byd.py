"""Tesla and BYD: firmware told by its frames, packs by voltage, little-endian answers, sums with all bits turned."""

from __future__ import annotations

import cantools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_frames import PROFILES, Frame, batch_of, series
from packbox.adapters.profile_dir import Catalogue
from packbox.core.answers import Window, read
from packbox.core.decode import Decoder
from packbox.core.profile import AnswerField, AnswerLayout, Profile
from packbox.core.readings import Reader
from packbox.core.signals import Refused


@pytest.fixture(scope="module")
def tesla(catalogue: Catalogue) -> Profile:
    return catalogue.profile("tesla-model3")


@pytest.fixture(scope="module")
def byd(catalogue: Catalogue) -> Profile:
    return catalogue.profile("byd-atto3")


def old_energy(full_kwh: float, left_kwh: float, rest: int = 0) -> bytes:
    return (round(full_kwh * 10) | round(left_kwh * 10) << 11 | rest << 22).to_bytes(8, "little")


def new_energy(full_kwh: float, left_kwh: float) -> bytes:
    return b"\0\0" + round(full_kwh * 50).to_bytes(2, "little") + round(left_kwh * 50).to_bytes(2, "little") + bytes(2)


def every_100_ms(frames: list[bytes], can_id: int) -> list[Frame]:
    return [(100.0 * k, can_id, data) for k, data in enumerate(frames)]


# -- Tesla -------------------------------------------------------------------------------------------------------------


def test_the_firmware_is_told_by_what_352_says(tesla: Profile) -> None:
    """The same id, two layouts, no other sign: the wrong one would give a pack of next to nothing."""
    decoder = Decoder(tesla)
    for data, variant, full_kwh in (
        (old_energy(72.4, 40.1), "energy-old", 72.4),
        (new_energy(72.42, 40.12), "energy-new", 72.42),
    ):
        state, decoded = decoder.decode(decoder.start(), batch_of(every_100_ms([data] * 30, 0x352)))
        assert decoder.variant(state) == variant
        assert series(decoded, "energy_full_kwh")[-1][1] == pytest.approx(full_kwh)


def test_until_the_firmware_is_told_352_is_not_read(tesla: Profile) -> None:
    """A number that may be another one is none."""
    decoder = Decoder(tesla)
    state, decoded = decoder.decode(decoder.start(), batch_of(every_100_ms([old_energy(72.4, 40.1)] * 4, 0x352)))
    assert (decoder.variant(state), decoded.signals) == (None, {})


def test_a_single_352_is_read_by_the_layout_that_fits_it(tesla: Profile) -> None:
    """One line of `packbox decode` has no history: the frame itself must tell, or it says nothing."""
    read_alone = Reader(tesla)
    for data, full_kwh in ((old_energy(72.4, 40.1), 72.4), (new_energy(72.42, 40.12), 72.42)):
        assert read_alone.frame(0x352, data)["full_capacity"].value == pytest.approx(full_kwh)
    assert read_alone.frame(0x352, bytes(8)) == {}
    assert Reader(tesla, ["energy-new"]).frame(0x352, old_energy(72.4, 40.1))["energy_of"].value is not None


@given(
    full_kwh=st.floats(20, 130),
    left_share=st.floats(0, 1),
    rest=st.integers(0, (1 << 42) - 1),
)
def test_a_car_with_old_firmware_is_never_taken_for_a_new_one(
    tesla: Profile, full_kwh: float, left_share: float, rest: int
) -> None:
    """Old frames can fit the new layout by chance, frame after frame; the old one always needs fewer of them."""
    decoder = Decoder(tesla)
    full = round(full_kwh, 1)
    frames = [old_energy(full, min(round(full * left_share, 1), full), rest)] * 40
    state, _ = decoder.decode(decoder.start(), batch_of(every_100_ms(frames, 0x352)))
    assert decoder.variant(state) == "energy-old"


def test_driving_off_is_discharge_and_a_plug_is_charge_in_a_tesla(tesla: Profile) -> None:
    """Raw positive is discharge in the car; into the pack is positive here."""
    decoder = Decoder(tesla)
    frames = [(0.0, 0x132, (35620).to_bytes(2, "little") + (1824).to_bytes(2, "little", signed=True) + bytes(4))]
    frames += [(10.0, 0x132, (37104).to_bytes(2, "little") + (-963).to_bytes(2, "little", signed=True) + bytes(4))]
    _, decoded = decoder.decode(decoder.start(), batch_of(frames))
    assert series(decoded, "pack_current_a") == [(0, pytest.approx(-182.4)), (10, pytest.approx(96.3))]


def test_one_id_holds_temperatures_and_cells_in_turn(tesla: Profile) -> None:
    """332 says by its first bits which it is; what it is not is absent, not zero."""
    temperatures = Reader(tesla).frame(0x332, bytes.fromhex("0000837E00000000"))
    cells = Reader(tesla).frame(0x332, bytes.fromhex("051FBB0700000000"))
    assert {n: r.value for n, r in temperatures.items()} == {"extremes_of": 0, "temp_max": 25.5, "temp_min": 23.0}
    assert cells["cell_voltage_max"].value == pytest.approx(3.97)
    assert cells["cell_voltage_min"].value == pytest.approx(3.958)
    assert "temp_max" not in cells


def test_selector_values_never_seen_are_counted_in_a_tesla(tesla: Profile) -> None:
    """A firmware with a third kind of 332 shows in `packbox doctor`."""
    decoder = Decoder(tesla)
    _, decoded = decoder.decode(decoder.start(), batch_of([(0, 0x332, bytes([2]) + bytes(7))]))
    assert (decoded.signals, decoded.refused) == ({}, Refused(unknown_mux=1))


def test_a_dc_charge_is_not_taken_for_none_because_the_ac_side_rests(tesla: Profile) -> None:
    """264 says 0 A all through a DC charge; 29D speaks first then."""
    vehicle = cantools.database.load_file(PROFILES / "tesla-model3/vehicle.dbc")
    ac = vehicle.encode_message(0x264, {"charger_ac_voltage": 0, "charger_ac_current": 0, "charger_ac_power": 0})
    dc = vehicle.encode_message(0x29D, {"charger_dc_current": 150 * 0.0732467, "charger_dc_voltage": 5000 * 0.0732422})
    decoder = Decoder(tesla)
    frames = [(0.0, 0x29D, dc), (50.0, 0x264, ac), (100.0, 0x29D, dc), (20_000.0, 0x264, ac)]
    _, decoded = decoder.decode(decoder.start(), batch_of(frames))
    assert series(decoded, "charge_kind") == [(0, 2.0), (100, 2.0), (20_000, 0.0)]


# -- BYD ---------------------------------------------------------------------------------------------------------------


def with_sum(data: bytes) -> bytes:
    return data[:7] + bytes([~sum(data[:7]) & 0xFF])


def pack_voltage(voltage_v: float) -> bytes:
    return with_sum(bytes(5) + round(voltage_v * 10).to_bytes(2, "little"))


@given(data=st.binary(min_size=7, max_size=7), bit=st.integers(0, 63))
def test_a_byd_frame_with_any_bit_turned_is_refused(byd: Profile, data: bytes, bit: int) -> None:
    """The sum finds every single fault, and nothing of the frame is used then."""
    decoder = Decoder(byd)
    good = with_sum(data)
    bad = (int.from_bytes(good, "little") ^ 1 << bit).to_bytes(8, "little")
    assert decoder.decode(decoder.start(), batch_of([(0, 0x438, good)]))[1].refused.bad_checksum == 0
    _, decoded = decoder.decode(decoder.start(), batch_of([(0, 0x438, bad)]))
    assert (decoded.signals, decoded.refused) == ({}, Refused(bad_checksum=1))


def test_the_pack_is_told_by_its_voltage_and_the_certain_sign_wins(byd: Profile) -> None:
    """104 cells cannot reach 385 V. 126 cells can be below 362 V for a while: empty, under load."""
    decoder = Decoder(byd)
    small, state = every_100_ms([pack_voltage(341)] * 300, 0x438), decoder.start()
    state, _ = decoder.decode(state, batch_of(small))
    assert decoder.variant(state) == "atto3-50"
    state, _ = decoder.decode(state, batch_of(every_100_ms([pack_voltage(412)] * 10, 0x438)))
    assert decoder.variant(state) == "atto3-60"


def test_byd_discharge_is_negative_on_the_battery_bus_and_in_answers(byd: Profile) -> None:
    """Raw 5000 is no current and more is discharge, in both."""
    frame = with_sum(bytes.fromhex("9F01") + (5625).to_bytes(2, "little") + bytes([98, 71, 0]))
    assert Reader(byd).frame(0x444, frame)["pack_current"].value == pytest.approx(-62.5)
    answer = bytes.fromhex("620009") + (5625).to_bytes(2, "little")
    said = Reader(byd).answer(0x7E7, 0x7EF, bytes.fromhex("220009"), answer)
    assert said["pack_current"].value == pytest.approx(-62.5)


@given(raw=st.integers(0, (1 << 32) - 1))
def test_little_endian_kinds_are_read_from_the_lowest_byte(raw: int) -> None:
    """Python's own integers are the oracle, for every width and sign."""
    for kind, width, signed in (
        ("u16le", 2, False), ("u24le", 3, False), ("u32le", 4, False), ("s16le", 2, True), ("s32le", 4, True),
    ):  # fmt: skip
        data = raw.to_bytes(4, "little")
        (reading,) = read(AnswerLayout((), (AnswerField("x", "", kind, 0),)), Window(0, data))
        assert reading.value == int.from_bytes(data[:width], "little", signed=signed)
