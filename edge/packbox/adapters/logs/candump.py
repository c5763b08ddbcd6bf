"""candump (can-utils): its log form and its print form.

Log form:    `(1436509052.249713) can0 123#DEADBEEF`, FD `123##1DEADBEEF`, remote `123#R`, ` R` or ` T` behind.
Print form:  ` (1436509052.249713)  can0  123   [8]  11 22 33 44 55 66 77 88`, with or without the time, and with `-x`
             `RX - -` after the interface; FD lengths have two digits.
Times: since 1970 (-t a), with date (-t A, local time), since start (-t z), since the last frame (-t d), or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from packbox.adapters.logs.columns import FD_LENGTHS, WALL_FROM_NS, Columns, LogTime, Remark, columns, id_in_range
from packbox.adapters.logs.stream import Block
from packbox.adapters.logs.words import SPACE, Words, clock_ns, days_ns
from packbox.core.frames import ERROR, EXTENDED, FD, REMOTE, SENT, BoolArray, IntArray

# Frames a second in a log without times: 22 641 frames in about 16 s on a Leaf's EV-CAN (the one such log we have).
NOMINAL_RATE_HZ: Final = 1400.0
_ERROR_BIT: Final = 0x20000000  # CAN_ERR_FLAG, linux/can.h
_ID_BITS: Final = 0x1FFFFFFF
_NAME_BYTES: Final = 16  # IFNAMSIZ, linux/if.h
_BUSES: Final = 256
_DELTA_SHARE: Final = 0.1  # times since the last frame fall all the time; others only when somebody sets the clock

_LOG_LINE: Final = re.compile(rb"\s*\((\d+\.\d+)\)\s+\S+\s+[0-9A-Fa-f]{3,8}#\S*(\s+[RT])?\s*$")
_PRINT_LINE: Final = re.compile(
    rb"\s*(?:\((?:\d{4}-\d\d-\d\d\s+(?P<clock>\d\d:\d\d:\d\d\.\d+)|(?P<time>\d+\.\d+))\)\s+)?"
    rb"\S+\s+(?P<x>[RT]X [B-] [E-]\s+)?[0-9A-F]{3,8}\s+\[\d{1,2}\]"
)
_LOG_START: Final = re.compile(rb"\s*\(\d+\.\d+\)\s+\S+\s+[0-9A-Fa-f]{1,8}#?")


def recognise(lines: Sequence[bytes], nominal_rate_hz: float) -> CandumpLog | CandumpPrint | None:
    """A reader fitted to the first lines, or None when no line is candump's."""
    if matches := [m for m in map(_LOG_LINE.match, lines) if m]:
        return CandumpLog(since_last=_since_last([float(m[1]) for m in matches]))
    if matches := [m for m in map(_PRINT_LINE.match, lines) if m]:
        times = [float(m["time"]) for m in matches if m["time"]]
        return CandumpPrint(
            dated=matches[0]["clock"] is not None,
            timed=matches[0]["time"] is not None,
            detailed=matches[0]["x"] is not None,
            since_last=_since_last(times),
            nominal_rate_hz=nominal_rate_hz,
        )
    return None


def _since_last(times_s: Sequence[float]) -> bool:
    """Whether these are times since the last frame: they go down, or are the same all along (a bus of one frame)."""
    if not times_s or max(times_s) >= WALL_FROM_NS / 1e9:
        return False
    later = times_s[1:]
    falls = sum(b < a for a, b in zip(times_s, later, strict=False))
    return falls > _DELTA_SHARE * len(later) or (len(later) >= 2 and later[0] > 0 and len(set(later)) == 1)


class _Candump:
    says_length = True

    def __init__(self, time: LogTime, *, since_last: bool) -> None:
        self.time = time
        self._since_last = since_last
        self._now_ns = 0
        self._names: dict[bytes, int] = {}

    @property
    def channel_names(self) -> Mapping[int, str]:
        return {bus: name.decode("utf-8", "backslashreplace") for name, bus in self._names.items()}

    def _times(self, words: Words, start: IntArray, end: IntArray) -> tuple[IntArray, BoolArray]:
        """The word (seconds.micros)."""
        time_ns, ok = words.time_ns(start + 1, end - 1, 9)
        ok &= (words.text[start] == ord("(")) & (words.text[end - 1] == ord(")"))
        if self._since_last:
            time_ns = self._now_ns + np.cumsum(np.where(ok, time_ns, 0))
            self._now_ns = int(time_ns[-1])
        return time_ns, ok

    def _buses(self, words: Words, start: IntArray, end: IntArray, ok: BoolArray) -> tuple[IntArray, BoolArray]:
        """Interface names as bus numbers: the number the name ends with, else the next that is free."""
        width = end - start
        ok = ok & (width >= 1) & (width < _NAME_BYTES)
        letters = words.text[start[:, None] + np.arange(_NAME_BYTES)]
        letters = np.where(np.arange(_NAME_BYTES) < width[:, None], letters, 0)
        halves = np.ascontiguousarray(letters, np.uint8).view(np.uint64)
        bus = np.zeros(len(words), np.int64)
        left = ok.copy()
        while left.any():
            k = int(left.argmax())
            number = self._bus(letters[k, : width[k]].tobytes())
            same = left & (halves[:, 0] == halves[k, 0]) & (halves[:, 1] == halves[k, 1])
            if number is None:
                ok &= ~same
            else:
                bus[same] = number
            left &= ~same
        return bus, ok

    def _bus(self, name: bytes) -> int | None:
        if name in self._names:
            return self._names[name]
        taken = set(self._names.values())
        digits = re.search(rb"\d+$", name)
        wanted = int(digits[0]) if digits else 0
        free = (n for n in (wanted, *range(_BUSES)) if n < _BUSES and n not in taken)
        number = next(free, None)
        if number is not None:
            self._names[name] = number
        return number


