"""Fold, seal, commit: what the journal's thread does, through restarts and disks that refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from box_records import write_log
from packbox.adapters.herald import Herald
from packbox.adapters.identity import FileKey, make_key
from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal
from packbox.adapters.log_source import LogSource, log_boot
from packbox.adapters.profile_dir import Catalogue
from packbox.app import mind as mind_module
from packbox.app.inbox import Inbox
from packbox.app.mind import Mind
from packbox.app.think import RETRY_S, Thinker
from packbox.core.box import BoxPlan
from packbox.core.decode import Decoder
from packbox.core.frames import FrameBatch
from packbox.core.outcome import BoxHealth
from packbox.core.record import BatteryId, BoxId, SealedRow, StoreId
from packbox.core.stamp import NS_PER_S, Stamp, Tick
from packbox.ports import JournalError
from packbox.testing.memory_journal import MemoryJournal
from packbox.testing.sim_clock import SimClock
from packwire.ids import box_id_of
from packwire.messages import Event, EventKind, Kind
from packwire.seal import NO_PREVIOUS, Record, digest, open_sealed

STORE = StoreId("57" * 8)
T = TypeVar("T")
Items = Sequence[FrameBatch | Tick]
PIECE_FRAMES = 4096


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> FileKey:
    return make_key(tmp_path_factory.mktemp("key") / "key" / "box.pem")


@pytest.fixture(scope="module")
def box(key: FileKey) -> BoxId:
    return BoxId(box_id_of(key.public_key))


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Items:
    """Two days of a car, as a log, in batches of a size that a bus would give."""
    path = tmp_path_factory.mktemp("log") / "car.log"
    write_log(path, "leaf-24,seed=3,start=2026-05-04,until=2026-05-06")

    async def read() -> list[FrameBatch | Tick]:
        return [item async for item in LogSource(path, log_boot(path), None).inputs()]

    return [piece for item in asyncio.run(read()) for piece in pieces(item)]


def pieces(item: FrameBatch | Tick) -> Iterator[FrameBatch | Tick]:
    if isinstance(item, Tick):
        yield item
        return
    for begin in range(0, len(item), PIECE_FRAMES):
        yield item.pick(slice(begin, begin + PIECE_FRAMES))


@pytest.fixture(scope="module")
def plan(box: BoxId, root: Path) -> BoxPlan:
    profile, variant = Catalogue(root / "can_profiles").find("nissan-leaf")
    return BoxPlan(Decoder(profile, variant), box, BatteryId("test-1"), "configured", "test")


@pytest.fixture
def journal(box: BoxId) -> MemoryJournal:
    return MemoryJournal(box, STORE, digest)


def begun(plan: BoxPlan, journal: MemoryJournal | SqliteJournal, key: FileKey, source: str = "log:1") -> Mind:
    mind = Mind(journal, key)
    mind.open()
    mind.meet(plan, None)
    mind.begin(source, BoxHealth)
    return mind


def verified(rows: Sequence[SealedRow], key: FileKey) -> list[Record]:
    """The records, believed: signatures and chain hold from the first to the last."""
    records = [open_sealed(row.sealed, key.public_key) for row in rows]
    previous = NO_PREVIOUS
    for seq, record in enumerate(records, 1):
        assert (record.envelope.seq, record.envelope.previous) == (seq, previous)
        previous = digest(record.sealed)
    return records


def told(records: Sequence[Record]) -> list[object]:
    """What was said, without where it stands in the chain."""
    return [record.message for record in records]


@pytest.fixture(scope="module")
def truth(plan: BoxPlan, box: BoxId, key: FileKey, items: Items) -> list[object]:
    """What a box says that is never disturbed."""
    journal = MemoryJournal(box, STORE, digest)
    mind = begun(plan, journal, key)
    mind.fold(items)
    mind.finish()
    mind.commit()
    return told(verified(journal.rows, key))


def test_a_car_becomes_a_chain_of_records(truth: list[object]) -> None:
    """The whole path in one: the first record introduces the box, sessions follow, usage comes with health."""
    kinds = [type(message).__name__ for message in truth]
    assert kinds[0] == "Hello"
    assert {"Drive", "Rest", "Usage", "Soh"} <= set(kinds)
    assert all(kinds[k + 1] == "Health" for k, kind in enumerate(kinds) if kind == "Usage")


@pytest.mark.parametrize("every", [1, 7])
def test_a_restart_after_any_commit_says_the_same(
    plan: BoxPlan, journal: MemoryJournal, key: FileKey, items: Items, truth: list[object], every: int
) -> None:
    """State and records are saved together, so a power cut between two commits changes nothing."""
    for k in range(0, len(items), every):
        mind = begun(plan, journal, key)
        mind.fold(items[k : k + every])
        mind.commit()
    mind = begun(plan, journal, key)
    mind.finish()
    mind.commit()
    assert told(verified(journal.rows, key)) == truth


def test_work_lost_in_a_power_cut_is_done_again_from_the_bookmark(
    plan: BoxPlan, journal: MemoryJournal, key: FileKey, items: Items, truth: list[object]
) -> None:
    """What was folded and not committed is folded again, not lost and not twice."""
    mind = begun(plan, journal, key)
    mind.fold(items[:3])
    mind.commit()
    mind.fold(items[3:8])  # and the power goes
    mind = begun(plan, journal, key)
    assert mind.bookmark.frames == sum(len(item) for item in items[:3] if isinstance(item, FrameBatch))
    mind.fold(items[3:])
    mind.finish()
    mind.commit()
    assert told(verified(journal.rows, key)) == truth


def test_a_source_that_has_ended_is_closed_once(
    plan: BoxPlan, journal: MemoryJournal, key: FileKey, items: Items, truth: list[object]
) -> None:
    """A log replayed a second time has nothing to add."""
    mind = begun(plan, journal, key)
    mind.fold(items)
    mind.finish()
    mind.commit()
    for _ in range(2):
        mind = begun(plan, journal, key)
        mind.finish()
        mind.commit()
    assert told(verified(journal.rows, key)) == truth


def test_another_source_begins_at_its_start(plan: BoxPlan, journal: MemoryJournal, key: FileKey, items: Items) -> None:
    """The bookmark of one log means nothing in another."""
    mind = begun(plan, journal, key, "log:1")
    mind.fold(items[:1])
    mind.commit()
    assert begun(plan, journal, key, "log:1").bookmark.frames == len(items[0])
    assert begun(plan, journal, key, "log:2").bookmark.frames == 0


def test_a_full_disk_loses_nothing(
    plan: BoxPlan, journal: MemoryJournal, key: FileKey, items: Items, truth: list[object]
) -> None:
    """Outcomes wait in memory; the chain has no hole because nothing was sealed before its commit."""
    mind = begun(plan, journal, key)
    for k, item in enumerate(items):
        mind.fold([item])
        journal.trouble = "disk full" if 2 <= k < len(items) - 2 else None
        if journal.trouble:
            with pytest.raises(JournalError):
                mind.commit()
        else:
            mind.commit()
    mind.finish()
    mind.commit()
    assert told(verified(journal.rows, key)) == truth


def test_what_memory_cannot_hold_is_counted_and_sessions_stay_longest(
    plan: BoxPlan,
    journal: MemoryJournal,
    key: FileKey,
    items: Items,
    truth: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Months on a read-only card: cumulative figures come again, a lost session never does."""
    sessions = [m for m in truth if type(m).__name__ in ("Drive", "Rest", "Charge")]
    monkeypatch.setattr(mind_module, "PENDING_MAX", len(sessions) + 1)
    mind = begun(plan, journal, key)
    mind.fold(items)
    mind.finish()
    lost = mind.lost
    mind.commit()
    records = verified(journal.rows, key)
    assert told(records)[1:-1] == sessions
    last = records[-1].message
    assert isinstance(last, Event)
    assert (records[0].kind, last.event) == (Kind.HELLO, EventKind.DATA_LOST)
    assert lost == len(truth) - len(sessions) - 1
    assert last.text is not None
    assert last.text.startswith(f"{lost} summaries")


