"""`packbox replay`: what people and programs see of a recorded log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from packbox.__main__ import main

LEAF_62 = "nissan-leaf-ze1-62kwh/EV-CANeplus2.log"
ION_DRIVE = "imiev-peugeot-ion/Triplet_2017-04-14_191849.log"
CRTD = "nissan-env200-40kwh/env200-2015-with-40kWh-normal-charge-coldbattery-nocooling-nobridge.crtd"
NO_TIMES = "nissan-leaf-ze1-62kwh/EV_can-bus_from_62_ZE1_QCcharging.txt"


def leaf_frame(can_id: str, head: str, count: int) -> str:
    """A frame of facts/vehicles.md §3.3 with its rolling counter and its CRC-8 (polynomial 0x85)."""
    data = bytes([*bytes.fromhex(head), count % 4])
    crc = 0
    for bit in (byte >> shift & 1 for byte in data for shift in range(7, -1, -1)):
        crc = (crc << 1 & 0xFF) ^ (0x85 if (crc >> 7) ^ bit else 0)
    return f"can0 {can_id}#{data.hex().upper()}{crc:02X}"


# A Leaf standing for two seconds.
STANDING = "".join(
    f"({k / 100:.6f}) {frame}\n"
    for k in range(200)
    for frame in [leaf_frame("1DB", "FF40C0AE0000", k)] + [leaf_frame("55B", "BBC05500FFC0", k // 10)] * (k % 10 == 0)
)


@pytest.fixture
def standing(tmp_path: Path) -> Path:
    path = tmp_path / "standing.log"
    path.write_text(STANDING)
    return path


def replayed(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    assert main(["replay", *map(str, arguments), "--json"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    facts: dict[str, Any] = json.loads(lines[0])
    return facts


def span(facts: dict[str, Any], quantity: str) -> tuple[float, float]:
    seen = facts["quantities"][quantity]
    return seen["min"], seen["max"]


# Ranges of the README beside the recordings, and what the sessions must be.
@pytest.mark.parametrize(
    ("log", "profile", "spans", "kinds"),
    [
        (
            LEAF_62,
            "nissan-leaf",
            {"pack_current_a": (-482.5, 40), "pack_voltage_v": (367.5, 393.5), "soc_bms_pct": (93.0, 93.5)},
            ["drive"],
        ),
        (
            "nissan-leaf-ze0/ZE0w24kWhstock.log",
            "nissan-leaf",
            {
                "pack_current_a": (-3, 2),
                "pack_voltage_v": (385, 386.5),
                "soc_bms_pct": (75.1, 75.2),
                "soh_reported_pct": (51, 51),
            },
            ["rest"],
        ),
        (
            CRTD,
            "nissan-leaf",
            {"pack_temp_min_degc": (17, 17), "pack_temp_max_degc": (21, 21), "soc_bms_pct": (58.4, 58.5)},
            ["charge"],
        ),
        (
            "nissan-env200-40kwh/ME0_40kWh Startup.log",
            "nissan-leaf",
            {"soc_bms_pct": (20.8, 20.8), "soc_shown_pct": (12, 12), "pack_voltage_v": (340, 340)},
            [],
        ),
        (
            NO_TIMES,
            "nissan-leaf",
            {"pack_voltage_v": (366.5, 376)},
            ["charge"],
        ),
        (
            ION_DRIVE,
            "mitsubishi-imiev",
            {
                "pack_current_a": (-76.33, 31.17),
                "pack_voltage_v": (317.6, 325.2),
                "soc_shown_pct": (90.5, 91.5),
                "pack_temp_min_degc": (12, 12),
                "pack_temp_max_degc": (14, 14),
                "capacity_reported_ah": (45.5, 45.5),
            },
            ["drive"],
        ),
    ],
)
def test_real_recordings_give_what_their_readme_says(
    shared: Path,
    capsys: pytest.CaptureFixture[str],
    log: str,
    profile: str,
    spans: dict[str, tuple[float, float]],
    kinds: list[str],
) -> None:
    facts = replayed(capsys, shared / "logs" / log, "--profile", profile)
    if "soc_bms_pct" in spans and log == CRTD:  # polls tell it to four decimals
        assert span(facts, "soc_bms_pct") == pytest.approx(spans.pop("soc_bms_pct"), abs=0.1)
    assert {quantity: span(facts, quantity) for quantity in spans} == spans
    assert [session["kind"] for session in facts["sessions"]] == kinds


def test_an_ac_charge_starts_at_up_to_five_and_a_half_amperes(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (charge,) = replayed(capsys, shared / "logs" / CRTD, "--profile", "nissan-leaf")["sessions"]
    assert (charge["charge_kind"], charge["current_max_a"]) == ("ac", 5.5)
    assert charge["power_max_kw"] == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(("log", "profile"), [(LEAF_62, "nissan-leaf"), (ION_DRIVE, "mitsubishi-imiev")])
def test_replaying_again_or_in_other_batches_gives_the_same_bytes(
    shared: Path, capsys: pytest.CaptureFixture[str], log: str, profile: str
) -> None:
    """Whoever checks a history must get the same history."""
    outputs = set()
    for frames in ("4096", "4096", "1", "777", "1000000"):
        main(["replay", str(shared / "logs" / log), "--profile", profile, "--json", "--batch-frames", frames])
        outputs.add(capsys.readouterr().out)
    assert len(outputs) == 1


def test_json_tells_all_that_was_read(standing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = replayed(capsys, standing, "--profile", "nissan-leaf:ze0")
    assert facts["log"] == str(standing)
    assert (facts["profile"], facts["variant"], facts["pack"]["id"]) == ("nissan-leaf:ze0", "ze0", "leaf-24")
    assert (facts["frames"]["read"], facts["frames"]["unreadable"], facts["seconds"]) == (220, 0, 1.99)
    assert facts["ids"] == {"known": {"1DB": 200, "55B": 20}, "unknown": {}}
    assert facts["quantities"]["pack_current_a"] == {"unit": "A", "last": -3, "min": -3, "max": -3, "count": 200}
    assert facts["sessions"] == []
    assert facts["usage"]["charge_out_ah"] == pytest.approx(3 * 1.99 / 3600, abs=1e-6)
    assert facts["soh"]["state"] == "none"
    assert [e["method"] for e in facts["estimates"]] == ["charge_ratio/1", "bms_value/1", "rest_bands/1", "full_span/1"]


def test_lines_that_give_no_frame_are_counted_with_the_reason(
    standing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    standing.write_text(STANDING + "(2.0) can0 1DB#FF40C0AE000\nrubbish\n")
    facts = replayed(capsys, standing, "--profile", "nissan-leaf")
    assert facts["frames"]["unreadable"] == 2
    assert sum(note["count"] for note in facts["frames"]["unreadable_reasons"]) == 2
    assert facts["frames"]["unreadable_reasons"][0]["first_line"] == 221


def test_a_person_gets_a_summary(standing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(standing), "--profile", "nissan-leaf:ze0"]) == 0
    out, err = capsys.readouterr()
    assert "pack_current_a -3 -3 -3 A 200" in " ".join(out.split())
    assert "no state of health: no charge or drive has moved 13.1 Ah in one go yet" in out
    assert err == ""  # no progress in a pipe


def test_the_summary_of_a_drive_shows_the_drive(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(shared / "logs" / LEAF_62), "--profile", "nissan-leaf"]) == 0
    assert "1 drive       0     19  93.5…93.1" in capsys.readouterr().out


def test_a_log_without_times_says_that_its_figures_mean_nothing(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = replayed(capsys, shared / "logs" / NO_TIMES, "--profile", "nissan-leaf")
    assert facts["time_kind"] == "none"
    assert any("no times" in warning for warning in facts["warnings"])


@pytest.mark.parametrize(
    ("log", "profile"),
    [
        ("hyundai-kona/bms-idle-30sec.asc", "nissan-leaf"),
        ("hyundai-kona/230112-7-2019-pcan-ccan-power-off-on-ready-off.csv", "nissan-leaf"),
        ("hyundai-kona/221210-1-2021-dcan-car-scanner-elm327.csv", "nissan-leaf"),
        ("mitsubishi-outlander-phev/202109061515-steering-lock-to-lock.csv", "nissan-leaf"),
        ("nissan-leaf-ze1-62kwh/ZE1-chademo-starting-and-charging.csv", "mitsubishi-imiev"),
        (ION_DRIVE, "nissan-leaf"),
        (LEAF_62, "mitsubishi-imiev"),
        ("nissan-leaf-ze0/ZE0w24kWhstock.log", "mitsubishi-imiev"),
    ],
)
def test_a_log_of_another_car_is_noticed(
    shared: Path, capsys: pytest.CaptureFixture[str], log: str, profile: str
) -> None:
    """Plausible nonsense would be worse than an error."""
    assert main(["replay", str(shared / "logs" / log), "--profile", profile, "--json"]) == 1
    out, err = capsys.readouterr()
    assert "is this the right profile?" in err
    assert "wrong_profile" in [event["event"] for event in json.loads(out)["events"]]


def test_an_unknown_profile_is_refused_naming_those_there_are(
    standing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(standing), "--profile", "nissan-lief"]) == 2
    told = capsys.readouterr().err.partition("profiles: ")[2]
    assert {"mitsubishi-imiev", "nissan-leaf"} <= set(told.strip().split(", "))


def test_a_missing_log_is_refused_naming_what_lies_beside_it(
    standing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(standing.with_name("standin.log")), "--profile", "nissan-leaf"]) == 2
    assert "standin.log: no such file; in that folder: standing.log" in capsys.readouterr().err
    assert main(["replay", str(standing.parent / "no/such.log"), "--profile", "nissan-leaf"]) == 2
    assert "nor a folder" in capsys.readouterr().err


def test_a_file_that_is_no_log_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear owner,\nyour battery is fine.\n")
    assert main(["replay", str(path), "--profile", "nissan-leaf"]) == 2
    assert "no CAN log format is known that looks like this" in capsys.readouterr().err


@pytest.mark.parametrize("frames", ["0", "-5"])
def test_a_batch_needs_a_frame(frames: str, standing: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["replay", str(standing), "--profile", "nissan-leaf", "--batch-frames", frames])
    assert stop.value.code == 2
