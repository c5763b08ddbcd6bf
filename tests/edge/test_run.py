"""The box as a whole: killed, told to leave, without broker, with a wrong setting."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from box_records import fill, write_log
from packbox.__main__ import main
from packbox.adapters.herald import Herald
from packbox.adapters.identity import read_key
from packbox.adapters.journal import JOURNAL_FILE, open_copy
from packbox.app import run as run_module
from packbox.ports import JournalError
from packbox.settings import load_settings
from packbox.testing.memory_uplink import MemoryUplink
from packwire.ack import ack_of, encode_ack
from packwire.ids import StoreId
from packwire.messages import Health
from packwire.seal import NO_PREVIOUS, digest, open_sealed, peek
from packwire.testing import MemoryBroker
from packwire.topics import Leaf, topic

KILLS = 3
LEAVE_MAX_S = 2.0  # the promise; a machine that is slower says so in PACKBOOK_SLOWER
PATIENCE_S = 60.0  # a shared machine


@pytest.fixture(scope="module")
def car_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four days of a car."""
    return write_log(tmp_path_factory.mktemp("log") / "car.log", "leaf-24,seed=5,start=2026-05-04,until=2026-05-08")


@pytest.fixture
def start(root: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    begun: list[subprocess.Popen[str]] = []

    def begin(data_dir: Path, source: str, *options: str, **environ: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "packbox", "run", "--data-dir", str(data_dir), "--source", source]
        settings = {"PACKBOX_PROFILE": "nissan-leaf", "PACKBOX_PROFILES_DIR": str(root / "can_profiles")}
        begun.append(
            subprocess.Popen(
                [*command, *options], env={**os.environ, **settings, **environ}, stderr=subprocess.PIPE, text=True
            )
        )
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def messages_in(data_dir: Path) -> list[object]:
    """What the box has said, the chain checked from first to last. Health is of the day, not of the car."""
    public_key = read_key(data_dir / "key" / "box.pem").public_key
    said: list[object] = []
    previous = NO_PREVIOUS
    with open_copy(data_dir / JOURNAL_FILE) as journal:
        for seq, row in enumerate(journal.chain(), 1):
            record = open_sealed(row.sealed, public_key)
            assert (row.seq, record.envelope.seq, record.envelope.previous) == (seq, seq, previous)
            previous = digest(row.sealed)
            if not isinstance(record.message, Health):
                said.append(record.message)
    return said


def records_in(data_dir: Path) -> int:
    try:
        with open_copy(data_dir / JOURNAL_FILE) as journal:
            return journal.outbox().waiting
    except JournalError:  # not begun yet
        return 0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def left(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said


def same(one: Sequence[object], other: Sequence[object]) -> bool:
    """Equal but for the first record's key: two boxes have two."""
    return len(one) == len(other) and one[1:] == other[1:]


@pytest.mark.slow
def test_a_box_that_is_killed_again_and_again_writes_the_same_history(
    start: Callable[..., subprocess.Popen[str]], car_log: Path, tmp_path: Path
) -> None:
    """Power goes at any instant: no hole, no duplicate, no session that an undisturbed box would not have."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert left(start(undisturbed, f"log:{car_log}", "--speed", "max"))[0] == 0
    for _ in range(KILLS):
        box = start(killed, f"log:{car_log}", "--speed", "40000")
        before = records_in(killed)
        until(lambda before=before: records_in(killed) > before + 2, "the box does not go on")
        box.kill()
        assert left(box)[0] == -signal.SIGKILL
    assert left(start(killed, f"log:{car_log}", "--speed", "max"))[0] == 0
    assert same(messages_in(killed), messages_in(undisturbed))


def test_asked_to_leave_it_saves_and_goes(
    start: Callable[..., subprocess.Popen[str]], car_log: Path, tmp_path: Path
) -> None:
    """Ignition off: seconds of hold-up power. systemd hears when it is ready, alive and leaving."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        box = start(
            tmp_path / "data",
            f"log:{car_log}",
            "--speed",
            "3000",
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC="2000000",
        )
        assert [manager.recv(300)[:7] for _ in range(3)] == [b"READY=1", b"STATUS=", b"WATCHDO"]
        until(lambda: records_in(tmp_path / "data") > 0, "no record came")
        asked_s = time.monotonic()
        box.send_signal(signal.SIGTERM)
        code, said = left(box)
        assert code == 0, said
        assert time.monotonic() - asked_s < LEAVE_MAX_S * float(os.environ.get("PACKBOOK_SLOWER", "1"))
        heard = set()
        manager.settimeout(0)
        try:
            while True:
                heard.add(manager.recv(300))
        except BlockingIOError:
            assert b"STOPPING=1" in heard
    with open_copy(tmp_path / "data" / JOURNAL_FILE) as journal:
        assert journal.snapshot() is not None


class Book:
    """Takes records from the broker in memory and acknowledges them."""

    def __init__(self, broker: MemoryBroker, box: str) -> None:
        self.link = broker.connect("book")
        self.link.subscribe(topic(box, Leaf.RECORD))
        self.records: dict[int, bytes] = {}

    async def run(self) -> None:
        while True:
            message = await self.link.receive()
            envelope = peek(message.payload).envelope
            self.records[envelope.seq] = message.payload
            ack = ack_of(StoreId(envelope.store), self.records)
            self.link.publish(topic(envelope.box, Leaf.ACK), encode_ack(ack), retain=True)
            self.link.ack(message)


async def test_records_reach_the_book_and_then_the_box_may_go(
    car_log: Path, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: log, fold, journal, outbox, broker, book, ack, empty outbox, exit 0."""
    monkeypatch.setattr(run_module, "LOOK_EVERY_S", 0.01)
    data_dir = tmp_path / "data"
    fill(data_dir, []).close()
    key = read_key(data_dir / "key" / "box.pem")
    box = run_module.box_id_of(key.public_key)
    broker = MemoryBroker()
    monkeypatch.setattr(run_module, "_uplinks", lambda settings, box, down: lambda: MemoryUplink(broker, box, down))
    book = Book(broker, box)
    booking = asyncio.create_task(book.run())
    settings = load_settings(
        None,
        {
            "data_dir": data_dir,
            "source": f"log:{car_log}",
            "profile": "nissan-leaf",
            "profiles_dir": root / "can_profiles",
            "broker": {"host": "localhost"},
        },
    )
    assert await run_module._run(settings, Herald(), speed=None, until_sent=True) == 0
    booking.cancel()
    with open_copy(data_dir / JOURNAL_FILE) as journal:
        assert journal.outbox().waiting == 0
        assert {row.seq: row.sealed for row in journal.chain()} == book.records
    assert len(book.records) > 10


def said_of(capsys: pytest.CaptureFixture[str], code: int, *options: str) -> str:
    try:
        got = main(["run", *options])
    except SystemExit as leaving:
        got = int(str(leaving.code))
    assert got == code
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "options", "said"),
    [
        (1, ["--source", "log:x"], "x: cannot be read"),
        (1, ["--source", "log:x", "--profile", "submarine"], "no profile or vehicle 'submarine'"),
        (2, ["--profile", "nissan-leaf", "--source", "socketcan:"], "is none of socketcan:can0[,can1], can:"),
        (2, ["--profile", "nissan-leaf", "--source", "can:slcan"], "expected can:INTERFACE:CHANNEL"),
        (2, ["--profile", "nissan-leaf", "--source", "sim:submarine"], "unknown car 'submarine'"),
        (1, ["--profile", "nissan-leaf", "--source", "log:/nowhere/car.log"], "/nowhere/car.log: cannot be read"),
        (2, ["--profile", "nissan-leaf", "--source", "log:x", "--until-sent"], "set broker.host"),
        (2, ["--settings", "/nowhere/packbox.toml"], "/nowhere/packbox.toml: there is no such file"),
        (2, ["--speed", "0"], "argument --speed"),
        (2, ["--speed", "fast"], "argument --speed"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str], code: int, options: list[str], said: str
) -> None:
    """A clear line and an exit code, not a trace and not a box that looks as if it ran."""
    err = said_of(capsys, code, "--data-dir", str(tmp_path / "data"), *options)
    assert said in err
    assert "Traceback" not in err


def test_a_second_box_on_the_same_data_is_refused(
    tmp_path: Path, car_log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Started by hand beside the service."""
    journal = fill(tmp_path, [])
    err = said_of(capsys, 1, "--data-dir", str(tmp_path), "--profile", "nissan-leaf", "--source", f"log:{car_log}")
    assert f"in use by another packbox (process {os.getpid()})" in err
    journal.close()


def test_a_lost_key_is_not_replaced(tmp_path: Path, car_log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a new key the box would be another box, and nobody would notice until the book refuses it."""
    fill(tmp_path, []).close()
    key_file = tmp_path / "key" / "box.pem"
    key_file.unlink()
    err = said_of(capsys, 1, "--data-dir", str(tmp_path), "--profile", "nissan-leaf", "--source", f"log:{car_log}")
    assert "the key is gone, but its journal is here" in err
    assert not key_file.exists()
