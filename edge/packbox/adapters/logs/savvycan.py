"""CSV of SavvyCAN and GVRET: a header row names the columns, time in microseconds, id in hex, one column a byte.

`Time Stamp,ID,Extended,Dir,Bus,LEN,D1,...,D8`; Dir is not always there, a comma may end a row, times may be negative.
The times count from some moment the log does not name: only differences mean anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from packbox.adapters.logs.columns import FD_LENGTHS, Columns, LogTime, Remark, columns, id_in_range
from packbox.adapters.logs.stream import Block
from packbox.adapters.logs.words import Words
from packbox.core.frames import CLASSIC_BYTES, EXTENDED, FD, FD_BYTES, SENT, BoolArray

_HEADER: Final = re.compile(rb"(\xef\xbb\xbf)?time ?stamp,id,extended,", re.IGNORECASE)
_NEEDED: Final = ("time stamp", "id", "extended", "bus", "len", "d1")
_US: Final = 3  # 10**3 ns


def recognise(lines: Sequence[bytes]) -> SavvyCan | None:
    header = next((line for line in lines if _HEADER.match(line)), None)
    if header is None:
        return None
    names = [name.strip() for name in header.decode("utf-8-sig", "replace").lower().split(",")]
    names[0] = "time stamp"
    return SavvyCan({name: k for k, name in enumerate(names)}) if all(n in names for n in _NEEDED) else None


class SavvyCan:
    name = "SavvyCAN/GVRET CSV"
    says_length = True
    time = LogTime()
    channel_names: Mapping[int, str] = {}

    def __init__(self, column: Mapping[str, int]) -> None:
        self._column = column

    def parse(self, block: Block) -> tuple[Columns, BoolArray]:
        words = Words(block.text, b",", keep_empty=True)
        column = self._column
        time_ns, ok = words.time_ns(*words.word(column["time stamp"]), _US)
        can_id, id_ok = words.number(*words.word(column["id"]), 16, 8)
        extended_word = words.word(column["extended"])
        extended = words.is_word(*extended_word, b"true", b"True", b"TRUE", b"1")
        ok &= extended | words.is_word(*extended_word, b"false", b"False", b"FALSE", b"0")
        bus, bus_ok = words.number(*words.word(column["bus"]), 10, 3)
        length, length_ok = words.number(*words.word(column["len"]), 10, 2)
        fd = length > CLASSIC_BYTES
        limit = FD_BYTES if np.any(ok & fd) else CLASSIC_BYTES
        data, data_ok = words.word_run(column["d1"], np.where(ok, length, 0), 16, limit)
        sent = np.zeros(len(words), np.bool_)
        if "dir" in column:
            direction = words.word(column["dir"])
            sent = words.is_word(*direction, b"Tx", b"TX")
            ok &= sent | words.is_word(*direction, b"Rx", b"RX")
        flags = extended * EXTENDED + sent * SENT + fd * FD
        ok &= id_ok & id_in_range(can_id, flags) & bus_ok & (bus < 256)
        ok &= length_ok & data_ok & np.isin(length, FD_LENGTHS)
        return columns(time_ns, bus, can_id, flags, length, data), ok

    def explain(self, line: bytes) -> Remark:
        if _HEADER.match(line):
            return Remark("header", harmless=True)
        return Remark("damaged or cut row" if line.count(b",") >= self._column["id"] else "not a row")
