"""The shipped units: locked down, understood by systemd, and true to what the box does."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

EXPOSURE_MAX = 2.0


@pytest.fixture(scope="module", autouse=True)
def systemd_analyze() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")


def analyze(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False, env={"LC_ALL": "C"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_box_exposes_next_to_nothing(root: Path) -> None:
    """What listens to a car and talks to the internet must not be a way into either."""
    said = analyze("security", "--offline=true", root / "systemd/packbox.service")
    found = re.search(r"Overall exposure level.*: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= EXPOSURE_MAX


@pytest.mark.parametrize("unit", ["packbook.service", "packbook-collect@.service", "packbook-web.service"])
def test_the_book_exposes_next_to_nothing(root: Path, unit: str) -> None:
    """What all boxes talk to holds everybody's histories."""
    said = analyze("security", "--offline=true", root / "systemd" / unit)
    found = re.search(r"Overall exposure level.*: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= EXPOSURE_MAX


def test_systemd_understands_every_unit(root: Path, tmp_path: Path) -> None:
    """A misspelt key is ignored with a line in a log that nobody reads."""
    for unit in [*(root / "systemd").glob("*.service"), *(root / "systemd").glob("*.path")]:
        text = re.sub(r"ExecStart=/usr/bin/packbo\w+", "ExecStart=/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    assert analyze("verify", *sorted(tmp_path.iterdir())).strip() == ""


def unit_file(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # systemd tells capitals apart
    parser.read(path)
    return parser


def test_the_interface_is_listen_only_unless_somebody_decides_otherwise(root: Path) -> None:
    """The default cannot disturb a car; the active variant changes that and nothing else."""
    passive, active = (unit_file(root / "systemd" / name) for name in ("80-can.network", "80-can-active.conf"))
    assert passive["Match"]["Name"] == "can*"
    assert passive["CAN"]["ListenOnly"] == "yes"
    assert passive["Link"]["RequiredForOnline"] == "no"
    assert {name: dict(active[name]) for name in active.sections()} == {"CAN": {"ListenOnly": "no"}}


def test_a_unit_in_a_car_never_gives_up(root: Path) -> None:
    """Nobody comes to reset it."""
    unit = unit_file(root / "systemd/packbox.service")
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert (unit["Service"]["Restart"], unit["Service"]["Type"]) == ("always", "notify")
    assert int(unit["Service"]["WatchdogSec"]) > 0
    assert unit["Service"]["LogRateLimitBurst"]


def test_logs_fill_no_card(root: Path) -> None:
    """Months alone, and something that goes round in circles: what is logged is bound in rate and in size."""
    journal = unit_file(root / "systemd/packbox.journald")["Journal"]
    assert [int(journal[name].removesuffix("M")) <= 64 for name in ("SystemMaxUse", "RuntimeMaxUse")] == [True, True]
    service = unit_file(root / "systemd/packbox.service")["Service"]
    lines_a_day = 86_400 / int(service["LogRateLimitIntervalSec"]) * int(service["LogRateLimitBurst"])
    assert lines_a_day <= 300_000
