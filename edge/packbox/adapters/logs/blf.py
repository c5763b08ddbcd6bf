"""Vector BLF, read through python-can. MF4 is refused here with what it would need.

Out: columns of up to a batch of frames. A file that breaks off gives what came before the break, and a note.
python-can hands out times as seconds in a double: they are good to a microsecond, whatever the file had.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

import can
import numpy as np
from can.io.blf import BLFParseError, BLFReader

from packbox.adapters.can_messages import message_columns
from packbox.adapters.logs.columns import Columns, LogTime, columns
from packbox.adapters.logs.report import Notes
from packbox.adapters.logs.stream import Opened
from packbox.ports import LogFormatError

BLF_MAGIC: Final = b"LOGG"
MF4_MAGIC: Final = b"MDF     "
NAME: Final = "Vector BLF"
TIME: Final = LogTime(may_be_wall=True, zone_assumed=True)  # the header's SYSTEMTIME names no zone
_BATCH: Final = 4096
_OBJECT_LIMIT_BYTES: Final = 64 << 20  # containers are about 128 kB


def refuse_mf4(opened: Opened) -> None:
    if opened.head.startswith(MF4_MAGIC):
        raise LogFormatError(
            f"{opened.path}: this is an MF4 file; reading it needs the package asammdf (87 MB), which the box does not"
            " carry: convert it on a computer that has it (python-can's can_logconvert writes BLF, ASC and candump)"
        )


def frames(opened: Opened, notes: Notes) -> Iterator[Columns]:
    messages: list[can.Message] = []
    count = 0
    source = _Source(opened)
    try:
        reader = BLFReader(cast("BinaryIO", source))
        for message in reader:
            messages.append(message)
            if len(messages) == _BATCH:
                yield _columns(messages)
                count += _BATCH
                messages = []
        if source.taken < reader.file_size:
            notes.unreadable(
                "file shorter than its header says", 0, f"{source.taken} of {reader.file_size} bytes".encode()
            )
    except (BLFParseError, struct.error, zlib.error, ValueError, OverflowError) as error:
        notes.unreadable("BLF objects break off", count + len(messages), str(error).encode())
    if messages:
        yield _columns(messages)


class _Source:
    """As much of a binary file as BLFReader needs, deaf to the sizes a damaged file may ask for."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self.taken = 0

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _OBJECT_LIMIT_BYTES:
            raise ValueError(f"an object of {size} bytes")
        data = self._opened.read(size)
        self.taken += len(data)
        return data

    def close(self) -> None:
        self._opened.close()


def _columns(messages: list[can.Message]) -> Columns:
    time_ns = np.array([round(m.timestamp * 1e6) * 1000 for m in messages], np.int64)
    # As written in the file; python-can counts from 0.
    bus = np.array([m.channel + 1 if isinstance(m.channel, int) else 0 for m in messages], np.int64)
    return columns(time_ns, bus, *message_columns(messages))
