"""29-bit ids: never taken for 11-bit ones, J1939 groups from any sender, questions and answers of a MEB car."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from can_frames import PROFILES, Frame, batch_of, iso_tp, series
from packbox.adapters.profile_dir import Catalogue, load_profile
from packbox.app import sources
from packbox.app.decode import LineDecoder
from packbox.app.mind import Bookmark
from packbox.core.decode import Decoder
from packbox.core.frames import EXTENDED, FrameBatch
from packbox.core.profile import EXTENDED_BIT, Profile, group_key, message_key
from packbox.core.readings import Reader, UnreadableError
from packbox.core.signals import Refused
from packbox.ports import ProfileError
from packbox.testing.sim_clock import SimClock

HVESSD1: Final = 0x0CF090F3
SPEED: Final = 0x18FEF100

TWINS_DBC: Final = """VERSION ""
BS_:
BU_: X
BO_ 291 Short: 8 X
 SG_ pack_voltage : 0|16@1+ (0.1,0) [0|6553.5] "V" X
BO_ 2147483939 Long: 8 X
 SG_ soc_bms : 0|8@1+ (1,0) [0|255] "%" X
"""

TWINS_TOML: Final = """
id = "twins"
name = "two messages of one number"
licence = "CC0"
native_current_positive = "charge"
[sources]
us = "made up"
[buses.CAN]
bitrate = 500000
where = "nowhere"
[rules]
charging = []
driving = []
[[packs]]
id = "twins"
chemistry = "unknown"
[[variants]]
id = "twins"
name = "twins"
pack = "twins"
dbc = ["twins.dbc"]
[vehicles]
[messages.123]
bus = "CAN"
grade = "R"
source = "us"
signals = { pack_voltage = { quantity = "pack_voltage_v" } }
[messages.00000123]
bus = "CAN"
grade = "R"
source = "us"
signals = { soc_bms = { quantity = "soc_bms_pct" } }
"""


def long_batch(frames: list[Frame]) -> FrameBatch:
    """The same frames with 29-bit ids."""
    batch = batch_of(frames)
    return replace(batch, flags=np.full(len(batch), EXTENDED, np.uint8))


@pytest.fixture
def twins(tmp_path: Path) -> Path:
    """A folder with one profile: 123 with 11 bits is a voltage, with 29 bits a state of charge."""
    home = tmp_path / "twins"
    home.mkdir()
    (home / "twins.dbc").write_text(TWINS_DBC, encoding="utf-8")
    (home / "profile.toml").write_text(TWINS_TOML, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def j1939(catalogue: Catalogue) -> Profile:
    return catalogue.profile("j1939")


@pytest.fixture(scope="module")
def meb(catalogue: Catalogue) -> Profile:
    return catalogue.profile("vw-meb")


def hvessd1(voltage_v: float, current_a: float, limit_raw: int = 0xFFFF) -> bytes:
    raw = (limit_raw, limit_raw, round(voltage_v / 0.05), round((current_a + 1600) / 0.05))
    return b"".join(value.to_bytes(2, "little") for value in raw)


# -- one number, two ids -----------------------------------------------------------------------------------------------


def test_one_number_with_11_and_with_29_bits_is_two_messages(twins: Path) -> None:
    """A truck's 00000123 on a car's wires must not become a voltage."""
    decoder = Decoder(load_profile("twins", twins))
    data = (3600).to_bytes(2, "little") + bytes(6)
    state, short = decoder.decode(decoder.start(), batch_of([(0, 0x123, data)]))
    _, long = decoder.decode(state, long_batch([(10, 0x123, bytes([55]) + bytes(7))]))
    assert (series(short, "pack_voltage_v"), series(short, "soc_bms_pct")) == ([(0, 360.0)], [])
    assert (series(long, "pack_voltage_v"), series(long, "soc_bms_pct")) == ([], [(10, 55.0)])


def test_a_29_bit_twin_of_a_car_s_own_id_is_a_stranger(catalogue: Catalogue) -> None:
    """All families but the truck's know 11-bit broadcasts only: the flag alone makes a frame unknown."""
    decoder = Decoder(catalogue.profile("nissan-leaf"))
    frame = (0.0, 0x1DB, bytes.fromhex("8760B86A00C3B259"))
    assert decoder.decode(decoder.start(), batch_of([frame]))[1].refused == Refused()
    assert decoder.decode(decoder.start(), long_batch([frame]))[1].refused == Refused(unknown_frames=1)
    assert (decoder.knows(0x1DB), decoder.knows(message_key(0x1DB, extended=True))) == (True, False)


def test_single_lines_say_which_of_the_two_they_mean(twins: Path) -> None:
    """Numbers that fit 11 bits are short unless `extended` says so; numbers that do not cannot be called short."""
    lines = LineDecoder(Catalogue(twins), "twins")
    line = {"kind": "frame", "can_id": "0x123", "data_hex": "3700000000000000"}

    def said(**more: object) -> str:
        return json.dumps(lines.decode(json.dumps(line | more)))

    assert "pack_voltage" in said()
    assert "pack_voltage" in said(extended=False)
    assert "soc_bms" in said(extended=True)
    assert "not in profile" in said(can_id="0x10000123")
    assert "more than 11 bits" in said(can_id="0x10000123", extended=False)


