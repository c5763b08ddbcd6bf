"""Which car is this? Told from what its buses say, or not told at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from packbox.__main__ import main
from packbox.adapters.profile_dir import Catalogue
from packbox.app.recognise import profiles_of, recognise_log
from packbox.core.decode import Decoder
from packbox.core.detect import Detection, detect
from packbox.core.frames import EXTENDED, FrameBatch
from packbox.core.profile import Profile
from packbox.core.stamp import BootId
from packbox.core.wiring import Wiring

LEAF_62 = "nissan-leaf-ze1-62kwh/EV-CANeplus2.log"
KONA_BUSES = "hyundai-kona/230112-7-2019-pcan-ccan-power-off-on-ready-off.csv"
KONA_SCAN = "hyundai-kona/221210-1-2021-dcan-car-scanner-elm327.csv"


@pytest.fixture(scope="module")
def profiles() -> list[Profile]:
    return profiles_of(Catalogue())


def frames(*said: tuple[int, int, str], times: int = 50) -> FrameBatch:
    """(bus, id, data) over and over, a millisecond apart."""
    rows = [row for _ in range(times) for row in said]
    data = [bytes.fromhex(text) for _, _, text in rows]
    return FrameBatch(
        BootId("0" * 16),
        None,
        np.arange(len(rows), dtype=np.int64) * 1_000_000,
        np.array([bus for bus, _, _ in rows], np.uint8),
        np.array([can_id for _, can_id, _ in rows], np.uint32),
        np.array([EXTENDED if can_id > 0x7FF else 0 for _, can_id, _ in rows], np.uint8),
        np.array([len(d) for d in data], np.uint8),
        np.array([list(d.ljust(8, b"\0")) for d in data], np.uint8).reshape(-1, 8),
    )


def log(shared: Path, name: str, profiles: list[Profile]) -> Detection:
    return recognise_log(shared / "logs" / name, profiles)


@pytest.mark.parametrize(
    ("name", "family", "variant"),
    [
        ("nissan-leaf-ze0/ZE0w24kWhstock.log", "nissan-leaf", "ze0"),
        (LEAF_62, "nissan-leaf", "ze1-62"),
        ("nissan-leaf-ze1-62kwh/EV_can-bus_from_62_ZE1_QCcharging.txt", "nissan-leaf", "ze1-62"),
        ("nissan-leaf-ze1-62kwh/ZE1-chademo-starting-and-charging.csv", "chademo", "plug"),
        ("nissan-env200-40kwh/ME0_40kWh Startup.log", "nissan-leaf", "aze0-40"),
        (
            "nissan-env200-40kwh/env200-2015-with-40kWh-normal-charge-coldbattery-nocooling-nobridge.crtd",
            "nissan-leaf",
            "aze0-40",
        ),
        ("imiev-peugeot-ion/Triplet_2017-04-14_191849.log", "mitsubishi-imiev", "imiev-14"),
        ("imiev-peugeot-ion/Triplet_2017-04-15_132733.log", "mitsubishi-imiev", "imiev-14"),
        ("mitsubishi-outlander-phev/202109061515-steering-lock-to-lock.csv", "mitsubishi-imiev", "outlander-12"),
        (KONA_BUSES, "hyundai-kia", "first-98"),
        ("hyundai-kona/bms-idle-30sec.asc", "hyundai-kia", "first-98"),
    ],
)
def test_every_recording_of_a_known_family_names_it(
    shared: Path, profiles: list[Profile], name: str, family: str, variant: str
) -> None:
    """An operator plugs in and does not know the profile's name; a wrong one would be worse than none."""
    found = log(shared, name, profiles).found
    assert found is not None
    assert (found.profile, found.variant) == (family, variant)


@pytest.mark.parametrize("name", [LEAF_62, KONA_BUSES, "imiev-peugeot-ion/Triplet_2017-04-14_191849.log"])
def test_without_its_own_profile_a_car_is_nobody(shared: Path, profiles: list[Profile], name: str) -> None:
    """A car that we do not know must not become the nearest one that we do."""
    family = log(shared, name, profiles).found
    assert family is not None
    others = [p for p in profiles if p.id != family.profile]
    detection = log(shared, name, others)
    assert detection.found is None
    assert "fit no known family" in detection.why_not


