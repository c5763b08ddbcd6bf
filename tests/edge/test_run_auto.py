"""A box that nobody told which car it is in: it finds out, remembers, and notices when it is another."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from box_records import write_log
from packbox.__main__ import main
from packbox.adapters.herald import Herald
from packbox.adapters.identity import read_key
from packbox.adapters.journal import JOURNAL_FILE, open_copy
from packbox.adapters.logs import read_log
from packbox.adapters.profile_dir import Catalogue
from packbox.app import meet as meet_module
from packbox.app import run as run_module
from packbox.app.inbox import Inbox
from packbox.app.mind import remembered
from packbox.app.recognise import Doubt, Hearing, UnknownCarError, beginning, profiles_of, recognise_bus
from packbox.core.detect import detect
from packbox.core.frames import FrameBatch
from packbox.core.recognised import Recognised, recognised
from packbox.core.stamp import Tick
from packbox.settings import Settings, load_settings
from packwire.messages import Event, EventKind, Health, Hello, Message
from packwire.seal import open_sealed


@pytest.fixture(scope="module")
def leaf_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "leaf.log", "leaf-24,seed=5,start=2026-05-04,until=2026-05-05")


@pytest.fixture(scope="module")
def imiev_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "imiev.log", "imiev-16,seed=5,start=2026-06-04,until=2026-06-05")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


def settings(data_dir: Path, log: Path, profile: str | None) -> Settings:
    return load_settings(None, {"data_dir": data_dir, "source": f"log:{log}", "profile": profile})


async def run(data_dir: Path, log: Path, profile: str | None = "auto") -> None:
    assert await run_module._run(settings(data_dir, log, profile), Herald(), speed=None, until_sent=False) == 0


def messages_in(data_dir: Path) -> list[Message]:
    public_key = read_key(data_dir / "key" / "box.pem").public_key
    with open_copy(data_dir / JOURNAL_FILE) as journal:
        return [open_sealed(row.sealed, public_key).message for row in journal.chain()]


def kept(data_dir: Path) -> Recognised | None:
    with open_copy(data_dir / JOURNAL_FILE) as journal:
        saved = journal.snapshot()
    assert saved is not None
    return remembered(saved)[0]


def of_the_car(messages: Sequence[Message]) -> list[Message]:
    return [m for m in messages if not isinstance(m, Health | Hello)]


async def test_the_history_is_that_of_a_box_that_was_told(leaf_log: Path, tmp_path: Path) -> None:
    """What was heard before the car was recognised counts too: not a frame is lost."""
    await run(tmp_path / "told", leaf_log, "nissan-leaf")
    await run(tmp_path / "auto", leaf_log)
    assert of_the_car(messages_in(tmp_path / "auto")) == of_the_car(messages_in(tmp_path / "told"))
    known = kept(tmp_path / "auto")
    assert known is not None
    assert known.profile == "nissan-leaf"
    assert any("1DB" in words for words in known.evidence)
    assert kept(tmp_path / "told") is None


async def test_a_restart_does_not_learn_again(
    leaf_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ignition on at night in the cold: the first minute counts too."""
    await run(tmp_path, leaf_log, None)

    async def never(*_: object) -> None:
        pytest.fail("it learns again")

    monkeypatch.setattr(meet_module, "recognise_bus", never)
    with caplog.at_level(logging.INFO):
        await run(tmp_path, leaf_log, None)
    assert any("as recognised before" in line for line in caplog.messages)


