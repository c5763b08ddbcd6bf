"""CRTD, the log of OVMS: `1632426782.045940 1R11 679 00`.

Record types: R11 R29 received, T11 T29 sent, before it the bus number as one digit (CRTD 1.0 has none: bus 1).
Other types (CXX comment, CVR version, CEV event ...) carry no frame.
Source: docs.openvehicles.com, "CRTD CAN Log Format", versions 1.0 to 3.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from packbox.adapters.logs.columns import Columns, LogTime, Remark, columns, id_in_range
from packbox.adapters.logs.stream import Block
from packbox.adapters.logs.words import SPACE, Words
from packbox.core.frames import CLASSIC_BYTES, EXTENDED, SENT, BoolArray

_FIRST_BUS: Final = 1
_FRAME: Final = re.compile(rb"\s*\d+\.\d+ \d?[RT](11|29) [0-9A-Fa-f]+( [0-9A-Fa-f]{2})*\s*$")
_FRAME_START: Final = re.compile(rb"\s*\d+\.\d+\s+\d?[RT](11|29)\b")
_OTHER: Final = re.compile(rb"\s*\d+\.\d+\s+\d?C[A-Z]{2}\b")


def recognise(lines: Sequence[bytes]) -> Crtd | None:
    return Crtd() if any(_FRAME.match(line) or _OTHER.match(line) for line in lines) else None


class Crtd:
    name = "CRTD"
    says_length = False
    time = LogTime(may_be_wall=True)
    channel_names: Mapping[int, str] = {}

    def parse(self, block: Block) -> tuple[Columns, BoolArray]:
        words = Words(block.text, SPACE)
        time_ns, ok = words.time_ns(*words.word(0), 9)
        start, end = words.word(1)
        kind = end - 3
        with_bus = end - start == 4
        bus, bus_ok = words.number(start, start + 1, 10, 1)
        bus = np.where(with_bus, bus, _FIRST_BUS)
        ok &= np.where(with_bus, bus_ok, end - start == 3)
        sent = words.is_word(kind, end, b"T11", b"T29")
        extended = words.is_word(kind, end, b"R29", b"T29")
        ok &= sent | extended | words.is_word(kind, end, b"R11")
        can_id, id_ok = words.number(*words.word(2), 16, 8)
        flags = extended * EXTENDED + sent * SENT
        ok &= id_ok & id_in_range(can_id, flags)
        length = words.count - 3
        data, data_ok = words.word_run(3, length, 16, CLASSIC_BYTES)
        return columns(time_ns, bus, can_id, flags, length, data), ok & data_ok

    def explain(self, line: bytes) -> Remark:
        if _OTHER.match(line):
            return Remark("comment or event record", harmless=True)
        return Remark("damaged or cut CRTD record" if _FRAME_START.match(line) else "not a CRTD record")
