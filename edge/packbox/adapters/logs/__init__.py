"""Read a recorded CAN log, whatever wrote it.

In:  a path. The format is told by the content, never by the name; gzip around it does not matter.
Out: `FrameBatch`es in the log's order, times from the first frame on, and a `LogReport` of what was read and what not.
Refuses with LogFormatError what is no log; a line that cannot be read is counted and named, never fatal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from packbox.adapters.logs import asc, blf, can_csv, candump, crtd, elm, parserflags, savvycan, trc
from packbox.adapters.logs.columns import WALL_FROM_NS, Columns, LogTime, TextFormat
from packbox.adapters.logs.report import LogReport, Note, Notes, TimeKind, excerpt
from packbox.adapters.logs.stream import Block, Opened
from packbox.core.frames import SENT, BoolArray, FrameBatch, join
from packbox.core.stamp import NS_PER_MS, BootId
from packbox.ports import LogFormatError

__all__ = ["LogReading", "LogReport", "Note", "TimeKind", "read_log"]

BATCH_FRAMES: Final = 65_536
LOG_BOOT: Final = BootId("0" * 16)  # a log is no boot of this box
_HEAD_LINES: Final = 5000
_LINE_SEEN_BYTES: Final = 1024  # of a line that may be anything; twice the longest frame
_BUSES: Final = 256


def read_log(
    path: Path,
    *,
    batch_frames: int = BATCH_FRAMES,
    boot: BootId = LOG_BOOT,
    assumed_frame_rate_hz: float = candump.NOMINAL_RATE_HZ,
) -> LogReading:
    """Open a log. Iterate the result for its frames; its `report` tells what was found so far.

    `assumed_frame_rate_hz` spaces the frames of a log without times.
    """
    assert batch_frames > 0
    assert assumed_frame_rate_hz > 0
    return LogReading(path, batch_frames, boot, assumed_frame_rate_hz)


class LogReading:
    """An iterator of FrameBatch over one log. Closes the file at the end; use as context manager when leaving early."""

    def __init__(self, path: Path, batch_frames: int, boot: BootId, rate_hz: float) -> None:
        self._notes = Notes()
        self._opened = Opened(path, self._notes)
        try:
            self._choose(rate_hz)
        except BaseException:
            self._opened.close()
            raise
        self._boot = boot
        self._frames = 0
        self._sent = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._wall_offset_ms: int | None = None
        self._times_back = 0
        self._buses = np.zeros(_BUSES, np.bool_)
        self._batches = _rebatch(self._on_the_clock(), batch_frames)

    def __iter__(self) -> LogReading:
        return self

    def __next__(self) -> FrameBatch:
        try:
            return next(self._batches)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LogReading:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._opened.close()

    @property
    def report(self) -> LogReport:
        unreadable, passed_over = self._notes.both()
        names = self._text.channel_names if self._text else {}
        if not self._time.known:
            kind = TimeKind.NONE
        else:
            kind = TimeKind.RELATIVE if self._wall_offset_ms is None else TimeKind.WALL
        return LogReport(
            path=self._opened.path,
            format=self._text.name if self._text else blf.NAME,
            compressed=self._opened.compressed,
            frames=self._frames,
            sent=self._sent,
            unreadable=unreadable,
            passed_over=passed_over,
            time_kind=kind,
            zone_assumed=self._time.zone_assumed and kind is TimeKind.WALL,
            first_wall_ms=self._wall_offset_ms,
            span_ns=self._last_ns,
            times_back=self._times_back,
            channels={names.get(bus, str(bus)): bus for bus in np.flatnonzero(self._buses).tolist()},
        )

    def _choose(self, rate_hz: float) -> None:
        opened = self._opened
        self._text: TextFormat | None = None
        self._time: LogTime = blf.TIME
        blf.refuse_mf4(opened)
        if opened.head.startswith(blf.BLF_MAGIC):
            self._columns = blf.frames(opened, self._notes)
            return
        lines = [line[:_LINE_SEEN_BYTES] for line in opened.head.split(b"\n", _HEAD_LINES)[:_HEAD_LINES]]
        self._text = _recognise(lines, rate_hz)
        if self._text is None:
            first = next((line for line in lines if line.strip()), b"")
            raise LogFormatError(
                f"{opened.path}: no CAN log format is known that looks like this. Looked for {', '.join(_LOOKED_FOR)}."
                f" The first line is: {excerpt(first)}"
            )
        self._time = self._text.time
        self._columns = _text_frames(opened, self._text, self._notes)

    def _on_the_clock(self) -> Iterator[FrameBatch]:
        """Times from the first frame on; wall time where the log knows it."""
        for columns in self._columns:
            if self._first_ns is None:
                self._first_ns = int(columns.time_ns[0])
                self._wall_offset_ms = _wall_ms(self._time, self._first_ns)
            mono_ns = columns.time_ns - self._first_ns
            self._times_back += int(np.count_nonzero(np.diff(mono_ns, prepend=self._last_ns) < 0))
            self._last_ns = int(mono_ns[-1])
            self._frames += len(columns)
            self._sent += int(np.count_nonzero(columns.flags & SENT))
            self._buses[columns.bus] = True
            yield FrameBatch(
                self._boot,
                self._wall_offset_ms,
                mono_ns,
                columns.bus,
                columns.can_id,
                columns.flags,
                columns.length,
                columns.data,
            )


_LOOKED_FOR: Final = (
    "candump",
    "Vector ASC",
    "Vector BLF",
    "SavvyCAN/GVRET CSV",
    "CRTD",
    "ParserFlags text",
    "ELM/STN monitor text",
    "PEAK TRC",
    "python-can CSV",
)


def _recognise(lines: list[bytes], rate_hz: float) -> TextFormat | None:
    """Formats with a header of their own first: what follows it may look like another's."""
    return (
        parserflags.recognise(lines)
        or savvycan.recognise(lines)
        or can_csv.recognise(lines)
        or trc.recognise(lines)
        or asc.recognise(lines)
        or crtd.recognise(lines)
        or elm.recognise(lines)
        or candump.recognise(lines, rate_hz)
    )