# -- J1939 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("can_id", [0x0CF090F3, 0x18F090F3, 0x0CF09027, 0x00F09000, 0x1CF090FF])
def test_a_group_is_known_whoever_sends_it_with_whatever_priority(j1939: Profile, can_id: int) -> None:
    """Priority and address are the sender's business; what the frame says is told by its group."""
    decoder = Decoder(j1939, "charge-positive")
    _, decoded = decoder.decode(decoder.start(), long_batch([(0, can_id, hvessd1(664, -30))]))
    assert series(decoded, "pack_voltage_v") == [(0, 664.0)]
    assert series(decoded, "pack_current_a") == [(0, -30.0)]
    assert decoder.knows(message_key(can_id, extended=True))
    assert Reader(j1939).frame(can_id, hvessd1(664, -30), extended=True)["pack_current"].value == -30


@pytest.mark.parametrize("can_id", [0x0DF090F3, 0x0EF090F3, 0x0CF190F3, 0x0CEF90F3, 0x0C9090F3])
def test_another_page_format_or_group_is_another_message(j1939: Profile, can_id: int) -> None:
    """Only priority and source address may differ: data page, format and extension are part of the group."""
    decoder = Decoder(j1939)
    _, decoded = decoder.decode(decoder.start(), long_batch([(0, can_id, hvessd1(664, -30))]))
    assert (decoded.signals, decoded.refused) == ({}, Refused(unknown_frames=1))
    with pytest.raises(UnreadableError, match="not in profile"):
        Reader(j1939).frame(can_id, hvessd1(664, -30), extended=True)


def test_of_several_senders_one_speaks_and_the_next_takes_over_when_it_is_gone(j1939: Profile) -> None:
    """Two packs on one bus must not become one that jumps."""
    decoder = Decoder(j1939)
    both = [(100 * k, 0x0CF090F3 + k % 2, hvessd1(664 if k % 2 == 0 else 512, 0)) for k in range(10)]
    alone = [(11_000 + 100 * k, 0x0CF090F4, hvessd1(512, 0)) for k in range(2)]
    frames = [*both, *alone]
    expected = [(200.0 * k, 664.0) for k in range(5)] + [(11_000.0, 512.0), (11_100.0, 512.0)]
    _, at_once = decoder.decode(decoder.start(), long_batch(frames))
    assert series(at_once, "pack_voltage_v") == expected
    state, singly = decoder.start(), []
    for frame in frames:
        state, decoded = decoder.decode(state, long_batch([frame]))
        singly += series(decoded, "pack_voltage_v")
    assert singly == expected


@pytest.mark.parametrize("raw", [0xFB00, 0xFDFF, 0xFE00, 0xFEFF, 0xFF00, 0xFFFF])
def test_reserved_error_and_not_available_never_become_numbers(j1939: Profile, raw: int) -> None:
    """255.99 km/h would pass for a fast lorry."""
    decoder = Decoder(j1939)
    data = b"\xff" + raw.to_bytes(2, "little") + b"\xff" * 5
    _, decoded = decoder.decode(decoder.start(), long_batch([(0, SPEED, data)]))
    assert (decoded.signals, decoded.refused) == ({}, Refused(void_values=1))
    assert Reader(j1939).frame(SPEED, data, extended=True)["vehicle_speed"].value is None
    last_good = b"\xff" + (0xFAFF).to_bytes(2, "little") + b"\xff" * 5
    assert Reader(j1939).frame(SPEED, last_good, extended=True)["vehicle_speed"].value == pytest.approx(
        250.996, abs=1e-3
    )


def test_a_current_whose_sign_nobody_proved_is_shown_and_not_stored(j1939: Profile) -> None:
    """A wrong sign would make charging out of driving; a person must look once, then name what was seen."""
    batch = long_batch([(0, HVESSD1, hvessd1(664, -30))])
    stored = {
        variant: [value for _, value in series(decoder.decode(decoder.start(), batch)[1], "pack_current_a")]
        for variant in (None, "charge-positive", "discharge-positive")
        if (decoder := Decoder(j1939, variant))
    }
    assert stored == {None: [], "charge-positive": [-30.0], "discharge-positive": [30.0]}
    assert Reader(j1939).frame(HVESSD1, hvessd1(664, -30), extended=True)["pack_current"].value == -30


