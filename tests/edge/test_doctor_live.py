"""The doctor looks at controller, certificate, supply and the box that runs, and says what to do."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from packbox.adapters import machine
from packbox.adapters.can_errors import BusErrors
from packbox.app import doctor, doctor_bus, doctor_running
from packbox.app.doctor_bus import controller_findings
from packbox.app.doctor_running import ERRORS, running_findings
from packbox.app.findings import Finding
from packbox.settings import Settings, load_settings
from packbox.testing.sim_clock import SimClock

MCP2515 = {"state": "ERROR-ACTIVE", "bittiming": {"bitrate": 500_000}, "ctrlmode": ["LISTEN-ONLY"]}
HEALTHY: dict[str, Any] = {
    "version": 1,
    "boot": SimClock().boot,
    "mono_ms": 0,
    "careful": None,
    "health": {
        "uptime_s": 7200.0,
        "frames": 100_000,
        "frames_dropped": 0,
        "frames_bad": 3,
        "frames_unknown": 10_000,
        "frames_sent": 0,
        "outbox_waiting": 2,
    },
    "bus": {"down": None, "quiet_s": 0.2, "errors": dict.fromkeys(ERRORS, 0)},
    "raw": {"dropped_frames": 0, "trouble": None},
    "journal": {"trouble": None},
    "link": {"connected": True, "trouble": None, "unheard": False, "last_ack_age_s": 12.0},
    "car": {"state": "charging"},
    "power": {"phase": "awake"},
}


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.verdict.value for finding in findings}


@pytest.mark.parametrize(
    ("change", "bitrate", "may_ask", "ill"),
    [
        ({}, 500_000, False, {}),
        ({}, None, False, {}),
        ({}, 250_000, False, {"bitrate": "FAIL"}),
        ({}, 500_000, True, {"listen_only": "FAIL"}),
        ({"ctrlmode": []}, 500_000, True, {}),
        ({"ctrlmode": []}, 500_000, False, {"listen_only": "WARN"}),
        ({"state": "BUS-OFF"}, 500_000, False, {"controller": "FAIL"}),
        ({"state": "ERROR-PASSIVE"}, 500_000, False, {"controller": "WARN"}),
    ],
)
def test_what_the_controller_is_set_to(
    change: dict[str, Any], bitrate: int | None, may_ask: bool, ill: dict[str, str]
) -> None:
    """A wrong bit rate shows as silence, and silence looks like a sleeping car."""
    found = list(controller_findings("can0", MCP2515 | change, bitrate, may_ask=may_ask))
    assert {check: verdict for check, verdict in verdicts(found).items() if verdict != "OK"} == ill
    assert all(finding.do for finding in found if finding.verdict.value != "OK")


def test_an_interface_without_a_controller_is_not_judged() -> None:
    """vcan has no bit rate, and a machine without `ip` tells none."""
    assert list(controller_findings("vcan0", None, 500_000, may_ask=False)) == []
    assert doctor_bus.controller_of("packbox-no-such-interface") is None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(None, {"data_dir": tmp_path, "status_file": tmp_path / "status.json"})


def running(settings: Settings, said: dict[str, Any]) -> dict[str, str]:
    assert settings.status_file is not None
    settings.status_file.write_text(json.dumps(said))
    return verdicts(list(running_findings(settings, SimClock().now())))


def test_the_services_own_status_is_found_without_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped unit sets where it lies; whoever types `packbox doctor` has not set anything."""
    (tmp_path / "status.json").write_text(json.dumps(HEALTHY))
    monkeypatch.setattr(doctor_running, "SHIPPED_STATUS", tmp_path / "status.json")
    settings = load_settings(None, {"data_dir": tmp_path})
    assert verdicts(list(running_findings(settings, SimClock().now())))["frames"] == "OK"


def changed(table: str, **fields: object) -> dict[str, Any]:
    return HEALTHY | {table: HEALTHY[table] | fields}


def test_a_box_that_runs_well(settings: Settings) -> None:
    """Nothing to do is said, too."""
    well = ("running", "frames", "bus_errors", "profile_fit", "raw", "acks")
    assert running(settings, HEALTHY) == dict.fromkeys(well, "OK")


