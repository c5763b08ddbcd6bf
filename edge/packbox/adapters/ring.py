"""The newest raw frames on disk, as many as there is room for: blocks in numbered files, the oldest file goes first.

In:  blocks as bytes, and how much room there is now. Out: the blocks, oldest first.
Every block is flushed: a power cut takes at most the last one. Each start begins a file of its own, so nothing is ever
written behind a torn block. Raw frames are worth least of all that the box keeps: no room means none, never trouble.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from packbox.adapters.durable import sync_folder
from packbox.adapters.ring_block import RawBlock, decode_all

FOLDER: Final = "raw"
FILES: Final = 16  # the ring gives up a sixteenth at a time
_NAME: Final = re.compile(r"\d{8}\.ring")


class Ring:
    """One writer. `room_bytes`: how much the ring may take now, asked before every block."""

    def __init__(self, folder: Path, room_bytes: Callable[[], int]) -> None:
        self._folder = folder
        self._room_bytes = room_bytes
        self._file: int | None = None
        self._file_bytes = 0
        self._bytes = 0  # of all files

    def append(self, block: bytes) -> None:
        """Returns when the block is on disk. Raises OSError; what was there before is safe."""
        room = self._room_bytes()
        if self._file is None:
            self._begin()
        if self._file_bytes and self._file_bytes + len(block) > room // FILES:
            self._begin()
        files = ring_files(self._folder)
        while files[:-1] and self._bytes + len(block) > room:
            self._remove(files.pop(0))
        if self._bytes + len(block) > room:
            raise OSError(f"no room for {len(block)} more bytes of raw frames")
        self._write(block)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _begin(self) -> None:
        self.close()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        there = ring_files(self._folder)
        self._bytes = sum(file.stat().st_size for file in there)
        number = int(there[-1].stem) + 1 if there else 1
        path = self._folder / f"{number:08}.ring"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._file_bytes = 0
        sync_folder(self._folder)

    def _write(self, block: bytes) -> None:
        assert self._file is not None
        try:
            written = os.write(self._file, block)
            if written < len(block):
                raise OSError(f"only {written} of {len(block)} bytes were taken: disk full")
            os.fsync(self._file)
        except OSError:
            self._leave_torn()
            raise
        self._file_bytes += len(block)
        self._bytes += len(block)

    def _leave_torn(self) -> None:
        """What may be half there stays behind: the next block goes into a file of its own."""
        self.close()
        if not self._file_bytes:
            ring_files(self._folder)[-1].unlink()  # a disk that stays full must not fill up with names

    def _remove(self, file: Path) -> None:
        size = file.stat().st_size
        file.unlink()
        self._bytes -= size


def ring_files(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(file for file in folder.glob("*.ring") if _NAME.fullmatch(file.name))


def read_ring(folder: Path) -> Iterator[RawBlock]:
    """Every whole block, oldest first. A file that the writer removes meanwhile is passed over. Raises OSError."""
    for file in ring_files(folder):
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            continue
        yield from decode_all(data)
