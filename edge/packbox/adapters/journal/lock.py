"""One process per journal, held by the kernel: free again the moment that process is gone."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from packbox.adapters.journal.trouble import told
from packbox.ports import JournalError


class Lock:
    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = journal.with_suffix(".lock")
        self._file: int | None = None

    def take(self) -> None:
        """Raises JournalError, naming the process that has it."""
        try:
            with told(self._path, "written"):
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                self._hold(self._file)
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _hold(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            owner = os.read(file, 20).decode(errors="replace").strip() or "?"
            raise JournalError(f"{self._journal}: in use by another packbox (process {owner})") from problem
        with suppress(OSError):  # a full disk takes no number, but the lock holds
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
