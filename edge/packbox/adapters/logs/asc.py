"""Vector ASC text: `   0.153600 1  594  Rx   d 8 34 21 34 21 A0 61 04 20`; CAN FD `CANFD 1 Rx 1DB name 1 0 8 8 00 ...`.

Header lines give the base of numbers (hex or dec), whether times count from the start or from the line before, and the
date of the start: local time of a zone nobody wrote down, unless it says GMT or UTC. Ids of 29 bits end with x.
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
from packbox.core.frames import CLASSIC_BYTES, ERROR, EXTENDED, FD, FD_BYTES, REMOTE, SENT, BoolArray

_BASE: Final = re.compile(rb"\s*base\s+(hex|dec)\b(?:\s+timestamps\s+(absolute|relative))?", re.IGNORECASE)
_DATE: Final = re.compile(rb"\s*(?:date|begin\s+trigger\s*block)\b\s*(.*?)\s*$", re.IGNORECASE)
_HEADER: Final = re.compile(
    rb"\s*(//|date\b|base\b|(no\s+)?internal\s+events|(begin|end)\s+trigger\s*block)", re.IGNORECASE
)
_FRAME_START: Final = re.compile(rb"\s*\d+\.\d+\s+(CANFD\s+)?\d+\s+([0-9A-Fa-f]+x?\s+)?(Rx|Tx)\b")
# A time and then a word no hex digits could be the start of: Statistic, Status, Start of measurement. Not half a frame.
_EVENT: Final = re.compile(rb"\s*\d+\.\d+\s+(?!CANFD\b)(CAN\s+\d+\s+|\d+\s+)?(J1939|[A-Za-z]*[G-WYZg-wyz][A-Za-z]{2})")

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_GERMAN_MONTHS: Final = {"mär": 3, "mrz": 3, "mai": 5, "okt": 10, "dez": 12}
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d\d):(\d\d)(?:\.(\d{1,6}))?")


def recognise(lines: Sequence[bytes]) -> Asc | None:
    base = next((m for m in map(_BASE.match, lines) if m), None)
    if base is None:
        return None
    dates = [m[1].decode("latin-1") for m in map(_DATE.match, lines) if m and m[1]]
    return Asc(
        base=10 if base[1].lower() == b"dec" else 16,
        since_last=(base[2] or b"").lower() == b"relative",
        date=dates[-1] if dates else "",  # that of the trigger block follows the header's and is the finer one
    )


def date_ns(text: str) -> int | None:
    """`Sam Sep 30 15:06:13.191 2017`, `Fri Jul 19 01:58:50.361 pm 2019`, `Thu, 09 Nov 2023 20:36:33 GMT`: as if UTC."""
    text = text.lower()
    clock = _CLOCK.search(text)
    words = [word.strip(",") for word in _CLOCK.sub(" ", text).split()]
    months = [
        _GERMAN_MONTHS.get(w[:3]) or _MONTHS.index(w[:3]) + 1 for w in words if w[:3] in {*_MONTHS, *_GERMAN_MONTHS}
    ]
    days = [int(w) for w in words if re.fullmatch(r"\d{1,2}", w)]
    years = [int(w) for w in words if re.fullmatch(r"\d{4}", w)]
    if not (clock and months and days and years):
        return None
    hour = int(clock[1])
    if "am" in words or "pm" in words:
        hour = hour % 12 + 12 * ("pm" in words)
    try:
        moment = datetime(years[0], months[-1], days[0], hour, int(clock[2]), int(clock[3]), tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1_000_000_000 + int((clock[4] or "0").ljust(9, "0"))


class Asc:
    name = "Vector ASC"
    channel_names: Mapping[int, str] = {}

    def __init__(self, *, base: int, since_last: bool, date: str) -> None:
        self._base = base
        self._since_last = since_last
        self._now_ns = 0
        self.says_length = base == 16  # a decimal byte can be cut and still be one
        zoned = re.search(r"\b(gmt|utc)\b", date.lower()) is not None
        epoch_ns = date_ns(date)
        self.time = LogTime(epoch_ns=epoch_ns, zone_assumed=epoch_ns is not None and not zoned)

    def parse(self, block: Block) -> tuple[Columns, BoolArray]:
        words = Words(block.text, SPACE)
        time_ns, ok = words.time_ns(*words.word(0), 9)
        if self._since_last:  # since the line before, be it a frame or any other event
            time_ns = self._now_ns + np.cumsum(np.where(ok, time_ns, 0))
            self._now_ns = int(time_ns[-1])
        fd = words.is_word(*words.word(1), b"CANFD")
        bus, bus_ok = words.number(*words.word(np.where(fd, 2, 1)), 10, 3)
        ok &= bus_ok & (bus < 256)
        error = words.is_word(*words.word(np.where(fd, 4, 2)), b"ErrorFrame")

        direction = words.word(3)
        sent = words.is_word(*direction, b"Tx")
        frame = ok & ~error & (sent | words.is_word(*direction, b"Rx"))
        start, end = words.word(np.where(fd, 4, 2))
        extended = (words.text[end - 1] | 0x20) == ord("x")
        can_id, id_ok = words.number(start, end - extended, self._base, 8 if self._base == 16 else 9)
        kind = words.word(4)
        remote = ~fd & words.is_word(*kind, b"r")
        frame &= id_ok & (fd | remote | words.is_word(*kind, b"d"))

        named = fd & ~words.is_word(*words.word(5), b"0", b"1")  # FD: id [symbolic name] brs esi dlc length bytes
        length_word = np.where(fd, 8 + named, 5)
        fd_length, fd_length_ok = words.number(*words.word(length_word), 10, 2)
        dlc, dlc_ok = words.number(*words.word(length_word), 16, 1)  # classic: up to f, which still means 8 bytes
        length = np.where(fd, fd_length, np.minimum(dlc, CLASSIC_BYTES))
        frame &= remote | np.where(fd, fd_length_ok, dlc_ok)
        length = np.where(remote | ~frame, 0, length)
        limit = FD_BYTES if np.any(length > CLASSIC_BYTES) else CLASSIC_BYTES
        data, data_ok = words.word_run(length_word + 1, length, self._base, limit)
        frame &= data_ok & np.isin(length, FD_LENGTHS)

        flags = extended * EXTENDED + fd * FD + sent * SENT + remote * REMOTE
        frame &= id_in_range(can_id, flags)
        flags = np.where(error, ERROR, flags)
        can_id, length = np.where(error, 0, can_id), np.where(error, 0, length)
        data[error] = 0
        return columns(time_ns, bus, can_id, flags, length, data), frame | (ok & error)

    def explain(self, line: bytes) -> Remark:
        if _HEADER.match(line):
            return Remark("header or comment", harmless=True)
        if _FRAME_START.match(line):
            return Remark("damaged or cut frame line")
        if _EVENT.match(line):
            return Remark("event without a frame", harmless=True)
        return Remark("neither frame nor known event")
