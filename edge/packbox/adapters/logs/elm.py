"""Monitor text of an ELM327 or STN adapter with date and time: `2017-04-14 19:18:57.417 374 8 0F BF C1 50 FE 40 3E 5B`.

The date is local time of a zone nobody wrote down. A slow link loses characters: a line whose byte count differs from
its length is two lines run into one or half of one, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from packbox.adapters.logs.columns import Columns, LogTime, Remark, columns, id_in_range
from packbox.adapters.logs.stream import Block
from packbox.adapters.logs.words import SPACE, Words, clock_ns, days_ns
from packbox.core.frames import CLASSIC_BYTES, EXTENDED, BoolArray

_STAMP: Final = rb"\s*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ "
_FRAME: Final = re.compile(_STAMP + rb"([0-9A-F]{3}|[0-9A-F]{8}) [0-8]( [0-9A-F]{2})*\s*$")
_CHATTER: Final = re.compile(_STAMP + rb"[^\x00]*[G-Zg-z?>][^\x00]*$")  # letters no hex digit needs: OK, STOPPED, ?
_STAMPED: Final = re.compile(_STAMP)


def recognise(lines: Sequence[bytes]) -> Elm | None:
    return Elm() if any(_FRAME.match(line) for line in lines) else None


class Elm:
    name = "ELM/STN monitor"
    says_length = True
    time = LogTime(may_be_wall=True, zone_assumed=True)
    channel_names: Mapping[int, str] = {}

    def parse(self, block: Block) -> tuple[Columns, BoolArray]:
        words = Words(block.text, SPACE)
        date, date_end = words.word(0)
        day, ok = days_ns(words, date)
        clock, clock_ok = clock_ns(words, *words.word(1))
        start, end = words.word(2)
        can_id, id_ok = words.number(start, end, 16, 8)
        extended = end - start == 8
        flags = extended * EXTENDED
        ok &= (date_end - date == 10) & clock_ok & id_ok & (extended | (end - start == 3)) & id_in_range(can_id, flags)
        length, length_ok = words.number(*words.word(3), 10, 1)
        data, data_ok = words.word_run(4, length, 16, CLASSIC_BYTES)
        ok &= length_ok & data_ok & (words.count == 4 + length)
        return columns(day + clock, np.zeros(len(words), np.int64), can_id, flags, length, data), ok

    def explain(self, line: bytes) -> Remark:
        if _CHATTER.match(line):
            return Remark("adapter chatter", harmless=True)
        if not _STAMPED.match(line):
            return Remark("no date and time")
        words = line.split()[2:]
        if len(words) >= 2 and re.fullmatch(rb"[0-9A-F]{3}|[0-9A-F]{8}", words[0]) and re.fullmatch(rb"\d", words[1]):
            return Remark("byte count differs from length")
        return Remark("id or length damaged")
