"""The tab-separated text of a Windows CAN tool whose first column is called ParserFlags.

Columns: a number, channel, counter, RX or TX, time in ms, flags, id as 0x0000054a, length, bytes with one 0x before
them all (`0x9e 80 70 02 00 00 00 43 `), and sometimes the name of a parser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from packbox.adapters.logs.columns import (
    EXTENDED_ID_MAX,
    STANDARD_ID_MAX,
    Columns,
    LogTime,
    Remark,
    columns,
)
from packbox.adapters.logs.stream import Block
from packbox.adapters.logs.words import Words
from packbox.core.frames import CLASSIC_BYTES, EXTENDED, SENT, BoolArray

_HEADER: Final = re.compile(rb"(\xef\xbb\xbf)?ParserFlags\tCh\tCounter\tT/R\tTime\tFlags\tCAN ID\tLen\tData\b")
_CHANNEL, _DIRECTION, _TIME, _ID, _LENGTH, _DATA = 1, 3, 4, 6, 7, 8
_MS: Final = 6  # 10**6 ns


def recognise(lines: Sequence[bytes]) -> ParserFlags | None:
    return ParserFlags() if any(_HEADER.match(line) for line in lines) else None


class ParserFlags:
    name = "ParserFlags text"
    says_length = True
    time = LogTime()
    channel_names: Mapping[int, str] = {}

    def parse(self, block: Block) -> tuple[Columns, BoolArray]:
        words = Words(block.text, b"\t", keep_empty=True)
        time_ns, ok = words.time_ns(*words.word(_TIME), _MS)
        bus, bus_ok = words.number(*words.word(_CHANNEL), 10, 3)
        direction = words.word(_DIRECTION)
        sent = words.is_word(*direction, b"TX")
        start, end = words.word(_ID)
        can_id, id_ok = words.number(start + 2, end, 16, 8)
        ok &= bus_ok & (bus < 256) & (sent | words.is_word(*direction, b"RX"))
        ok &= id_ok & words.is_word(start, start + 2, b"0x") & (can_id <= EXTENDED_ID_MAX)
        length, length_ok = words.number(*words.word(_LENGTH), 10, 1)
        start, end = words.word(_DATA)
        end -= (end > start) & (words.text[end - 1] == ord(" "))
        # 0x, two digits a byte, a blank between two bytes; nothing at all for no bytes
        width = np.where(length > 0, 1 + 3 * length, 0)
        data, data_ok = words.hex_run(start + 2, length, 3, CLASSIC_BYTES)
        ok &= length_ok & data_ok & (end - start == width) & ((length == 0) | words.is_word(start, start + 2, b"0x"))
        flags = (can_id > STANDARD_ID_MAX) * EXTENDED + sent * SENT  # the format does not tell them apart otherwise
        return columns(time_ns, bus, can_id, flags, length, data), ok

    def explain(self, line: bytes) -> Remark:
        if _HEADER.match(line):
            return Remark("header", harmless=True)
        return Remark("damaged or cut row" if line.count(b"\t") >= _CHANNEL else "not a row")
