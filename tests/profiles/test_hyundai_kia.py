"""Hyundai and Kia: one family of answers, told apart by what they hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from can_frames import batch_of, iso_tp
from packbox.__main__ import main
from packbox.adapters.profile_dir import Catalogue
from packbox.core.decode import Decoder, DecodeState
from packbox.core.profile import Profile
from packbox.core.signals import Decoded

FIRST, SECOND = "FFF7E7FF", "EFFBE7EF"


@pytest.fixture(scope="module")
def family(catalogue: Catalogue) -> Profile:
    return catalogue.profile("hyundai-kia")


def state_answer(mark: str, voltage_v: float, cell_v: float, soc_pct: float = 50, current_a: float = 0) -> bytes:
    """Answer to 22 0101. The current is positive into the pack; the car counts the other way."""
    data = bytearray(59)
    data[:4] = bytes.fromhex(mark)
    data[4] = round(soc_pct * 2)
    data[10:12] = round(-current_a * 10).to_bytes(2, "big", signed=True)
    data[12:14] = round(voltage_v * 10).to_bytes(2, "big")
    data[23] = data[25] = round(cell_v / 0.02)
    data[30:34] = (123_456).to_bytes(4, "big")
    return b"\x62\x01\x01" + bytes(data)


def hear(profile: Profile, *answers: bytes) -> tuple[Decoder, DecodeState, list[Decoded]]:
    """Listen to a tester that gets these answers, one a second, each a batch."""
    decoder = Decoder(profile)
    state = decoder.start()
    results = []
    for second, answer in enumerate(answers):
        frames = [(second * 1000 + 5 * k, 0x7EC, frame) for k, frame in enumerate(iso_tp(answer, 0xAA))]
        state, decoded = decoder.decode(state, batch_of(frames))
        results.append(decoded)
    return decoder, state, results


@pytest.mark.parametrize(
    ("mark", "voltage_v", "cell_v", "variant"),
    [
        (FIRST, 354.5, 3.60, "first-98"),
        (FIRST, 327.6, 3.64, "first"),  # 90 cells: a smaller pack that no answer has shown yet
        (SECOND, 619.6, 3.44, "egmp-180"),
        (SECOND, 734.6, 3.82, "egmp-192"),
        (SECOND, 610.5, 4.02, "egmp-152"),
        ("EFFBE7ED", 351.6, 3.64, "second-96"),
        (SECOND, 399.6, 3.70, "second-108"),
        (SECOND, 529.0, 4.0, "second"),
        ("00000000", 354.5, 3.60, None),
    ],
)
def test_the_mark_tells_the_generation_and_the_voltages_tell_the_cells(
    family: Profile, mark: str, voltage_v: float, cell_v: float, variant: str | None
) -> None:
    """A Niro of 2022 and one of 2023 share a name and nothing else; cells that were never seen stay unknown."""
    decoder, state, _ = hear(family, *[state_answer(mark, voltage_v, cell_v)] * 2)
    assert decoder.variant(state) == variant


def test_a_single_answer_does_not_tell_the_cells(family: Profile) -> None:
    """Voltages of one answer may stem from two moments."""
    decoder, state, _ = hear(family, state_answer(SECOND, 619.6, 3.44))
    assert decoder.variant(state) == "second"
    assert decoder.pack(state) is not None


def test_a_sleeping_bms_gives_its_counters_and_nothing_else(family: Profile) -> None:
    """It still answers, with 356 V and zeros everywhere else: a SoC of 0 % would end a history."""
    _, state, (decoded,) = hear(family, state_answer(FIRST, 356.6, 0, soc_pct=0))
    assert {name: signal.value.tolist() for name, signal in decoded.signals.items()} == {
        "lifetime_charge_in_ah": [12_345.6]
    }
    assert state.evidence[[e.name for e in family.evidence].index("mark-first")] == 1


def test_current_into_the_pack_is_positive(family: Profile) -> None:
    """The car counts discharge as positive, on the plug and on the P-CAN."""
    _, _, (polled,) = hear(family, state_answer(SECOND, 700, 3.65, current_a=15.6))
    assert polled.signals["pack_current_a"].value.tolist() == pytest.approx([15.6])
    decoder = Decoder(family, "first-98")
    braking = bytes.fromhex("1A00B4B5") + (-500).to_bytes(2, "little", signed=True) + (3550).to_bytes(2, "little")
    _, broadcast = decoder.decode(decoder.start(), batch_of([(0, 0x595, braking)]))
    assert broadcast.signals["pack_current_a"].value.tolist() == [50.0]


def test_the_other_bus_of_a_kona_says_nothing(family: Profile) -> None:
    """595 and 596 exist on the C-CAN too: read as the P-CAN's they would be 355 A and -2 degrees."""
    frames = [(k * 100.0, 0x595, bytes.fromhex("00001800DE0D0000")) for k in range(50)]
    frames += [(k * 100.0 + 1, 0x596, bytes.fromhex("800000008000FE89")) for k in range(50)]
    for variant in ("first-98", None):
        decoder = Decoder(family, variant)
        state, decoded = decoder.decode(decoder.start(), batch_of(sorted(frames), bus=1))
        assert decoded.signals == {}
        assert decoder.variant(state) == variant


def climate_answer(speed_kmh: int) -> bytes:
    data = bytearray(40)
    data[29] = speed_kmh
    return b"\x62\x01\x00" + bytes(data)


def test_answers_alone_make_a_drive_and_a_charge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is broadcast on the plug of these cars: all sessions must come from what is asked."""
    lines: list[str] = []
    soc_pct, at_s = 60.0, 1_700_000_000

    def say(at_s: int, rx: int, answer: bytes) -> None:
        lines.extend(f"({at_s}.{k:06d}) can0 {rx:03X}#{f.hex()}" for k, f in enumerate(iso_tp(answer, 0xAA)))

    # (seconds, between two answers, current into the pack, speed)
    for seconds, step_s, current_a, speed_kmh in (
        (60, 10, -1.0, 0),
        (600, 2, -40.0, 60),
        (60, 10, -1.0, 0),
        (1200, 5, 15.0, 0),
        (60, 10, -0.5, 0),
    ):
        for second in range(at_s, at_s + seconds, step_s):
            soc_pct += current_a * step_s / 3600 / 115 * 100
            say(second, 0x7EC, state_answer(SECOND, 710.4, 3.7, soc_pct, current_a))
            if (second - at_s) % 10 == 0:
                say(second, 0x7BB, climate_answer(speed_kmh))
        at_s += seconds
    log = tmp_path / "answers.log"
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert main(["replay", str(log), "--profile", "hyundai-kia", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["variant"] == "egmp-192"
    drive, charge = told["sessions"]
    assert (drive["kind"], charge["kind"]) == ("drive", "charge")
    assert (drive["charge_out_ah"], charge["charge_in_ah"]) == pytest.approx((40 / 6, 5), rel=0.02)