class CandumpLog(_Candump):
    name = "candump log"
    says_length = False

    def __init__(self, *, since_last: bool) -> None:
        super().__init__(LogTime(may_be_wall=not since_last), since_last=since_last)

    def parse(self, block: Block) -> tuple[Columns, BoolArray]:
        words = Words(block.text, SPACE)
        time_ns, ok = self._times(words, *words.word(0))
        start, end = words.word(2)
        text = words.text
        standard = text[start + 3] == ord("#")
        id_end = start + np.where(standard, 3, 8)
        can_id, id_ok = words.number(start, id_end, 16, 8)
        ok &= id_ok & (id_end < end) & (text[id_end] == ord("#"))
        fd = text[id_end + 1] == ord("#")
        body = id_end + np.where(fd, 3, 1)  # ## is followed by one digit of FD flags
        remote = ~fd & ((text[body] | 0x20) == ord("r")) & (end > body)
        end = np.where(~fd & (text[end - 2] == ord("_")), end - 2, end)  # raw DLC of a classic frame, for example _F
        digits = np.where(remote, 0, end - body)
        length = digits // 2
        limit = 64 if np.any(ok & fd & (length > 8)) else 8
        data, data_ok = words.hex_run(body, np.where(ok, length, 0), 2, limit)
        ok &= data_ok & (digits >= 0) & (digits % 2 == 0) & (fd | (length <= 8)) & np.isin(length, FD_LENGTHS)
        ok &= ~fd | words.number(id_end + 2, id_end + 3, 16, 1)[1]
        ok &= ~remote | (end - body == 1) | ((end - body == 2) & (text[body + 1] <= ord("8")))
        direction = words.word(3)
        sent = words.is_word(*direction, b"T")
        ok &= (words.count == 3) | ((words.count == 4) & (sent | words.is_word(*direction, b"R")))
        error = ~standard & (can_id & _ERROR_BIT > 0)
        flags = fd * FD + sent * SENT + remote * REMOTE + error * ERROR + (~standard & ~error) * EXTENDED
        can_id = np.where(error, can_id & _ID_BITS, can_id)
        ok &= error | id_in_range(can_id, flags)
        bus, ok = self._buses(words, *words.word(1), ok)
        return columns(time_ns, bus, can_id, flags, length, data), ok

    def explain(self, line: bytes) -> Remark:
        return Remark("damaged or cut candump line" if _LOG_START.match(line) else "not a candump line")


class CandumpPrint(_Candump):
    def __init__(self, *, dated: bool, timed: bool, detailed: bool, since_last: bool, nominal_rate_hz: float) -> None:
        known = dated or timed
        super().__init__(
            LogTime(known, may_be_wall=known and not since_last, zone_assumed=dated), since_last=since_last
        )
        self.name = "candump print" if known else "candump print without times"
        self._dated, self._timed, self._detailed = dated, timed, detailed
        self._spacing_ns = round(1e9 / nominal_rate_hz)
        self._frames = 0

    def parse(self, block: Block) -> tuple[Columns, BoolArray]:
        words = Words(block.text, SPACE)
        bus_word = 2 if self._dated else 1 if self._timed else 0
        id_word = bus_word + (4 if self._detailed else 1)
        start, end = words.word(id_word)
        standard = end - start == 3
        can_id, ok = words.number(start, end, 16, 8)
        ok &= standard | (end - start == 8)
        start, end = words.word(id_word + 1)
        length, length_ok = words.number(start + 1, end - 1, 10, 2)
        ok &= length_ok & (words.text[start] == ord("[")) & (words.text[end - 1] == ord("]"))
        fd = end - start == 4
        error = ~standard & (can_id & _ERROR_BIT > 0)
        remote = words.is_word(*words.word(id_word + 2), b"remote")
        length = np.where(remote, 0, length)
        limit = 64 if np.any(ok & fd & (length > 8)) else 8
        data, data_ok = words.word_run(id_word + 2, np.where(ok, length, 0), 16, limit)
        ok &= data_ok & (fd | (length <= 8)) & np.isin(length, FD_LENGTHS)
        after = words.word(id_word + 2 + length)  # nothing, ERRORFRAME, or with -a the bytes as characters
        ok &= (
            remote | (after[0] == after[1]) | (words.text[after[0]] == ord("'")) | words.is_word(*after, b"ERRORFRAME")
        )
        sent = words.is_word(*words.word(bus_word + 1), b"TX") & self._detailed
        flags = fd * FD + sent * SENT + remote * REMOTE + error * ERROR + (~standard & ~error) * EXTENDED
        can_id = np.where(error, can_id & _ID_BITS, can_id)
        ok &= error | id_in_range(can_id, flags)
        bus, ok = self._buses(words, *words.word(bus_word), ok)
        time_ns, ok = self._print_times(words, ok)
        return columns(time_ns, bus, can_id, flags, length, data), ok

    def _print_times(self, words: Words, ok: BoolArray) -> tuple[IntArray, BoolArray]:
        if self._dated:
            date, _ = words.word(0)
            day, day_ok = days_ns(words, date + 1)
            start, end = words.word(1)
            time, time_ok = clock_ns(words, start, end - 1)
            return day + time, ok & day_ok & time_ok & (words.text[date] == ord("("))
        if self._timed:
            time, time_ok = self._times(words, *words.word(0))
            return time, ok & time_ok
        order = self._frames + np.cumsum(ok)
        self._frames = int(order[-1])
        return (order - 1) * self._spacing_ns, ok

    def explain(self, line: bytes) -> Remark:
        return Remark("damaged or cut candump line" if _PRINT_LINE.match(line) else "not a candump line")