def test_the_kernel_lets_every_sender_of_a_group_through(j1939: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter for one address would make the other packs silent."""
    from packbox.adapters import can_bus, can_socket

    asked: list[can_socket.Interface] = []
    monkeypatch.setattr(can_bus, "SocketCanSource", lambda interfaces, _clock: asked.extend(interfaces))
    sources.open_source("socketcan:can0", Bookmark(), SimClock(), j1939, None)
    found = [f for f in asked[0].ids if 0x18F090AB & f.mask == f.can_id & f.mask]
    assert [(f.extended, f.mask) for f in found] == [(True, 0x03FFFF00)]


def test_a_group_key_is_no_id(j1939: Profile) -> None:
    """It stands for many ids, so it is none of them."""
    assert j1939.detect == (group_key(HVESSD1),)
    assert group_key(HVESSD1) == group_key(0x18F09001) != HVESSD1 | EXTENDED_BIT


# -- MEB ---------------------------------------------------------------------------------------------------------------


def test_answers_on_29_bit_ids_are_read_whoever_asked(meb: Profile) -> None:
    """A phone app asks; the box listens and has current and voltage without sending a frame."""
    decoder = Decoder(meb)
    frames = [
        (0.0, 0x17FC007B, bytes.fromhex("03221E3B55555555")),
        (5.0, 0x17FE007B, bytes.fromhex("05621E3B0640AAAA")),
        (10.0, 0x17FC007B, bytes.fromhex("03221E3E55555555")),
        (15.0, 0x17FE007B, bytes.fromhex("07621E3E00027100")),
    ]
    _, decoded = decoder.decode(decoder.start(), long_batch(frames))
    assert series(decoded, "pack_voltage_v") == [(5, 400.0)]
    assert series(decoded, "pack_current_a") == [(15, 100.0)]


def test_long_and_short_answer_ids_of_one_car_stand_side_by_side(meb: Profile) -> None:
    """The gateway answers on 11 bits, the battery on 29; the same bytes on the other kind of id are nobody's."""
    decoder = Decoder(meb)
    gateway = [(0.0, 0x77A, bytes.fromhex("05622AB204B0AAAA"))]
    _, decoded = decoder.decode(decoder.start(), batch_of(gateway))
    assert series(decoded, "energy_full_kwh") == [(0, 60.0)]
    assert decoder.decode(decoder.start(), long_batch(gateway))[1].refused == Refused(unknown_frames=1)


def test_a_long_answer_on_a_29_bit_id_is_put_together(meb: Profile) -> None:
    """The lifetime counters take four frames."""
    answer = bytes.fromhex("621E32" + "00" * 8 + "04F1A2B3" + "FB5C1D2E")
    frames = [(5.0 * k, 0x17FE007B, frame) for k, frame in enumerate(iso_tp(answer, 0xAA))]
    decoder = Decoder(meb)
    _, decoded = decoder.decode(decoder.start(), long_batch(frames))
    ((_, energy_in_kwh),) = series(decoded, "lifetime_energy_in_kwh")
    ((_, energy_out_kwh),) = series(decoded, "lifetime_energy_out_kwh")
    assert (energy_in_kwh, energy_out_kwh) == (pytest.approx(0x04F1A2B3 / 8583.07), pytest.approx(0x04A3E2D2 / 8583.07))


def test_every_cell_is_a_question_of_its_own(meb: Profile) -> None:
    """One identifier a cell: 108 polls from five lines of the profile."""
    cells = [p for p in meb.polls if p.id.startswith("bms-cell-") and p.id[-1].isdigit()]
    assert len(cells) == 108
    assert (cells[0].request.hex(), cells[-1].request.hex()) == ("221e40", "221eab")
    assert cells[-1].layouts[0].fields[0].name == "cell_voltage_108"


# -- what a profile may say of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "old", "new", "key", "reason"),
    [
        (
            "tesla-model3",
            "[messages.352]",
            "[messages.352]\nany_sender = true",
            "messages.352.any_sender",
            "from F000 on",
        ),
        (
            "j1939",
            'variants = ["charge-positive"]',
            'variants = ["forward"]',
            "pack_current.uses.variants",
            "'forward'",
        ),
        ("vw-meb", "repeat = 108", "repeat = 1", "polls.18.repeat", "greater than or equal to 2"),
        ("vw-meb", 'name = "cell_voltage_{n}"', 'name = "cell_voltage"', "polls.18", "with {n} in id and names"),
        ("vw-meb", 'request = "22 1E 40"', 'request = "22 FF F0"', "polls.18", "within the 16 bits"),
        ("vw-meb", "prefer = 25", 'variants = ["meb"]', "uses.variants", "polls are the same in all variants"),
        ("tesla-model3", 'variant = "energy-old", s', 'variant = "energy", s', "evidence.0.value.variant", "'energy'"),
        ("tesla-model3", 'signal = "full_c', 'signal = "empty_c', "evidence.0.value", "not the same in energy-old"),
    ],
)
def test_what_cannot_hold_is_refused_with_its_key(
    tmp_path: Path, family: str, old: str, new: str, key: str, reason: str
) -> None:
    """Someone writes a profile in an evening: the message names file, key and reason."""
    shutil.copytree(PROFILES / family, tmp_path / family)
    file = tmp_path / family / "profile.toml"
    content = file.read_text(encoding="utf-8")
    assert old in content
    file.write_text(content.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ProfileError, match=re.escape(key)) as refused:
        load_profile(family, tmp_path)
    assert str(file) in str(refused.value)
    assert reason in str(refused.value)
