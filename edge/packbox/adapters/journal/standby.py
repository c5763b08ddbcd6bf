"""What a box goes on with while its disk refuses: the journal as far as it can be read, in memory.

In:  the files of a journal, on a disk that is full, read-only or failing.
Out: a database in memory with the same content; and, once the disk is well again, that content on it.
The files are copied before SQLite touches them: it cannot even read a write-ahead log where it cannot write beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from packbox.adapters.journal.files import files_of

MEMORY: Final = Path("/dev/shm")  # noqa: S108  never on the disk that refuses; the folder's name is random
WAL_INDEX: Final = "-shm"  # of the process that made it


def read_into_memory(
    path: Path, open_sound: Callable[[Path], tuple[sqlite3.Connection, str | None]]
) -> tuple[sqlite3.Connection, str | None]:
    """The journal in memory, and why a new store began there. Raises sqlite3.Error or OSError."""
    with copied(path) as copy:
        db, begun_after = open_sound(copy)
        with closing(db):
            db.execute("PRAGMA journal_mode = DELETE")  # a database in memory has no log beside it
            memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            db.backup(memory)
    return memory, begun_after


def bring_back(memory: sqlite3.Connection, disk: sqlite3.Connection) -> bool:
    """Whether the disk goes on where the memory is: it holds the same store as far, or held none and now does.

    Raises sqlite3.Error; then the disk holds what it held.
    """
    if disk.execute("SELECT count(*) FROM store").fetchone() == (0,):
        memory.backup(disk)
        disk.execute("PRAGMA journal_mode = WAL")
    return _place(memory) == _place(disk)


def _place(db: sqlite3.Connection) -> object:
    return db.execute("SELECT id, (SELECT max(seq) FROM record) FROM store").fetchone()


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """The same journal in a folder in memory, for as long as that lasts."""
    import shutil  # neither is for a box whose disk is well
    import tempfile

    with tempfile.TemporaryDirectory(prefix="packbox-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        for file in files_of(path):
            if not file.name.endswith(WAL_INDEX):
                shutil.copyfile(file, Path(folder) / file.name)
        yield Path(folder) / path.name
