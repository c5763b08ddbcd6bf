"""The rig's judge of power cuts: it must see each way in which a card can break its promise, and no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from box_records import BOOT, fill
from packbox.adapters.journal import JOURNAL_FILE
from packwire.messages import Health, Rest
from rig.kept import BrokenPromiseError, Kept, NoStartError, hold_to, kept_in


def lived(folder: Path, sessions: Sequence[int]) -> Kept:
    """A box that said that it is well, then closed these sessions, and lost its power."""
    fill(folder, [Health(), *(Rest(session=number, boot=BOOT, start_mono_ms=0) for number in sessions)]).close()
    found = kept_in(folder)
    assert found is not None
    return found


def told(kept: Kept) -> dict[tuple[str, int], bytes]:
    return {(kept.store, record.envelope.seq): record.sealed for record in kept.records}


def test_a_card_that_kept_everything_is_believed(tmp_path: Path) -> None:
    kept = lived(tmp_path, [1, 2, 3])
    assert (len(kept.records), kept.sessions, kept.begun_after) == (4, [1, 2, 3], None)
    hold_to(kept, told(kept))
    hold_to(kept, {})


def test_a_record_that_was_told_and_is_gone_or_other_is_named(tmp_path: Path) -> None:
    kept = lived(tmp_path, [1])
    with pytest.raises(BrokenPromiseError, match=r"\('[0-9a-f]{16}', 3\)\] are lost, \[\] differ"):
        hold_to(kept, {**told(kept), (kept.store, 3): b"gone"})
    with pytest.raises(BrokenPromiseError, match=r"\[\] are lost, \[\('[0-9a-f]{16}', 2\)\] differ"):
        hold_to(kept, {**told(kept), (kept.store, 2): b"other"})
    with pytest.raises(BrokenPromiseError, match="nothing is on its card"):
        hold_to(None, told(kept))


@pytest.mark.parametrize("sessions", [[1, 3], [1, 2, 2]], ids=["lost", "doubled"])
def test_a_session_that_is_lost_or_doubled_is_seen(tmp_path: Path, sessions: list[int]) -> None:
    """Also one that nobody was told of: the numbers of a store have no holes."""
    kept = lived(tmp_path, sessions)
    with pytest.raises(BrokenPromiseError, match="sessions are lost or doubled"):
        hold_to(kept, told(kept))


def test_a_hole_in_the_chain_is_seen(tmp_path: Path) -> None:
    lived(tmp_path, [1, 2])
    with closing(sqlite3.connect(tmp_path / JOURNAL_FILE)) as db, db:
        db.execute("DELETE FROM record WHERE seq = 2")
    with pytest.raises(BrokenPromiseError, match="record 3 does not follow record 1"):
        kept_in(tmp_path)


def test_a_journal_that_was_set_aside_is_no_promise_kept(tmp_path: Path) -> None:
    before = told(lived(tmp_path, [1]))
    (tmp_path / JOURNAL_FILE).write_bytes(b"not a database " * 500)
    kept = kept_in(tmp_path)
    assert kept is not None
    assert kept.records == ()
    with pytest.raises(BrokenPromiseError, match=r"a new store began: journal\.db was damaged"):
        hold_to(kept, before)


def test_an_empty_card_holds_nothing_and_a_lost_key_is_no_start(tmp_path: Path) -> None:
    assert kept_in(tmp_path) is None
    lived(tmp_path, [1])
    (tmp_path / "key/box.pem").unlink()
    with pytest.raises(NoStartError, match="a journal without its key"):
        kept_in(tmp_path)
