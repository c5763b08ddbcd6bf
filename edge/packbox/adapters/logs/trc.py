"""PEAK TRC text, file versions 1.0, 1.1, 1.3, 2.0 and 2.1.

`     1)      1059.9  Rx  0300  8  00 11 22 33 44 55 66 77` (1.1); from 2.0 `;$COLUMNS=N,O,T,B,I,d,R,L,D` says more.
Time is in ms since the start, whose date is in `;$STARTTIME` as days since 1899-12-30: local time of an unknown zone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from packbox.adapters.logs.columns import FD_LENGTHS, Columns, LogTime, Remark, columns, id_in_range
from packbox.adapters.logs.stream import Block
from packbox.adapters.logs.words import SPACE, Words
from packbox.core.frames import CLASSIC_BYTES, EXTENDED, FD, FD_BYTES, REMOTE, SENT, BoolArray, IntArray

_VERSION: Final = re.compile(rb";\$FILEVERSION=(\d\.\d)")
_START: Final = re.compile(rb";\$STARTTIME=(\d+(?:\.\d+)?)")
_COLUMNS: Final = re.compile(rb";\$COLUMNS=([A-Za-z,]+)")
_OLD_LINE: Final = re.compile(rb"\s*\d+\)\s+\d+(\.\d+)?\s+[0-9A-F]{4,8}\s+\d\s")
_OLD_HEADER: Final = re.compile(rb";.*(PCAN|Message Number|number in actual sample)")
_LAYOUTS: Final = {"1.0": "N,O,I,L,D", "1.1": "N,O,d,I,L,D", "1.3": "N,O,B,d,I,R,L,D"}
_DAY_MS: Final = 86_400_000
_ZERO_DAY: Final = datetime(1899, 12, 30, tzinfo=UTC)
_MS: Final = 6  # 10**6 ns
_DLC_LENGTHS: Final = np.array(FD_LENGTHS, np.int64)
_FRAME_TYPES: Final = (b"DT", b"FD", b"FB", b"FE", b"BI", b"RR")
_STATUS: Final = re.compile(rb"\s*\d+\)?\s+\d+(\.\d+)?\s+(\d+\s+)?(Warng|Error|ST|ER|EC|EV|FFFFFFFF)\b")
_ROW: Final = re.compile(rb"\s*\d+\)?\s+\d+(\.\d+)?\s")


def recognise(lines: Sequence[bytes]) -> Trc | None:
    version = next((m[1].decode() for m in map(_VERSION.match, lines) if m), None)
    if version is None:
        marked = any(_OLD_HEADER.match(line) for line in lines) and any(_OLD_LINE.match(line) for line in lines)
        return Trc(_LAYOUTS["1.0"], None) if marked else None
    start = next((float(m[1]) for m in map(_START.match, lines) if m), None)
    named = next((m[1].decode() for m in map(_COLUMNS.match, lines) if m), None)
    layout = named or _LAYOUTS.get(version)
    return Trc(layout, start) if layout else None


class Trc:
    name = "PEAK TRC"
    says_length = True
    channel_names: Mapping[int, str] = {}

    def __init__(self, layout: str, start_days: float | None) -> None:
        self._column = {letter: k for k, letter in enumerate(layout.split(","))}
        self.time = LogTime()
        if start_days is not None:  # a double holds such a day count to about a microsecond; ms are what PEAK means
            epoch_ms = round(start_days * _DAY_MS) + int(_ZERO_DAY.timestamp()) * 1000
            self.time = LogTime(epoch_ns=epoch_ms * 1_000_000, zone_assumed=True)

    def parse(self, block: Block) -> tuple[Columns, BoolArray]:
        words = Words(block.text, SPACE)
        column = self._column
        time_ns, ok = words.time_ns(*words.word(column["O"]), _MS)
        ok &= words.text[words.word(0)[0]] != ord(";")
        start, end = words.word(column["I"])
        can_id, id_ok = words.number(start, end, 16, 8)
        extended = end - start > 4
        bus, bus_ok = words.number(*words.word(column["B"]), 10, 3) if "B" in column else _always(1, len(words))
        sent = words.is_word(*words.word(column["d"]), b"Tx") if "d" in column else ~ok & ok
        if "d" in column:
            ok &= sent | words.is_word(*words.word(column["d"]), b"Rx")
        kind = words.word(column["T"]) if "T" in column else None
        fd = words.is_word(*kind, b"FD", b"FB", b"FE", b"BI") if kind else ~ok & ok
        if kind:
            ok &= words.is_word(*kind, *_FRAME_TYPES)
        length, length_ok = words.number(*words.word(column.get("L", column.get("l", -1))), 10, 2)
        if "L" in column:  # a DLC: from 9 on it stands for more bytes
            ok &= length <= 15
            length = np.where(fd, _DLC_LENGTHS[np.clip(length, 0, 15)], np.minimum(length, CLASSIC_BYTES))
        remote = words.is_word(*words.word(column["D"]), b"RTR") | (words.is_word(*kind, b"RR") if kind else False)
        ok &= id_ok & bus_ok & (bus < 256) & length_ok & np.isin(length, FD_LENGTHS)
        length = np.where(remote | ~ok, 0, length)
        limit = FD_BYTES if np.any(length > CLASSIC_BYTES) else CLASSIC_BYTES
        data, data_ok = words.word_run(column["D"], length, 16, limit)
        flags = extended * EXTENDED + fd * FD + sent * SENT + remote * REMOTE
        return columns(time_ns, bus, can_id, flags, length, data), ok & data_ok & id_in_range(can_id, flags)

    def explain(self, line: bytes) -> Remark:
        if line.lstrip().startswith(b";"):
            return Remark("header or comment", harmless=True)
        if _STATUS.match(line):
            return Remark("status record", harmless=True)
        return Remark("damaged or cut row" if _ROW.match(line) else "not a TRC row")


def _always(value: int, n: int) -> tuple[IntArray, BoolArray]:
    return np.full(n, value, np.int64), np.ones(n, np.bool_)
