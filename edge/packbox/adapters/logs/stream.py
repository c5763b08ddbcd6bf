"""Open a log, look at its start, hand out its lines in blocks.

In:  a path, plain or gzip (told by its magic bytes).
Out: `Opened`: the head that tells the format, then bytes or blocks of whole lines; no more than two blocks in memory.
Refuses what holds no bytes: missing, a folder, empty, not permitted, gzip damaged from its start.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packbox.adapters.logs.report import Notes
from packbox.ports import LogFormatError

GZIP_MAGIC: Final = b"\x1f\x8b"
BLOCK_BYTES: Final = 1 << 18  # about 5 000 lines: numpy's fixed costs vanish, the columns still fit a Pi's cache
LINE_LIMIT_BYTES: Final = 1 << 16  # the longest honest line, CAN FD in ASC, is under 600 bytes


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, each ended by LF."""

    text: bytes
    first_line: int  # from 1
    cut: bool  # the file ends within the last line; its LF was added


class Opened:
    """An open log. `head` is its start, read ahead; `read` and `blocks` begin at the start all the same."""

    def __init__(self, path: Path, notes: Notes) -> None:
        self.path = path
        self._notes = notes
        self._broken = False
        self._ahead = b""
        with ExitStack() as files:
            try:
                plain = files.enter_context(path.open("rb"))
                self.compressed = plain.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
            except OSError as error:
                raise LogFormatError(f"{path}: cannot be read: {error.strerror}") from error
            self._file = files.enter_context(gzip.GzipFile(fileobj=plain)) if self.compressed else plain
            self.head = self.read(BLOCK_BYTES)
            if not self.head:
                why = "compressed data is damaged from its start" if self._broken else "the file is empty"
                raise LogFormatError(f"{path}: {why}")
            self._files = files.pop_all()
        self._ahead = self.head

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, less only at the end. What a broken gzip stream held before the break is kept."""
        parts, self._ahead = [self._ahead[:size]], self._ahead[size:]
        missing = size - len(parts[0])
        while missing and not self._broken:
            try:
                part = self._file.read(min(missing, BLOCK_BYTES))
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                self._broken = True
                self._notes.unreadable("compressed data breaks off", 0, str(error).encode())
                break
            except OSError as error:
                raise LogFormatError(f"{self.path}: reading stopped: {error.strerror}") from error
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def blocks(self) -> Iterator[Block]:
        """All lines. One over LINE_LIMIT_BYTES that fits no block is noted and left out."""
        carry, line = b"", 1
        while chunk := self.read(BLOCK_BYTES):
            text = carry + chunk
            end = text.rfind(b"\n") + 1
            if end:
                yield Block(text[:end], line, cut=False)
                line += text.count(b"\n", 0, end)
            carry = text[end:]
            if len(carry) > LINE_LIMIT_BYTES:
                self._notes.unreadable(f"line longer than {LINE_LIMIT_BYTES} bytes", line, carry)
                carry = self._rest_after_line_end()
                line += 1
        if carry:
            yield Block(carry + b"\n", line, cut=True)

    def close(self) -> None:
        self._files.close()

    def _rest_after_line_end(self) -> bytes:
        while chunk := self.read(BLOCK_BYTES):
            end = chunk.find(b"\n") + 1
            if end:
                return chunk[end:]
        return b""