def test_the_doctor_says_what_was_recognised_and_why(
    leaf_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator must be able to disagree."""
    asyncio.run(run(tmp_path, leaf_log))
    capsys.readouterr()
    main(["doctor", "--data-dir", str(tmp_path), "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = next(line for line in lines if line["check"] == "profile")
    assert found["verdict"] == "OK"
    assert found["text"].startswith("recognised nissan-leaf, aze0")
    assert "seen" in found["text"]


async def test_another_car_is_told_by_its_first_traffic(leaf_log: Path, imiev_log: Path, tmp_path: Path) -> None:
    """Somebody moved the box: the history so far belongs to the first car."""
    await run(tmp_path, leaf_log)
    inputs = listening(imiev_log)
    known = kept(tmp_path)
    assert known is not None
    doubt = Doubt(Catalogue(), known)
    async for item in inputs:
        if isinstance(item, FrameBatch):
            doubt.hear(item)
    text = await doubt.verdict()
    assert text is not None
    assert text.startswith("recognised was nissan-leaf, but now it is mitsubishi-imiev")


async def test_a_car_that_no_longer_fits_is_an_event_of_the_history(
    leaf_log: Path, imiev_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads the battery's history later must see from where on it may be another one's."""
    await run(tmp_path, leaf_log)

    async def verdict(_: Doubt) -> str:
        return "recognised was nissan-leaf, but now it is mitsubishi-imiev"

    monkeypatch.setattr(Doubt, "verdict", verdict)
    await run(tmp_path, imiev_log)
    said = [m for m in messages_in(tmp_path) if isinstance(m, Event) and m.event is EventKind.WRONG_PROFILE]
    assert any(event.text is not None and "now it is mitsubishi-imiev" in event.text for event in said)
    assert any("now it is mitsubishi-imiev" in line for line in caplog.messages)


async def listening(log: Path) -> AsyncIterator[FrameBatch | Tick]:
    with read_log(log) as reading:
        for batch in reading:
            yield batch


async def test_the_same_car_leaves_no_doubt(leaf_log: Path, catalogue: Catalogue) -> None:
    """It woke up as on any other day."""
    with read_log(leaf_log) as reading:
        batches = list(reading)
    found = detect(profiles_of(catalogue), beginning(batches)).found
    assert found is not None
    doubt = Doubt(catalogue, recognised(found))
    for batch in batches:
        doubt.hear(batch)
    assert await doubt.verdict() is None


async def test_a_car_that_nobody_knows_is_said_and_nothing_is_recorded(tmp_path: Path) -> None:
    """A made-up history is worse than none."""
    log = tmp_path / "strange.log"
    log.write_text("".join(f"({n / 50:.6f}) can0 {0x300 + n % 7:03X}#0011223344556677\n" for n in range(1700)))
    with pytest.raises(ExceptionGroup) as caught:
        await run(tmp_path / "data", log)
    assert caught.group_contains(UnknownCarError, match="7 ids in 1,700 frames fit no known family")
    with open_copy(tmp_path / "data" / JOURNAL_FILE) as journal:
        assert journal.snapshot() is None


async def test_what_does_not_fit_into_memory_is_counted(
    leaf_log: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A strange car may talk for hours: the newest is kept, the rest is known to be missing."""
    monkeypatch.setattr("packbox.app.recognise.ENOUGH_FRAMES", 3000)
    hearing = Hearing()
    heard = 0
    async for item in listening(leaf_log):
        assert isinstance(item, FrameBatch)
        for begin in range(0, len(item), 500):
            hearing.hear(item.pick(slice(begin, begin + 500)))
        heard += len(item)
    held = sum(len(item) for item in hearing.held if isinstance(item, FrameBatch))
    assert held <= 3000
    assert held + hearing.dropped_frames == heard


async def test_silence_is_no_reason_to_give_up(catalogue: Catalogue, leaf_log: Path) -> None:
    """A parked car may sleep for weeks before it shows what it is."""
    inbox = Inbox(may_wait=False)
    said: list[str] = []
    recognising = asyncio.create_task(recognise_bus(catalogue, inbox, Hearing(), lambda: None, said.append))
    await inbox.put(next(iter([batch async for batch in listening(leaf_log)])))
    inbox.end()
    finding = await recognising
    assert finding is not None
    assert (finding.profile, said) == ("nissan-leaf", [])
