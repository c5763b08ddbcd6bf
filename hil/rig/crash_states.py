"""What may lie on a disk whose power went, built from a log of everything that was written to it.

In:  the log that QEMU's `blklogwrites` node keeps (the kernel's dm-log-writes format), the disk as it was before.
Out: `crash_states`: whole disk images, in the order of the log, each with the place in the log where the power went.
What was flushed is there. Of what was written since, any part may be there, in pieces of a sector: neither the file
system nor the card orders anything between two flushes.
Refuses a file that is no such log. A log whose end was not written whole ends at its last whole entry.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAGIC: Final = 0x6A736677736872  # linux/drivers/md/dm-log-writes.c: WRITE_LOG_MAGIC
VERSION: Final = 1
SUPER: Final = struct.Struct("<QQQL")  # magic, version, entries, bytes per sector
ENTRY: Final = struct.Struct("<QQQQ")  # sector, sectors, flags, length of a mark's text
FLUSH: Final = 1
FORCED: Final = 2
DISCARD: Final = 4
MARK: Final = 8
TORN_BYTES: Final = 512  # a card writes no less at once
KEPT_SHARES: Final = (0.0, 0.5, 0.9, 1.0)  # of what was not flushed: nothing, half, all but a few, everything
CACHES: Final = (16, 64, 256)  # writes that a card which lies about flushes may still hold
TORN_SHARE: Final = 0.2  # of the writes that did not make it whole


class LogError(Exception):
    """Not a log of writes; nothing was read from it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`flushes`: all entries before it are on the medium. `forced`: it is there itself (FUA).

    `where`: of its data in the log file; None for what was discarded, which nobody may count on any more.
    """

    at: int  # byte on the disk
    size: int  # 0: nothing written
    where: int | None
    flushes: bool
    forced: bool


@dataclass(frozen=True, slots=True)
class CrashState:
    """`image` is overwritten by the next state."""

    image: Path
    at: int  # entries of the log that had happened
    flushed: int  # of them, safe
    lost: int  # writes that did not make it, or not whole
    torn: int


def entries_flushed(log: Path) -> int:
    """How many entries lay before the newest flush, while QEMU still writes the log. 0 before the first."""
    with log.open("rb", buffering=0) as file:
        head = file.read(SUPER.size)
    return 0 if len(head) < SUPER.size or not any(head) else _super(log, head)[0]


def read_log(log: Path) -> list[Entry]:
    """All whole entries. Raises LogError."""
    entries: list[Entry] = []
    end = log.stat().st_size
    with log.open("rb") as file:
        _, sector = _super(log, file.read(SUPER.size))
        at = sector
        while at + sector <= end:
            file.seek(at)
            start, sectors, flags, text = ENTRY.unpack(file.read(ENTRY.size))
            if not (sectors or flags):
                break  # never written: the file is longer than the log
            at += sector
            is_data = not flags & (DISCARD | MARK)
            size = 0 if flags & MARK else sectors * sector
            entries.append(
                Entry(start * sector, size, at if is_data else None, bool(flags & FLUSH), bool(flags & FORCED))
            )
            if is_data:
                at += size
            elif flags & MARK:
                at += -(-text // sector) * sector
            if at > end:
                entries.pop()
    return entries


def crash_states(
    log: Path, before: Path, image: Path, dice: random.Random, count: int, first: int = 0, *, lies: bool = False
) -> Iterator[CrashState]:
    """`count` power cuts at random places from entry `first` on. `before`: the disk when the log began.

    Most fall right after a write, because right after a flush nothing can be lost. `lies`: the disk said that it had
    flushed and had not; of its newest writes, as many as its cache holds, any may be missing.
    """
    entries = read_log(log)
    if first > len(entries):
        raise LogError(f"{log}: has {len(entries)} entries, and states are to begin at {first}")
    anywhere = range(first, len(entries) + 1)
    after_writes = [at for at in anywhere if at and entries[at - 1].size]
    places = [*anywhere, *after_writes * 3]
    safe = bytearray(before.read_bytes())
    done = 0
    with log.open("rb") as source:
        for at in sorted(dice.choice(places) for _ in range(count)):
            flushed = max(0, at - dice.choice(CACHES)) if lies else _flushed_before(entries, at)
            if flushed < done:  # a larger cache than last time's
                safe, done = bytearray(before.read_bytes()), 0
            for entry in entries[done:flushed]:
                _apply(safe, entry, source.fileno())
            done = flushed
            disk = bytearray(safe)
            lost, torn = _add_some(disk, entries[done:at], source.fileno(), dice)
            image.write_bytes(disk)
            yield CrashState(image, at, done, lost, torn)


def _super(log: Path, head: bytes) -> tuple[int, int]:
    """How many entries were there at the newest flush, and how long a sector is."""
    if len(head) < SUPER.size:
        raise LogError(f"{log}: too short for a log of writes")
    magic, version, entries, sector = SUPER.unpack(head)
    if magic != MAGIC or version != VERSION:
        raise LogError(f"{log}: no log of writes (magic {magic:#x}, version {version})")
    if sector < TORN_BYTES or sector & (sector - 1):
        raise LogError(f"{log}: {sector} bytes per sector cannot be")
    return entries, sector


def _flushed_before(entries: Sequence[Entry], at: int) -> int:
    """How many entries the newest flush before `at` made safe."""
    return next((k for k in range(at - 1, -1, -1) if entries[k].flushes), 0)


def _add_some(disk: bytearray, entries: Sequence[Entry], log: int, dice: random.Random) -> tuple[int, int]:
    """Some writes whole, some in part, some not at all: how many are not whole, and how many of those are torn."""
    kept = dice.choice(KEPT_SHARES)
    lost = torn = 0
    for entry in entries:
        if not entry.size:
            continue
        if entry.forced or dice.random() < kept:
            _apply(disk, entry, log)
            continue
        lost += 1
        if dice.random() < TORN_SHARE:
            torn += 1
            _tear(disk, entry, log, dice)
    return lost, torn


def _tear(disk: bytearray, entry: Entry, log: int, dice: random.Random) -> None:
    data = _data(log, entry)
    for offset in range(0, entry.size, TORN_BYTES):
        if dice.random() < 0.5:
            at = entry.at + offset
            disk[at : at + TORN_BYTES] = data[offset : offset + TORN_BYTES]


def _apply(disk: bytearray, entry: Entry, log: int) -> None:
    disk[entry.at : entry.at + entry.size] = _data(log, entry)


def _data(log: int, entry: Entry) -> bytes:
    return bytes(entry.size) if entry.where is None else os.pread(log, entry.size, entry.where)