def test_a_new_store_tells_why_right_after_the_hello(
    plan: BoxPlan, key: FileKey, box: BoxId, items: Items, tmp_path: Path
) -> None:
    """The book must hear that history was lost, and can believe it only once it knows our key."""
    (tmp_path / JOURNAL_FILE).write_bytes(b"garbage" * 1000)
    journal = SqliteJournal(tmp_path / JOURNAL_FILE, box, digest, SimClock())
    begun(plan, journal, key)
    journal.close()  # damaged, renamed, and then the power went before the first commit
    mind = begun(plan, journal, key)
    mind.fold(items[:1])
    mind.commit()
    first, second = verified(journal.waiting(0, 2), key)
    journal.close()
    assert first.kind is Kind.HELLO
    assert isinstance(second.message, Event)
    assert second.message.event is EventKind.STORE_BEGUN
    assert second.message.text is not None
    assert "journal.damaged-1.db" in second.message.text


async def _offload(work: Callable[[], T], /) -> T:
    """As a thread does: others run meanwhile."""
    await asyncio.sleep(0.01)
    return work()


@pytest.mark.looptime
async def test_thinking_goes_on_while_the_disk_is_full_and_says_so_once(
    plan: BoxPlan,
    journal: MemoryJournal,
    key: FileKey,
    items: Items,
    truth: list[object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The car does not wait for our disk."""
    caplog.set_level("INFO")
    mind = begun(plan, journal, key)
    inbox = Inbox(may_wait=True)
    committed = asyncio.Event()
    thinker = Thinker(mind, inbox, _offload, committed, Herald(), 10.0)
    task = asyncio.create_task(thinker.run(lambda: True))
    journal.trouble = "disk full"
    for item in items:
        await inbox.put(item)
    await asyncio.sleep(10 * RETRY_S)
    assert inbox.empty
    assert thinker.trouble == "memory: cannot be written: disk full"
    assert not committed.is_set()
    journal.trouble = None
    await asyncio.sleep(RETRY_S + 1)
    assert thinker.trouble is None
    assert committed.is_set()
    inbox.end()
    await task
    assert told(verified(journal.rows, key)) == truth
    assert [r.levelname for r in caplog.records if r.name == "packbox.app.think"] == ["WARNING", "INFO"]


@pytest.mark.looptime
async def test_records_are_saved_at_once_and_state_in_time(
    plan: BoxPlan, journal: MemoryJournal, key: FileKey, items: Items
) -> None:
    """A power cut may take ten seconds of state, never a session that was closed."""
    mind = begun(plan, journal, key)
    inbox = Inbox(may_wait=False)
    thinker = Thinker(mind, inbox, _offload, asyncio.Event(), Herald(), 10.0)
    task = asyncio.create_task(thinker.run(lambda: False))
    await inbox.put(items[0])  # brings the hello
    await asyncio.sleep(0.1)
    assert (journal.commits, len(journal.rows)) == (1, 1)
    last = items[0]
    assert isinstance(last, FrameBatch)
    for second in range(1, 31):
        await asyncio.sleep(1)
        await inbox.put(Tick(Stamp(last.boot, int(last.mono_ns[-1]) + second * NS_PER_S, None)))
    assert journal.commits == 4
    for _ in range(3600):
        await asyncio.sleep(1)
    assert journal.commits == 5, "nothing came, so there was nothing to write"
    inbox.end()
    await task


@pytest.mark.looptime
async def test_under_load_commits_are_shared(plan: BoxPlan, journal: MemoryJournal, key: FileKey, items: Items) -> None:
    """A year of log at full speed must not write the card a thousand times a second."""
    mind = begun(plan, journal, key)
    inbox = Inbox(may_wait=True, room_items=1)
    thinker = Thinker(mind, inbox, _offload, asyncio.Event(), Herald(), 10.0)
    task = asyncio.create_task(thinker.run(lambda: True))
    for item in items:
        await inbox.put(item)
    inbox.end()
    await task
    assert len(journal.rows) > 10
    assert journal.commits <= 3
