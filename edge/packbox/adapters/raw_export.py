"""Raw frames as a log that other programs read: candump, Vector BLF, Vector ASC.

In:  frame batches in order, each with its offset to wall time (ms) or None, and the names of the buses.
Out: a file. candump keeps everything; BLF numbers the buses; ASC numbers them too and says of an error frame only when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import can

from packbox.core.frames import ERROR, EXTENDED, FD, REMOTE, SENT, FrameBatch
from packbox.core.stamp import NS_PER_MS

ERROR_BIT: Final = 0x2000_0000  # linux/can.h, CAN_ERR_FLAG
NS_PER_US: Final = 1000
US_PER_S: Final = 1_000_000


class LogWriter(Protocol):
    def write(self, batch: FrameBatch, bus_names: Sequence[str]) -> None: ...

    def close(self) -> None: ...


class CandumpWriter:
    """`(seconds.micros) bus id#data`, what `candump -l` writes and `canplayer` plays."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="ascii", newline="\n")

    def write(self, batch: FrameBatch, bus_names: Sequence[str]) -> None:
        self._file.writelines(_candump_lines(batch, bus_names))

    def close(self) -> None:
        self._file.close()


class CanWriter:
    """python-can's writers."""

    def __init__(self, writer: can.io.generic.MessageWriter) -> None:
        self._writer = writer

    def write(self, batch: FrameBatch, bus_names: Sequence[str]) -> None:  # noqa: ARG002  these formats number buses
        for us, bus, can_id, flags, data in _rows(batch):
            self._writer.on_message_received(
                can.Message(
                    timestamp=us / US_PER_S,
                    channel=bus,
                    arbitration_id=can_id,
                    is_extended_id=bool(flags & EXTENDED),
                    is_fd=bool(flags & FD),
                    is_error_frame=bool(flags & ERROR),
                    is_remote_frame=bool(flags & REMOTE),
                    is_rx=not flags & SENT,
                    dlc=len(data),
                    data=None if flags & REMOTE else data,
                )
            )

    def close(self) -> None:
        self._writer.stop()


WRITERS: Final[Mapping[str, Callable[[Path], LogWriter]]] = MappingProxyType(
    {
        "candump": CandumpWriter,
        "blf": lambda path: CanWriter(can.BLFWriter(path)),
        "asc": lambda path: CanWriter(can.ASCWriter(path)),
    }
)
FORMAT_OF: Final[Mapping[str, str]] = MappingProxyType({".log": "candump", ".blf": "blf", ".asc": "asc"})


def bus_name(bus: int, names: Sequence[str]) -> str:
    return names[bus] if bus < len(names) else f"can{bus}"


def _candump_lines(batch: FrameBatch, names: Sequence[str]) -> Iterator[str]:
    for us, bus, can_id, flags, data in _rows(batch):
        wide = bool(flags & (EXTENDED | ERROR))
        number = f"{can_id | (ERROR_BIT if flags & ERROR else 0):0{8 if wide else 3}X}"
        mark = "#R" if flags & REMOTE else "##0" if flags & FD else "#"
        sent = " T" if flags & SENT else ""
        name = bus_name(bus, names)
        yield f"({us // US_PER_S}.{us % US_PER_S:06}) {name} {number}{mark}{data.hex().upper()}{sent}\n"


def _rows(batch: FrameBatch) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Time in µs (wall if known), bus, id, flags, data."""
    us = (batch.mono_ns + (batch.wall_offset_ms or 0) * NS_PER_MS) // NS_PER_US
    columns = (us, batch.bus, batch.can_id, batch.flags, batch.length)
    for k, (at_us, bus, can_id, flags, length) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        yield at_us, bus, can_id, flags, batch.data[k, :length].tobytes()
