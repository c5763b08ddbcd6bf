"""Journals of every layout that was ever in use: opened, migrated, gone on with."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from packbox.adapters.journal import JOURNAL_FILE, open_copy
from packbox.adapters.journal.migrate import NEWEST
from packbox.core.box import STATE_VERSION
from packbox.core.frames import FrameBatch
from packwire.messages import Kind
from packwire.seal import NO_PREVIOUS, digest, open_sealed

FIXTURES = Path(__file__).parent / "fixtures"
FILES = sorted(FIXTURES.glob("journal-layout-*.sql"))


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """The script that wrote the fixtures."""
    spec = spec_from_file_location("make", FIXTURES / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data folder with one of them."""
    with closing(sqlite3.connect(tmp_path / JOURNAL_FILE)) as db:
        db.executescript(request.param.read_text())
    return tmp_path


def test_every_layout_has_its_journal() -> None:
    """One without could become unreadable unseen: run fixtures/make.py when you add a migration or a state version."""
    numbers = [[int(number) for number in re.findall(r"\d+", file.name)] for file in FILES]
    assert sorted({layout for layout, *_ in numbers}) == list(range(1, NEWEST + 1))
    assert max(version for _, *versions in numbers for version in versions) == STATE_VERSION


def test_an_old_journal_keeps_all_it_held(old: Path, make: ModuleType) -> None:
    """Records byte for byte, what waits and what does not, the state."""
    with closing(sqlite3.connect(old / JOURNAL_FILE)) as db:
        before = db.execute("SELECT seq, sealed, held FROM record ORDER BY seq").fetchall()
    journal = make.journal_in(old)
    begun = journal.open()
    waiting = [row.seq for row in journal.waiting(0, 99)]
    journal.close()
    assert begun.begun_after is None
    assert begun.head.next_seq == len(before) + 1
    assert waiting == [seq for seq, _, held in before if not held]
    with open_copy(old / JOURNAL_FILE) as copy:
        assert [(row.seq, row.sealed) for row in copy.chain()] == [(seq, sealed) for seq, sealed, _ in before]


def test_a_box_goes_on_from_an_old_state_in_the_middle_of_a_drive(old: Path, make: ModuleType) -> None:
    """An update must not cost the drive that was open, the usage so far, or what was learnt about the battery."""
    journal = make.journal_in(old)
    mind = make.mind_on(journal)
    assert mind.state.pending is not None, "it was cut in the middle of a second"
    before, skip = mind.newest_seq, mind.bookmark.frames
    for item in make.car():
        if isinstance(item, FrameBatch):
            if skip >= len(item):
                skip -= len(item)
                continue
            item, skip = item.pick(slice(skip, None)), 0
        if not skip:
            mind.fold([item])
    mind.finish()
    mind.commit()
    rows = journal.waiting(before, 10_000)
    journal.close()
    numbers = [row.session for row in rows if row.session is not None]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    drives = [row for row in rows if row.kind == Kind.DRIVE]
    assert len(drives) >= 2, "the drive that was open, and one after it"
    assert mind.state.usage.charges_ac >= 1, "what was counted before the update counts on"


def test_the_chain_of_an_old_journal_goes_on_unbroken(old: Path, make: ModuleType) -> None:
    """The book follows digests from record to record, across updates of the box."""
    journal = make.journal_in(old)
    mind = make.mind_on(journal)
    mind.finish()
    mind.commit()
    journal.close()
    with open_copy(old / JOURNAL_FILE) as copy:
        previous = NO_PREVIOUS
        for row in copy.chain():
            assert open_sealed(row.sealed, make.PUBLIC_KEY).envelope.previous == previous
            previous = digest(row.sealed)
        assert copy.outbox().waiting > 2
