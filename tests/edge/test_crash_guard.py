"""A box that crashes again and again still listens, and what it recorded is kept."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from box_records import fill
from packbox.adapters.journal import JOURNAL_FILE, open_copy
from packbox.app import crash_guard
from packbox.app.crash_guard import IN_FULL, Care, CrashGuard
from packbox.clock import SystemClock
from packbox.testing.sim_clock import SimClock
from packwire.messages import Health


@pytest.fixture
def clock() -> SimClock:
    return SimClock()


def crash(times: int, guard: CrashGuard, clock: SimClock | None = None, every_s: float = 2.0) -> list[Care]:
    cares = []
    for _ in range(times):
        cares.append(guard.begin())
        if clock is not None:
            clock.go(every_s)
    return cares


def test_what_can_be_done_without_goes_step_by_step(tmp_path: Path, clock: SimClock) -> None:
    """First the questions, then the old state, last the link; listening is never left out."""
    (tmp_path / JOURNAL_FILE).write_text("a journal")
    cares = crash(10, CrashGuard(tmp_path / JOURNAL_FILE, clock), clock)
    assert cares[:3] == [IN_FULL] * 3
    assert [care.may_ask for care in cares[3:]] == [False] * 7
    assert [care.may_send for care in cares[3:]] == [True] * 6 + [False]
    assert cares[9].why == "9 crashes within 10 min"


def test_the_journal_is_set_aside_once_and_kept(tmp_path: Path, clock: SimClock) -> None:
    """A state that crashes the fold would do so for ever; ten set aside would fill the card."""
    journal = tmp_path / JOURNAL_FILE
    guard = CrashGuard(journal, clock)
    journal.write_text("the state that crashes")
    crash(crash_guard.NEW_STORE_FROM, guard, clock)
    assert journal.exists()
    guard.begin()
    assert not journal.exists()
    journal.write_text("begun anew")
    crash(20, guard, clock)
    assert (tmp_path / "journal.damaged-1.db").read_text() == "the state that crashes"
    assert journal.read_text() == "begun anew"


def test_an_orderly_end_forgives(tmp_path: Path, clock: SimClock) -> None:
    """An operator who restarts the service ten times is no crash loop."""
    guard = CrashGuard(tmp_path / JOURNAL_FILE, clock)
    for _ in range(10):
        assert guard.begin() == IN_FULL
        guard.left()


def test_power_cuts_are_no_crashes(tmp_path: Path, clock: SimClock) -> None:
    """A car cuts the power at every stop."""
    guard = CrashGuard(tmp_path / JOURNAL_FILE, clock)
    for boot in range(10):
        clock.boot = type(clock.boot)(f"{boot:016x}")
        assert guard.begin() == IN_FULL


def test_slow_crashes_are_borne(tmp_path: Path, clock: SimClock) -> None:
    """One in five minutes loses seconds; leaving things out would lose more."""
    assert set(crash(20, CrashGuard(tmp_path / JOURNAL_FILE, clock), clock, every_s=300.0)) == {IN_FULL}


@pytest.mark.parametrize("said", ["", "{", "[]", '{"boot": 1}', '{"boot": "b007b007b007b007", "starts_ms": 5}'])
def test_a_file_that_says_nothing_sensible_is_none(tmp_path: Path, clock: SimClock, said: str) -> None:
    """A guard that crashes on its own file would be the crash loop."""
    (tmp_path / crash_guard.STARTS_FILE).write_text(said)
    assert CrashGuard(tmp_path / JOURNAL_FILE, clock).begin() == IN_FULL


def test_a_disk_that_cannot_be_written_stops_nothing(tmp_path: Path, clock: SimClock) -> None:
    """The guard is a help, no condition."""
    (tmp_path / "file").touch()
    assert CrashGuard(tmp_path / "file" / JOURNAL_FILE, clock).begin() == IN_FULL


@pytest.mark.slow
def test_a_box_gone_back_to_older_software_begins_a_new_store_and_listens(tmp_path: Path, root: Path) -> None:
    """A rolled-back release cannot read the newer state: after a few restarts it goes on beside it, by itself."""
    fill(tmp_path, [Health()]).close()
    with open_copy(tmp_path / JOURNAL_FILE) as journal:
        old_store = journal.store
    spoil(tmp_path / JOURNAL_FILE)
    environ = {"PACKBOX_PROFILE": "nissan-leaf", "PACKBOX_PROFILES_DIR": str(root / "can_profiles")}
    command = [sys.executable, "-m", "packbox", "run", "--data-dir", str(tmp_path), "--source"]
    command.append("sim:leaf-24,seed=5,start=2026-05-04,until=2026-05-05")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        crash(crash_guard.NEW_STORE_FROM - 1, CrashGuard(tmp_path / JOURNAL_FILE, SystemClock()))
        for start in range(2):
            done = subprocess.run(
                [*command, "--speed", "max"],
                env={**os.environ, **environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if start == 0:
                assert (done.returncode, "saved state" in done.stderr) == (1, True), done.stderr
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / crash_guard.STARTS_FILE).exists()
    with open_copy(tmp_path / JOURNAL_FILE) as journal:
        assert journal.store != old_store
        assert "set aside as journal.damaged-1.db" in str(journal.begun_after)


def spoil(path: Path) -> None:
    """As newer software would leave it."""
    import sqlite3
    from contextlib import closing

    import msgspec

    from packbox.adapters.snapshot import MAGIC
    from packbox.app.mind import Bookmark, Saved

    state = msgspec.msgpack.encode(Saved(Bookmark(), msgspec.msgpack.encode([MAGIC, 999, None])))
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "INSERT INTO state (only, snapshot) VALUES (1, ?)"
            " ON CONFLICT DO UPDATE SET snapshot = excluded.snapshot, packed = 0",
            (state,),
        )
        db.commit()
