"""What a box's data folder holds after a power cut, read as its next start reads it, and judged by what was made known.

In:  the folder as it lay on the disk; the records that left the box before (`rig.witness`).
Out: `Kept`, or BrokenPromiseError that says which promise of the journal was broken.
Works on a copy: opening a journal folds its log back, and may set it aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from packbox.adapters import snapshot
from packbox.adapters.identity import FileKey, KeyFileError, read_key
from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal, open_copy
from packbox.adapters.snapshot import SnapshotError
from packbox.app.mind import Saved
from packbox.core.box_state import BoxState
from packbox.core.record import BoxId
from packbox.core.stamp import Stamp
from packbox.ports import JournalError
from packbox.testing.sim_clock import SimClock
from packwire.errors import WireError
from packwire.ids import box_id_of
from packwire.messages import Session
from packwire.seal import NO_PREVIOUS, Record, digest, open_sealed

KEY: Final = "key/box.pem"


class BrokenPromiseError(AssertionError):
    """The journal lost, doubled or tore what it had said was safe."""


class NoStartError(BrokenPromiseError):
    """The box does not start on what it finds, and says why: a person must bring back the key, or begin anew."""


@dataclass(frozen=True, slots=True)
class Kept:
    """`begun_after`: why this store began instead of an older one, None if it is the one that was there.

    `newest`: up to where the saved state had heard the car; None before the first frame.
    """

    store: str
    begun_after: str | None
    records: tuple[Record, ...]
    newest: Stamp | None

    @property
    def sessions(self) -> list[int]:
        return [record.message.session for record in self.records if isinstance(record.message, Session)]


def kept_in(folder: Path) -> Kept | None:
    """None where no box ever came to its first start. Raises BrokenPromiseError."""
    try:
        key = read_key(folder / KEY)
    except KeyFileError as problem:
        if (folder / JOURNAL_FILE).exists():
            raise NoStartError(f"a journal without its key: {problem}") from problem
        return None
    box = BoxId(box_id_of(key.public_key))
    journal = SqliteJournal(folder / JOURNAL_FILE, box, digest, SimClock())
    try:
        found = journal.open()
        newest = None if found.state is None else _newest_moment(found.state)
    except (JournalError, SnapshotError) as problem:
        raise NoStartError(str(problem)) from problem
    finally:
        journal.close()
    return Kept(found.head.store, found.begun_after, _chain(folder, key), newest)


def _newest_moment(saved: bytes) -> Stamp | None:
    whole = msgspec.msgpack.decode(saved, type=Saved)
    line = snapshot.load(whole.state, BoxState).line
    return None if line is None else line.stamp(line.high_ns)


def hold_to(kept: Kept | None, told: Mapping[tuple[str, int], bytes]) -> None:
    """Every record that left the box is there as it left, and no session is missing or there twice."""
    if not told:
        return
    if kept is None:
        raise BrokenPromiseError(f"{len(told)} records left the box, and nothing is on its card")
    if kept.begun_after is not None:
        raise BrokenPromiseError(f"a new store began: {kept.begun_after}")
    here = {(kept.store, record.envelope.seq): record.sealed for record in kept.records}
    lost = sorted(place for place in told if place not in here)
    other = sorted(place for place in told if place in here and here[place] != told[place])
    if lost or other:
        raise BrokenPromiseError(f"of {len(told)} records that left the box {lost} are lost, {other} differ")
    if kept.sessions != list(range(1, len(kept.sessions) + 1)):
        raise BrokenPromiseError(f"sessions are lost or doubled: {kept.sessions}")


def _chain(folder: Path, key: FileKey) -> tuple[Record, ...]:
    try:
        with open_copy(folder / JOURNAL_FILE) as copy:
            damage = copy.damage()
            rows = list(copy.chain())
    except JournalError as problem:
        raise BrokenPromiseError(str(problem)) from problem
    if damage is not None:
        raise BrokenPromiseError(f"SQLite finds damage: {damage}")
    records: list[Record] = []
    previous = NO_PREVIOUS
    for place, row in enumerate(rows, 1):
        try:
            record = open_sealed(row.sealed, key.public_key)
        except WireError as problem:
            raise BrokenPromiseError(f"record {row.seq}: {problem}") from problem
        if (record.envelope.seq, record.envelope.previous) != (place, previous):
            raise BrokenPromiseError(f"record {row.seq} does not follow record {place - 1}")
        previous = digest(record.sealed)
        records.append(record)
    return tuple(records)