@pytest.mark.parametrize(
    ("said", "check", "verdict"),
    [
        (HEALTHY | {"boot": "another"}, "running", "WARN"),
        (HEALTHY | {"mono_ms": -70_000}, "running", "WARN"),
        (HEALTHY | {"careful": "6 crashes within 10 min"}, "running", "FAIL"),
        (changed("journal", trouble="disk full"), "running", "FAIL"),
        (changed("bus", down="can0: the interface is down"), "frames", "FAIL"),
        (changed("bus", errors={"bus_off": 1}), "bus_errors", "WARN"),
        (changed("bus", errors={"overrun": 1}), "bus_errors", "WARN"),
        (changed("health", bus_errors=90), "bus_errors", "OK"),
        (changed("health", bus_errors=101), "bus_errors", "WARN"),
        (changed("raw", dropped_frames=7), "raw", "WARN"),
        (changed("raw", trouble="disk full"), "raw", "WARN"),
        (changed("health", frames=0), "frames", "WARN"),
        (changed("health", frames_dropped=500), "frames", "WARN"),
        (changed("health", frames_unknown=95_000), "profile_fit", "FAIL"),
        (changed("health", frames_bad=30_000), "profile_fit", "FAIL"),
        (changed("link", unheard=True), "acks", "WARN"),
        (changed("link", trouble="connection refused", connected=False), "acks", "WARN"),
        (changed("link", last_ack_age_s=90_000.0), "acks", "WARN"),
    ],
)
def test_what_a_running_box_suffers_from_is_told(
    settings: Settings, said: dict[str, Any], check: str, verdict: str
) -> None:
    """The one line that a person on the phone can read out."""
    assert running(settings, said)[check] == verdict


def test_every_class_of_error_frames_has_words_and_advice(settings: Settings) -> None:
    """What is counted and never shown helps nobody. The worst is what the advice is about."""
    assert set(ERRORS) == {one.name for one in fields(BusErrors)}
    settings.status_file.write_text(json.dumps(changed("bus", errors=dict.fromkeys(ERRORS, 2))))  # type: ignore[union-attr]  # set by the fixture
    (found,) = [f for f in running_findings(settings, SimClock().now()) if f.check == "bus_errors"]
    assert all(words in found.text for words, _ in ERRORS.values())
    assert found.do == ERRORS["bus_off"][1]


def test_a_status_file_of_an_older_box_is_read_as_far_as_it_goes(settings: Settings) -> None:
    """After an update the doctor is newer than the box that still runs."""
    bus = {name: value for name, value in HEALTHY["bus"].items() if name != "errors"}
    older = {name: value for name, value in HEALTHY.items() if name != "raw"} | {"bus": bus}
    assert running(settings, older) == dict.fromkeys(("running", "frames", "profile_fit", "acks"), "OK")


def test_without_a_status_file_nothing_is_claimed(tmp_path: Path) -> None:
    """Run by hand, on a laptop."""
    found = list(running_findings(load_settings(None, {"data_dir": tmp_path}), SimClock().now()))
    assert verdicts(found) == {"running": "WARN"}


@pytest.mark.parametrize(("days", "verdict"), [(400, "OK"), (20, "WARN"), (-1, "FAIL")])
def test_a_certificate_is_missed_before_it_has_run_out(tmp_path: Path, days: int, verdict: str) -> None:
    """Months in a car go by; a box that cannot log in any more must be seen coming."""
    cert = certificate(tmp_path, days)
    broker = {"host": "book.example.org", "cert_file": cert, "key_file": cert}
    settings = load_settings(None, {"data_dir": tmp_path, "clock_trusted": "always", "broker": broker})
    assert verdicts(list(doctor._certificate(settings))) == {"certificate": verdict}


def certificate(folder: Path, days: int) -> Path:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - timedelta(days=500))
    path = folder / "box.crt"
    from cryptography.hazmat.primitives.serialization import Encoding

    path.write_bytes(built.not_valid_after(now + timedelta(days=days)).sign(key, None).public_bytes(Encoding.PEM))
    return path


def test_under_voltage_is_told_on_a_pi_and_unknown_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thin cables are behind most boxes that "crash by themselves"."""
    said = tmp_path / "get_throttled"
    monkeypatch.setattr(machine, "THROTTLED_FILE", said)
    assert machine.supply_trouble() is None
    said.write_text("50005\n")
    assert machine.supply_trouble() == [
        "under-voltage now",
        "throttled now",
        "under-voltage since boot",
        "throttled since boot",
    ]