def test_the_evidence_is_said_in_words(shared: Path, profiles: list[Profile]) -> None:
    """Who is to believe it must be able to check it."""
    found = log(shared, LEAF_62, profiles).found
    assert found is not None
    assert "ids 1DB, 1DC, 55B, 5BC seen" in found.evidence
    assert "checksum of 1DB right in 1,893 of 1,893" in found.evidence
    assert "380 absent → not ze0" in found.evidence


def test_answers_that_every_car_gives_are_told_apart_by_a_text(profiles: list[Profile], shared: Path) -> None:
    """Supported PIDs and trouble codes look alike in all cars; that the calibration begins with OSEV does not."""
    found = log(shared, KONA_SCAN, profiles).found
    assert found is not None
    assert (found.profile, found.variant) == ("hyundai-kia", None)
    assert any("OSEV" in words for words in found.evidence)
    nameless = [replace(p, polls=tuple(q for q in p.polls if q.id != "obd-bms-calibration")) for p in profiles]
    found = log(shared, KONA_SCAN, nameless).found
    assert found is None or found.generic


def test_two_coincidental_ids_are_no_family(profiles: list[Profile]) -> None:
    """Any two cars share ids: 373 and 374 alone, among many others, are no i-MiEV."""
    strangers = [(0, can_id, "0102030405060708") for can_id in range(0x120, 0x7E0, 16)]
    both = [(0, 0x373, "C8C87FFA0C80003C"), (0, 0x374, "AAAA000046465B00")]
    assert detect(profiles, frames(*strangers, *both)).found is None


def test_the_right_ids_with_wrong_checksums_are_another_car(profiles: list[Profile]) -> None:
    """The same ids with other contents decode to numbers that look real."""
    detection = detect(profiles, frames(*((0, i, "FF40C0AE0000FFFF") for i in (0x1DB, 0x1DC, 0x55B, 0x5BC))))
    assert detection.found is None
    leaf = next(f for f in detection.findings if f.profile == "nissan-leaf")
    assert "1DB is another frame here (0 of 50 are right)" in leaf.lacks


def test_a_silent_bus_is_said_to_be_silent(profiles: list[Profile]) -> None:
    """The commonest case in a workshop: the car sleeps."""
    assert "no frame was heard" in detect(profiles, frames()).why_not


def test_an_id_on_the_wrong_bus_is_not_read(shared: Path, profiles: list[Profile]) -> None:
    """595 of a Kona means something else on bus 1: read there, the pack voltage would be nonsense."""
    found = log(shared, KONA_BUSES, profiles).found
    assert found is not None
    assert not found.wiring.carries(1, 0x595, "P-CAN")
    assert found.wiring.carries(0, 0x595, "P-CAN")


def test_what_the_wiring_bars_counts_as_unknown() -> None:
    """Nothing disappears: a frame that is not read is counted."""
    leaf = Catalogue().profile("nissan-leaf")
    batch = frames((0, 0x284, "0000000000000000"), (1, 0x284, "0000000000000000"))
    decoder = Decoder(leaf, "ze0", Wiring({"EV-CAN": 0}))
    _, decoded = decoder.decode(decoder.start(), batch)
    assert decoded.refused.unknown_frames == 50


def test_a_gateway_may_repeat_an_id_that_is_never_at_home() -> None:
    """On some cars a frame of one bus is heard on the other only; it is as good there."""
    wiring = Wiring({"EV-CAN": 0, "CAR-CAN": 1}, frozenset({(0, 0x5C5)}))
    assert [wiring.carries(0, 0x5C5, "CAR-CAN"), wiring.carries(0, 0x355, "CAR-CAN")] == [True, False]
    assert wiring.carries(7, 0x123, "a bus that nobody recognised")


def test_replay_recognises_the_car_by_itself(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stranger tries us with a log: he does not know what our profiles are called."""
    assert main(["replay", str(shared / "logs" / LEAF_62), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["profile"], facts["variant"]) == ("nissan-leaf", "ze1-62")
    assert "ids 1DB, 1DC, 55B, 5BC seen" in facts["evidence"]


def test_replay_of_an_unknown_car_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Better no answer than somebody else's."""
    path = tmp_path / "strange.log"
    path.write_text("".join(f"({k / 10:.6f}) can0 7AB#01020304\n" for k in range(50)))
    assert main(["replay", str(path)]) == 1
    assert "fit no known family" in capsys.readouterr().err
