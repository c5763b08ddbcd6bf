"""`packbook demo` as a person meets it: it shows a history, says what went wrong, and leaves nothing behind."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from packbook.app import demo
from packbook.app.demo_progress import Screen, Seen, line

WAIT_MAX_S = 60.0  # on a machine that does many other things


@contextmanager
def _running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The demo as a program, its output in `folder/out`."""
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "packbook", "demo", "--no-browser", "--port", "0", *arguments],
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _until(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_MAX_S
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {WAIT_MAX_S} s")


def _said(folder: Path) -> str:
    return (folder / "out").read_text()


def _url(folder: Path) -> str:
    match = re.search(r"open (http://127\.0\.0\.1:\d+/)", _said(folder))
    return match[1] if match else ""


def _batteries(folder: Path, url: str) -> list[list[dict[str, Any]]]:
    """As each of the two firms sees them, by the keys that the demo prints."""
    seen = []
    for key in re.findall(r"pbk_[0-9a-f]{8}_[\w-]{43}", _said(folder)):
        ours = urllib.request.Request(f"{url}api/v1/batteries", headers={"Authorization": f"Bearer {key}"})  # noqa: S310 - the demo's own http://127.0.0.1
        with urllib.request.urlopen(ours, timeout=10) as reply:  # noqa: S310 - as above
            seen.append(json.load(reply)["batteries"])
    return seen


def _programs_of(folder: Path) -> list[str]:
    """Command lines of living boxes that work in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_text().split("\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z" and any(word.startswith(f"{folder}{os.sep}") for word in words):
                found.append(" ".join(words))
    return found


@pytest.mark.slow
def test_the_demo_shows_days_of_history_and_leaves_nothing_running(tmp_path: Path) -> None:
    """The whole way, car to page, in separate processes: what `make demo` promises."""
    data = tmp_path / "data"
    with _running(tmp_path, "--days", "4", "--data-dir", str(data)) as process:
        url = _until(lambda: _url(tmp_path))

        def complete() -> list[dict[str, Any]]:
            firms = _batteries(tmp_path, url)
            assert [len(batteries) <= most for batteries, most in zip(firms, (3, 1), strict=True)] == [True, True]
            batteries = [battery for batteries in firms for battery in batteries]
            seen = [b for b in batteries if b["sessions"].get("drive", 0) >= 2 and b["soh"] and b["soh"]["soh_pct"]]
            return seen if len(seen) == 3 else []

        batteries = _until(complete)
        assert {b["vehicle"]: b["pack"] for b in batteries} == {
            "Leaf 24 kWh": "leaf-24",
            "Leaf 62 kWh": "leaf-62",
            "i-MiEV 16 kWh": "imiev-16",
        }
        for battery, (low, high) in zip(
            sorted(batteries, key=lambda b: b["pack"]), ((68, 81), (69, 82), (87, 99)), strict=True
        ):
            assert low < battery["soh"]["soh_pct"] < high
        assert len(_programs_of(data)) == 3
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
        assert time.monotonic() - began_s < 10.0
    assert "stopped; nothing is left running" in _said(tmp_path)
    assert _programs_of(data) == []


@pytest.mark.slow
def test_a_demo_that_is_killed_takes_its_boxes_with_it(tmp_path: Path) -> None:
    """`kill -9` gives no chance to clean up; boxes that went on would eat two cores for ever."""
    data = tmp_path / "data"
    with _running(tmp_path, "--days", "2", "--boxes", "2", "--data-dir", str(data)) as process:
        _until(lambda: len(_programs_of(data)) == 2)
        process.kill()
        process.wait()
        _until(lambda: not _programs_of(data))


def test_a_box_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    """Otherwise its line would stand still and nobody would know why."""
    log = tmp_path / "drive.log"
    log.write_text("(1500000000.0) can0 1DB#8760B86A00C3B259\n")
    with _running(tmp_path, "--boxes", "0", "--log", str(log), "--profile", "no-such-car") as process:
        assert process.wait(timeout=WAIT_MAX_S) == 1
    said = _said(tmp_path)
    assert re.search(r"drive: stopped with exit code \d; its last lines:", said)
    assert "no-such-car" in said
    folder = re.search(r"data in (\S+)", said)
    assert folder
    assert not Path(folder[1]).exists()


def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path) -> None:
    """The usual trouble of whoever runs a second one."""
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        _running(tmp_path, "--port", str(other.getsockname()[1])) as process,
    ):
        assert process.wait(timeout=WAIT_MAX_S) == 1
        assert f"web_port {other.getsockname()[1]} on 127.0.0.1" in _said(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--log", "drive.log"], 2, "--log and --profile go together"),
        (["--profile", "nissan-leaf"], 2, "--log and --profile go together"),
        (["--boxes", "0"], 2, "leaves nothing to show"),
        (["--log", "/no/such/file", "--profile", "nissan-leaf"], 1, "/no/such/file: there is no such file"),
    ],
)
def test_what_cannot_be_shown_is_refused_at_once(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a broker or a box was started."""
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    assert demo.main(parser.parse_args(arguments)) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--boxes", "99"], ["--days", "0"], ["--port", "x"], ["--seconds", "-1"]])
def test_numbers_out_of_range_are_wrong_usage(arguments: list[str]) -> None:
    """argparse says which."""
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    with pytest.raises(SystemExit) as left:
        parser.parse_args(arguments)
    assert left.value.code == 2


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_redrawn_in_place_on_a_terminal() -> None:
    """Three boxes are three lines, however long it runs; a message stays above them."""
    terminal = _Terminal()
    screen = Screen(terminal)
    screen.show(["a", "b"], 0.0)
    screen.show(["c", "d"], 1.0)
    screen.say("box gone")
    screen.show(["e"], 2.0)
    assert terminal.getvalue() == "a\nb\n\x1b[2F\x1b[Jc\nd\n\x1b[2F\x1b[Jbox gone\ne\n"


def test_progress_in_a_pipe_is_sparse_and_plain() -> None:
    """A log of a demo must stay readable."""
    pipe = io.StringIO()
    screen = Screen(pipe)
    for second in range(25):
        screen.show(["a"], float(second))
    assert pipe.getvalue() == "[   0 s] a\n[  10 s] a\n[  20 s] a\n"


def test_a_line_says_how_far_a_box_is() -> None:
    """Simulated date, records in the ledger, SoH: what one looks for."""
    seen = {"Leaf": Seen(1234, date(2026, 5, 4), "75.1 % (73.0 to 77.2)", "")}
    assert line("Leaf", seen) == "Leaf              2026-05-04    1234 records  SoH 75.1 % (73.0 to 77.2)"
    assert line("iOn", seen) == "iOn               starting         0 records  SoH -"


def test_a_data_folder_used_again_goes_on_with_the_same_cars(tmp_path: Path) -> None:
    """The cars are made from their first day: another first day would be other cars under the same names."""
    first = demo._first_day(tmp_path, 10)
    assert demo._first_day(tmp_path, 99) == first
    (tmp_path / "first-day").write_text("soon")
    with pytest.raises(demo.DemoError, match="first-day"):
        demo._first_day(tmp_path, 10)
