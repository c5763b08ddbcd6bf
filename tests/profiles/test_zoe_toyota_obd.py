"""Zoe, Ariya, bZ4X, RAV4 PHEV, the CHAdeMO plug and generic OBD-II: what they promise beyond their vectors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from can_frames import PROFILES, batch_of, iso_tp, series
from packbox.adapters.logs import read_log
from packbox.adapters.profile_dir import Catalogue, load_profile
from packbox.core.answers import Window, read
from packbox.core.decode import Decoder, DecodeState
from packbox.core.frames import EXTENDED, FrameBatch
from packbox.core.profile import Profile
from packbox.core.signals import Decoded, Signal
from packbox.ports import ProfileError

FAMILIES = ("renault-zoe", "nissan-ariya", "toyota-", "chademo", "generic-obd")
PROFILE_IDS = (
    *("renault-zoe-ph1", "renault-zoe-ph2", "nissan-ariya", "toyota-bz4x", "toyota-rav4-phev", "chademo"),
    "generic-obd",
)
QUICK_CHARGE = "nissan-leaf-ze1-62kwh/ZE1-chademo-starting-and-charging.csv"
FUNCTIONAL = 0x7DF
ZOE_LBC, ZOE_EVC, ZOE_ALL = 0x18DAF1DB, 0x18DAF1DA, 0x18DB33F1

Sent = tuple[float, int, bytes]


def long_ids(batch: FrameBatch) -> FrameBatch:
    """The same frames with 29-bit ids."""
    return replace(batch, flags=np.full(len(batch), EXTENDED, np.uint8))


def hear(profile: Profile, batch: FrameBatch) -> tuple[Decoder, DecodeState, Decoded]:
    decoder = Decoder(profile)
    state, decoded = decoder.decode(decoder.start(), batch)
    return decoder, state, decoded


def answers(*spoken: tuple[int, str], step_ms: float = 1000) -> list[Sent]:
    """Whole answers (id, hex), one each `step_ms`."""
    frames: list[Sent] = []
    for number, (can_id, content) in enumerate(spoken):
        for k, frame in enumerate(iso_tp(bytes.fromhex(content), 0xAA)):
            frames.append((number * step_ms + 5 * k, can_id, frame))
    return frames


def asked(request: str) -> bytes:
    content = bytes.fromhex(request)
    return (bytes([len(content)]) + content).ljust(8, b"\xaa")


# -- all shared vectors, by the vehicle's name alone -------------------------------------------------------------------


def test_every_shared_vector_of_these_families_passes_through_the_command(shared: Path) -> None:
    """Real frames and answers, judged by what others measured; nobody names a profile."""
    vectors = json.loads((shared / "facts/vehicle-test-vectors.json").read_bytes())
    vectors = [v for v in vectors if v["vehicle"].startswith(FAMILIES)]
    assert len(vectors) >= 43
    wrong = []
    for vector, answer in zip(vectors, decode_lines(vectors), strict=True):
        got = answer.get("signals", {})
        wrong += [
            (vector["id"], name, got.get(name), want, answer.get("error"))
            for name, want in vector["expected"].items()
            if not agrees(got.get(name), want)
        ]
    assert wrong == []


def decode_lines(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "packbox", "decode"],
        input="".join(f"{json.dumps(line)}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def agrees(got: dict[str, Any] | None, want: dict[str, Any]) -> bool:
    if got is None or got["unit"] != want["unit"]:
        return False
    a, b = got["value"], want["value"]
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= max(1e-4 * abs(b), 1e-6)
    return bool(a == b)


@pytest.mark.parametrize("profile_id", PROFILE_IDS)
def test_random_bytes_never_raise(catalogue: Catalogue, profile_id: str) -> None:
    """An ECU may answer anything; what does not fit is absent."""
    layouts = [layout for poll in catalogue.profile(profile_id).questions for layout in poll.layouts]

    @settings(max_examples=60, deadline=None)
    @given(data=st.binary(max_size=260))
    def survives(data: bytes) -> None:
        for layout in layouts:
            read(layout, Window(0, data))

    survives()


# -- generic OBD-II: several ECUs answer one question ------------------------------------------------------------------


def test_answers_of_several_ecus_to_one_question_stay_apart(catalogue: Catalogue) -> None:
    """Two ECUs give two states of charge. Mixed, they would look like a battery that jumps."""
    question = asked("015B")
    frames: list[Sent] = []
    for k in range(5):
        frames.append((k * 1000, FUNCTIONAL, question))
        frames += [(k * 1000 + 5, 0x7EC, iso_tp(b"\x41\x5b\x80")[0]), (k * 1000 + 6, 0x7E8, iso_tp(b"\x41\x5b\xcc")[0])]
    _, state, decoded = hear(catalogue.profile("generic-obd"), batch_of(frames))
    # 7E8 stands first in the list; 7EC speaks only until it is heard.
    values = [round(value, 2) for _, value in series(decoded, "soc_shown_pct")]
    assert values == [50.2, 80.0, 80.0, 80.0, 80.0, 80.0]
    assert [voice.source for voice in state.heard["soc_shown_pct"]] == ["soc.soc_generic", "soc@7EC.soc_generic"]


def test_two_answers_that_come_interleaved_are_both_put_together(catalogue: Catalogue) -> None:
    """A question to all is answered by all at once, frame by frame in turn."""
    one = iso_tp(bytes.fromhex("419A06006440FF9C"))
    other = iso_tp(bytes.fromhex("419A02005DC00000"))
    frames = [
        (0, FUNCTIONAL, asked("019A")),
        (1, 0x7E8, one[0]),
        (2, 0x7EA, other[0]),
        (3, 0x7EA, other[1]),
        (4, 0x7E8, one[1]),
    ]
    _, state, decoded = hear(catalogue.profile("generic-obd"), batch_of(frames))
    assert decoded.refused.broken_answers == 0
    assert [voice.source for voice in state.heard["pack_voltage_v"]] == [
        "pack.hybrid_pack_voltage",
        "pack@7EA.hybrid_pack_voltage",
    ]


def test_one_question_is_asked_once_however_many_may_answer(catalogue: Catalogue) -> None:
    """Eight answering ids must not make eight questions: each frame we send is one too many."""
    profile = catalogue.profile("generic-obd")
    asking = [(p.tx_key, p.request) for p in profile.questions]
    assert len(asking) == len(set(asking))
    silent = [p for p in profile.polls if p.asked_by is not None]
    assert all(not p.every_s and not p.once for p in silent)
    assert {p.asked_by for p in silent} <= {p.id for p in profile.questions}
    assert len({p.id for p in profile.polls}) == len(profile.polls)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('groups = ["obd-11", "obd-29"]', 'groups = ["obd-12"]', "polls.0.groups: 'obd-12' is not in [groups]"),
        ('groups = ["obd-11", "obd-29"]', "groups = []", "either tx and rx or groups"),
        ('groups = ["obd-11", "obd-29"]', 'tx = "7DF"', "either tx and rx or groups"),
        ('groups = ["obd-11", "obd-29"]', 'groups = ["obd-11"]\ntx = "7DF"\nrx = "7E8"', "either tx and rx or groups"),
        ('"7E8", "7E9"', '"7E8", "7E8"', "groups.obd-11: an id stands there twice"),
        ('tx = "18DB33F1"', 'tx = "7DF"', "groups.obd-29: tx and rx must both be"),
        ('id = "soc"', 'id = "soc@7E8"', "polls.12.id"),
        ("bits = 2", "bits = 0", "only_if.bits"),
        ('request = "01 5B"', 'request = "04 5B"', "service 04 is not one of those that only read"),
    ],
)
def test_groups_that_do_not_hold_are_refused_by_name(tmp_path: Path, old: str, new: str, reason: str) -> None:
    """Someone adds the address of their car's ECU and must see what is wrong with it."""
    shutil.copytree(PROFILES / "generic-obd", tmp_path / "generic-obd")
    file = tmp_path / "generic-obd/profile.toml"
    content = file.read_text(encoding="utf-8")
    assert old in content
    file.write_text(content.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profile("generic-obd", tmp_path)
    assert reason in str(caught.value)


def test_a_module_voltage_of_nought_is_told_and_feeds_nothing(catalogue: Catalogue) -> None:
    """Some ECUs answer 0 V. A box that believed it would think its 12 V battery dead and stop."""
    frames = answers((0x7E8, "41420000"), (0x7E8, "4142372E"))
    _, _, decoded = hear(catalogue.profile("generic-obd"), batch_of(frames))
    assert series(decoded, "aux_voltage_v") == [(1000, pytest.approx(14.126))]
    assert decoded.refused.void_values == 1
    assert decoded.refused.implausible_values == 0


def test_what_the_first_byte_of_9a_does_not_vouch_for_is_void(catalogue: Catalogue) -> None:
    """The Zoe's battery answers 9A with bytes that mean nothing; the support bits are all that tells."""
    _, _, decoded = hear(catalogue.profile("generic-obd"), batch_of(answers((0x7E8, "419A050058ED0000"))))
    assert decoded.signals == {}


@pytest.mark.parametrize(("tx", "rx"), [("0x7E4", "0x7EC"), ("0x7DF", "0x7EC")])
def test_an_ecu_asked_by_its_own_id_gives_the_same_answer(tx: str, rx: str) -> None:
    """Testers ask one ECU or all of them; the answer is the same bytes on the same id."""
    line = {"vehicle": "generic-obd", "kind": "uds-response", "tx": tx, "rx": rx, "request_hex": "015B"}
    (answer,) = decode_lines([line | {"data_hex": "415B33"}])
    assert answer == {"signals": {"soc_generic": {"value": 20, "unit": "%"}}}


# -- Zoe ---------------------------------------------------------------------------------------------------------------


def test_the_generic_answers_of_the_zoe_battery_are_not_believed(catalogue: Catalogue) -> None:
    """It answers 46 and 9A with nonsense: only what the other ECU says counts."""
    frames = answers((ZOE_LBC, "4146FF"), (ZOE_EVC, "41463D"), (ZOE_LBC, "419AF72800409330"), (ZOE_EVC, "415B86"))
    _, _, decoded = hear(catalogue.profile("renault-zoe-ph2"), long_ids(batch_of(frames)))
    assert {name: [v for _, v in series(decoded, name)] for name in decoded.signals} == {
        "ambient_temp_degc": [21],
        "soc_shown_pct": [pytest.approx(52.549, abs=1e-3)],
    }


def test_a_29_bit_answer_is_not_taken_for_an_11_bit_one(catalogue: Catalogue) -> None:
    """The same number without the mark of a long id is another frame, or noise."""
    frames = batch_of(answers((ZOE_EVC, "41463D")))
    _, _, decoded = hear(catalogue.profile("renault-zoe-ph2"), frames)
    assert decoded.signals == {}
    assert decoded.refused.unknown_frames == 1


def test_a_small_zoe_pack_is_told_by_its_frames_and_a_large_one_by_their_absence(catalogue: Catalogue) -> None:
    """The 41 kWh pack has no frame of its own; half a minute without those of the 22 kWh pack tells it."""
    current = [(10 * k, 0x155, bytes.fromhex("4607700000000000")) for k in range(3000)]
    profile = catalogue.profile("renault-zoe-ph1")

    def told(frames: list[Sent]) -> str | None:
        decoder, state, _ = hear(profile, batch_of(frames))
        return decoder.variant(state)

    small = [(10 * k, 0x42E, bytes.fromhex("67E0005EA0072000")) for k in range(3)]
    assert told(current[:2999]) is None
    assert told(current) == "ph1-41"
    assert told(sorted([*current, *small])) == "ph1-22"


# -- bZ4X --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cells", "variant"), [(96, "cells-96"), (104, "cells-104"), (78, "cells-78"), (90, None)])
def test_the_number_of_cells_in_the_answer_chooses_the_pack(
    catalogue: Catalogue, cells: int, variant: str | None
) -> None:
    """Model years share a name; a pack nobody has described stays unknown and its cells are still read."""
    decoder, state, decoded = hear(
        catalogue.profile("toyota-bz4x"), batch_of(answers((0x74F, "62182E" + "BD71" * cells)))
    )
    assert decoder.variant(state) == variant
    assert [v for _, v in series(decoded, "cell_voltage_min_v")] == [pytest.approx(3.7, abs=1e-4)]


def test_a_plug_in_control_that_is_not_ready_gives_no_soc(catalogue: Catalogue) -> None:
    """It answers 0 %. Taken for a value, every night would end with an empty battery."""
    frames = answers((0x74D, "62173900"), (0x74D, "62173957"))
    _, _, decoded = hear(catalogue.profile("toyota-bz4x"), batch_of(frames))
    assert series(decoded, "soc_shown_pct") == [(1000, 87)]


def test_a_current_whose_direction_nobody_has_shown_is_not_stored(catalogue: Catalogue) -> None:
    """Charge counted backwards is worse than no charge."""
    _, _, decoded = hear(catalogue.profile("toyota-bz4x"), batch_of(answers((0x7DA, "621F9A060058C0FF9C"))))
    assert [v for _, v in series(decoded, "pack_voltage_v")] == [355]
    assert "pack_current_a" not in decoded.signals


# -- CHAdeMO -----------------------------------------------------------------------------------------------------------


def test_a_quick_charge_at_the_plug_is_one_with_direct_current(shared: Path, catalogue: Catalogue) -> None:
    """The recording's README: charging at 100 A, 379 to 381 V."""
    decoder = Decoder(catalogue.profile("chademo"))
    state = decoder.start()
    values: dict[str, list[Signal]] = {}
    for batch in read_log(shared / "logs" / QUICK_CHARGE):
        state, decoded = decoder.decode(state, batch)
        for name, signal in decoded.signals.items():
            values.setdefault(name, []).append(signal)
    found = {n: (min(s.value.min() for s in v), max(s.value.max() for s in v)) for n, v in values.items()}
    assert found == {
        "pack_current_a": (100, 100),
        "pack_voltage_v": (379, 381),
        "charge_kind": (2, 2),
        "plugged": (1, 1),
        "soc_shown_pct": (pytest.approx(56.078, abs=1e-3), pytest.approx(56.863, abs=1e-3)),
    }


def test_the_rate_is_a_soc_only_once_its_reference_is_known(catalogue: Catalogue) -> None:
    """60 of 100 and 60 of 255 are two states of charge, and another frame says which."""
    request = (0, 0x102, bytes.fromhex("0190013200013C00"))

    def soc(reference: str) -> list[float]:
        limits = (50, 0x100, bytes.fromhex(f"0A0000009001{reference}00"))
        later = (100, *request[1:])
        _, _, decoded = hear(catalogue.profile("chademo"), batch_of([request, limits, later]))
        return [round(v, 2) for _, v in series(decoded, "soc_shown_pct")]

    assert (soc("64"), soc("FF"), soc("32")) == ([60], [23.53], [])


def test_a_charger_with_a_fault_says_neither_charging_nor_not(catalogue: Catalogue) -> None:
    """Status bits that nobody has seen together are no state of charging."""
    frames = [
        (k * 100, 0x109, bytes.fromhex(f"02680132{'00'}{status}FF0A")) for k, status in enumerate(("05", "07", "20"))
    ]
    _, _, decoded = hear(catalogue.profile("chademo"), batch_of(frames))
    assert series(decoded, "charge_kind") == [(0, 2), (200, 0)]