def _wall_ms(time: LogTime, first_ns: int) -> int | None:
    if not time.known:
        return None
    if time.epoch_ns is not None:
        return (time.epoch_ns + first_ns) // NS_PER_MS
    return first_ns // NS_PER_MS if time.may_be_wall and first_ns >= WALL_FROM_NS else None


def _text_frames(opened: Opened, text: TextFormat, notes: Notes) -> Iterator[Columns]:
    for block in opened.blocks():
        columns, ok = text.parse(block)
        if not ok.all() or block.cut:
            _explain(block, ok, text, notes)
        if ok.all():
            yield columns
        elif ok.any():
            yield columns.pick(ok)


def _explain(block: Block, ok: BoolArray, text: TextFormat, notes: Notes) -> None:
    """Note every line that is no frame, and take back a last one that may be half of one."""
    lines = block.text.split(b"\n")[:-1]
    for k in np.flatnonzero(~ok).tolist():
        if lines[k].strip():
            remark = text.explain(lines[k][:_LINE_SEEN_BYTES])
            note = notes.passed_over if remark.harmless else notes.unreadable
            note(remark.reason, block.first_line + k, lines[k])
    if block.cut and ok[-1] and not text.says_length:
        ok[-1] = False
        notes.unreadable("cut at the end of the file", block.first_line + len(lines) - 1, lines[-1])


def _rebatch(batches: Iterator[FrameBatch], size: int) -> Iterator[FrameBatch]:
    """The same frames, `size` at a time."""
    held: list[FrameBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch)
        if count < size:
            continue
        whole = join(held)
        full = count - count % size
        for start in range(0, full, size):
            yield whole.pick(slice(start, start + size))
        held = [whole.pick(slice(full, None))] if count > full else []
        count -= full
    if held:
        yield join(held)
