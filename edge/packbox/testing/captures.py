"""Small captures of our own making, in every text format the log reader knows.

In:  frames as plain values, times in whole microseconds.
Out: the bytes of a log file. What a format cannot say (sent frames in an ELM log, FD in CRTD) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_DLC: Final = {n: dlc for dlc, n in enumerate((0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64))}


@dataclass(frozen=True, slots=True)
class Captured:
    time_us: int
    can_id: int
    data: bytes
    bus: int = 0
    extended: bool = False
    sent: bool = False
    fd: bool = False

    @property
    def id_text(self) -> str:
        return f"{self.can_id:08X}" if self.extended else f"{self.can_id:03X}"


def candump_log(frames: Sequence[Captured]) -> bytes:
    return _text(
        f"({_seconds(f.time_us)}) can{f.bus} {f.id_text}{'##1' if f.fd else '#'}{f.data.hex().upper()}"
        f"{' T' if f.sent else ' R'}"
        for f in frames
    )


def candump_print(frames: Sequence[Captured]) -> bytes:
    return _text(f" ({_seconds(f.time_us)})  {_print(f)}" for f in frames)


def candump_print_without_times(frames: Sequence[Captured]) -> bytes:
    return _text(f"  {_print(f)}" for f in frames)


def asc(frames: Sequence[Captured]) -> bytes:
    return _text(
        [
            "date Sat Sep 30 03:06:13.191 pm 2017",
            "base hex  timestamps absolute",
            "internal events logged",
            "// version 9.0.0",
            "Begin Triggerblock Sat Sep 30 03:06:13.191 pm 2017",
            "   0.000000 Start of measurement",
            *(_asc_line(f) for f in frames),
            "End TriggerBlock",
        ]
    )


def savvycan(frames: Sequence[Captured]) -> bytes:
    header = "Time Stamp,ID,Extended,Dir,Bus,LEN," + ",".join(f"D{k}" for k in range(1, 9))
    rows = (
        f"{f.time_us},{f.can_id:08X},{str(f.extended).lower()},{'Tx' if f.sent else 'Rx'},{f.bus},{len(f.data)},"
        + "".join(f"{byte:02X}," for byte in f.data)
        for f in _classic(frames)
    )
    return _text([header, *rows]).replace(b"\n", b"\r\n")


def crtd(frames: Sequence[Captured]) -> bytes:
    rows = (
        f"{_seconds(f.time_us)} {f.bus}{'T' if f.sent else 'R'}{29 if f.extended else 11} {f.can_id:X}{_spaced(f.data)}"
        for f in _classic(frames)
    )
    return _text(["0.000000 CXX OVMS CRTD", *rows])


def parserflags(frames: Sequence[Captured]) -> bytes:
    header = "ParserFlags\tCh\tCounter\tT/R\tTime\tFlags\tCAN ID\tLen\tData\tParser Name\tdefault"
    rows = (
        f"1\t{f.bus}\t{k}\t{'TX' if f.sent else 'RX'}\t{f.time_us // 1000}\t\t0x{f.can_id:08x}\t{len(f.data)}\t"
        f"{'0x' if f.data else ''}{''.join(f'{byte:02x} ' for byte in f.data)}\tDefault Parser\t"
        for k, f in enumerate(_classic(frames), 1)
    )
    return _text([header, *rows])


def elm(frames: Sequence[Captured]) -> bytes:
    rows = []
    for f in _classic(frames):
        assert not f.sent
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=f.time_us)
        stamp = moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03}"
        rows.append(f"{stamp} {f.id_text} {len(f.data)}{_spaced(f.data)}")
    return _text(["2017-04-14 19:18:49.409 OK", "2017-04-14 19:18:49.433 OBDLink LX BT r1.2", *rows])


def trc_1_1(frames: Sequence[Captured]) -> bytes:
    rows = (
        f"{k:6}) {f.time_us / 1000:11.3f}  {'Tx' if f.sent else 'Rx'}  {f.can_id:0{8 if f.extended else 4}X}"
        f"  {len(f.data)} {_spaced(f.data)}"
        for k, f in enumerate(_classic(frames), 1)
    )
    return _text([";$FILEVERSION=1.1", ";$STARTTIME=43008.5", ";", *rows])


FORMATS: Final[Mapping[str, Callable[[Sequence[Captured]], bytes]]] = {
    "candump log": candump_log,
    "candump print": candump_print,
    "candump print without times": candump_print_without_times,
    "Vector ASC": asc,
    "SavvyCAN/GVRET CSV": savvycan,
    "CRTD": crtd,
    "ParserFlags text": parserflags,
    "ELM/STN monitor": elm,
    "PEAK TRC": trc_1_1,
}


def _classic(frames: Sequence[Captured]) -> Sequence[Captured]:
    assert not any(f.fd for f in frames)
    return frames


def _asc_line(frame: Captured) -> str:
    id_text = f"{frame.can_id:X}{'x' if frame.extended else ''}"
    direction = "Tx" if frame.sent else "Rx"
    data = _spaced(frame.data)
    if frame.fd:
        return (
            f"{_seconds(frame.time_us):>11} CANFD {frame.bus:3} {direction}   {id_text:>8}"
            f"  1 0 {_DLC[len(frame.data)]:x} {len(frame.data):2}{data}        0    0     3000"
        )
    return f"{_seconds(frame.time_us):>11} {frame.bus}  {id_text:<15} {direction}   d {len(frame.data):x}{data}"


def _print(frame: Captured) -> str:
    length = f"{len(frame.data):02}" if frame.fd else f"{len(frame.data)}"
    return f"can{frame.bus}  {frame.id_text}   [{length}] {_spaced(frame.data)}"


def _seconds(time_us: int) -> str:
    return f"{time_us // 1_000_000}.{time_us % 1_000_000:06}"


def _spaced(data: bytes) -> str:
    return "".join(f" {byte:02X}" for byte in data)


def _text(lines: Iterable[str]) -> bytes:
    return b"".join(line.encode() + b"\n" for line in lines)
