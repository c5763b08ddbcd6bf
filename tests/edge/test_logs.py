"""Recorded logs of every format, as captures of our own making."""

from __future__ import annotations

import gzip
import logging
import resource
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import can
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbox.adapters.logs import LogReading, LogReport, TimeKind, read_log
from packbox.core.frames import ERROR, EXTENDED, FD, REMOTE, SENT, FrameBatch, join
from packbox.ports import LogFormatError
from packbox.testing import captures
from packbox.testing.captures import FORMATS, Captured

START_US = 1_436_509_052_249_713  # 2015-07-10, a candump's own
MILLISECONDS = {"ELM/STN monitor", "ParserFlags text"}


def plain(count: int = 20) -> list[Captured]:
    return [
        Captured(START_US + 10_000 * k, (0x1DB, 0x55B, 0x7BB)[k % 3], bytes([k % 256] * (8, 3, 0)[k % 3]), bus=1)
        for k in range(count)
    ]


def save(folder: Path, content: bytes) -> Path:
    path = folder / "capture.dat"  # a name that tells nothing
    path.write_bytes(content)
    return path


def whole(reading: LogReading) -> FrameBatch:
    with reading:
        return join(list(reading))


def read(path: Path) -> tuple[FrameBatch, LogReport]:
    reading = read_log(path)
    return whole(reading), reading.report


def rows(batch: FrameBatch) -> list[tuple[int, int, int, int, bytes]]:
    return [
        (int(t), int(b), int(i), int(f), d[:n].tobytes())
        for t, b, i, f, n, d in zip(
            batch.mono_ns, batch.bus, batch.can_id, batch.flags, batch.length, batch.data, strict=True
        )
    ]


def expected(name: str, frames: Sequence[Captured]) -> list[tuple[int, int, int, int, bytes]]:
    unit_us = 1000 if name in MILLISECONDS else 1
    bus = {"ELM/STN monitor": 0, "PEAK TRC": 1}.get(name)
    first = frames[0].time_us // unit_us
    return [
        (
            (f.time_us // unit_us - first) * unit_us * 1000
            if name != "candump print without times"
            else k * round(1e9 / 1400),
            f.bus if bus is None else bus,
            f.can_id,
            f.extended * EXTENDED | f.sent * SENT | f.fd * FD,
            f.data,
        )
        for k, f in enumerate(frames)
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    """Owners rename files; forums add .txt to everything."""
    batch, report = read(save(tmp_path, FORMATS[name](plain())))
    assert report.format.removesuffix(" without times") == name.removesuffix(" without times")
    assert (report.frames, report.unreadable) == (20, ())
    assert rows(batch) == expected(name, plain())


@st.composite
def any_frames(draw: st.DrawFn, name: str) -> list[Captured]:
    fd_too = name in {"candump log", "candump print", "candump print without times", "Vector ASC"}
    speaks_direction = name not in {"ELM/STN monitor", "candump print", "candump print without times"}
    lengths = st.sampled_from([0, 1, 7, 8, 12, 64]) if fd_too else st.integers(0, 8)
    time_us = START_US
    frames = []
    for _ in range(draw(st.integers(1, 12))):
        time_us += draw(st.integers(0, 10**9))
        extended = draw(st.booleans())
        data = draw(lengths.flatmap(lambda n: st.binary(min_size=n, max_size=n)))
        id_low = 0x800 if extended and name == "ParserFlags text" else 0  # that format tells them apart by size only
        frames.append(
            Captured(
                time_us,
                draw(st.integers(id_low, 0x1FFFFFFF if extended else 0x7FF)),
                data,
                bus=draw(st.integers(0, 9)),
                extended=extended,
                sent=speaks_direction and draw(st.booleans()),
                fd=len(data) > 8,
            )
        )
    return frames


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_written_is_read(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every id, length, direction and microsecond, whatever the frames are."""
    folder = tmp_path_factory.mktemp("logs")

    @settings(max_examples=40, deadline=None)
    @given(any_frames(name), st.integers(1, 5))
    def holds(frames: list[Captured], batch_frames: int) -> None:
        path = save(folder, FORMATS[name](frames))
        reading = read_log(path, batch_frames=batch_frames)
        batches = list(reading)
        assert rows(join(batches)) == expected(name, frames)
        assert reading.report.unreadable == ()
        assert {len(b) for b in batches[:-1]} <= {batch_frames}
        assert 1 <= len(batches[-1]) <= batch_frames

    holds()


@pytest.mark.parametrize("name", FORMATS)
def test_a_log_longer_than_a_block_loses_nothing_at_the_seams(name: str, tmp_path: Path) -> None:
    """Lines do not end where our blocks do."""
    frames = [replace(f, bus=k % 2) for k, f in enumerate(plain(12_000))]
    batch, report = read(save(tmp_path, FORMATS[name](frames)))
    assert (report.frames, report.unreadable) == (12_000, ())
    assert rows(batch) == expected(name, frames)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_anywhere_gives_only_frames_that_were_in_it(name: str, tmp_path: Path) -> None:
    """Half a line at the end looks like a whole frame where no length is stated: it must not become a false current."""
    content = FORMATS[name](plain(4)).removesuffix(b"End TriggerBlock\n")
    full = rows(read(save(tmp_path, content))[0])
    last_line = content.rindex(b"\n", 0, len(content) - 1) + 1
    for end in range(last_line + 1, len(content)):
        reading = read_log(save(tmp_path, content[:end]))
        got = rows(whole(reading))
        assert got == full[: len(got)]
        if content[last_line:end].strip():
            assert len(got) == len(full) or reading.report.unreadable_count == 1


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_lines_are_counted_named_and_survived(name: str, tmp_path: Path) -> None:
    """Every real log has them: chatter, lost characters, NUL bytes, broken UTF-8, a megabyte without a line end."""
    lines = FORMATS[name](plain()).splitlines(keepends=True)
    rubbish = [
        b"\x00\x00\x00\n",
        b"\xff\xfe\xc3(\n",
        b"\n",
        b"   \r\n",
        b"Z" * 3_000_000 + b"\n",
        b"((((,,,,####\t\t\t\n",
    ]
    middle = len(lines) - 7
    batch, report = read(save(tmp_path, b"".join([*lines[:middle], *rubbish, *lines[middle:]])))
    assert len(batch) == 20
    assert report.unreadable_count == 4
    assert {note.first_line for note in report.unreadable} <= {middle + k + 1 for k in range(6)}
    assert all(note.excerpt.isprintable() for note in report.unreadable)


@pytest.mark.parametrize("name", FORMATS)
def test_windows_line_ends_change_nothing(name: str, tmp_path: Path) -> None:
    """Mail programs and git turn them round."""
    content = FORMATS[name](plain()).replace(b"\r\n", b"\n")
    unix = rows(read(save(tmp_path, content))[0])
    assert rows(read(save(tmp_path, content.replace(b"\n", b"\r\n")))[0]) == unix


@pytest.mark.parametrize("name", FORMATS)
def test_a_compressed_log_is_the_same_log(name: str, tmp_path: Path) -> None:
    """Logs are sent around as .gz, often under another name."""
    content = FORMATS[name](plain())
    batch, report = read(save(tmp_path, gzip.compress(content)))
    assert (report.compressed, rows(batch)) == (True, expected(name, plain()))


def test_a_broken_download_gives_what_arrived(tmp_path: Path) -> None:
    """Half a .gz is still half a drive, and the report says that it is half."""
    packed = gzip.compress(FORMATS["candump log"](plain(20_000)))
    batch, report = read(save(tmp_path, packed[: len(packed) // 2]))
    assert 1000 < len(batch) < 20_000
    assert "compressed data breaks off" in {note.reason for note in report.unreadable}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"\x1f\x8b\x08\x00rubbish after the magic", "compressed data is damaged from its start"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
        (b"Dear diary,\ntoday I drove to work.\n", r"Looked for candump, .*first line is: Dear diary,$"),
        (b"\n\n\x00\x01\x02\x03\n", r"first line is: \\x00\\x01\\x02\\x03$"),
        (bytes(range(256)) * 1000, "no CAN log format is known"),
        (b"X" * 5_000_000, "no CAN log format is known"),
        (b"MDF     4.10    rest", "asammdf"),
    ],
)
def test_what_is_no_log_is_refused_with_what_was_seen(content: bytes, says: str, tmp_path: Path) -> None:
    """The message must be enough to see the mistake: wrong file, wrong export, failed download."""
    path = save(tmp_path, content)
    with pytest.raises(LogFormatError, match=says) as refused:
        read_log(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """Before anything else is started."""
    with pytest.raises(LogFormatError, match=r"missing.log: cannot be read: No such file"):
        read_log(tmp_path / "missing.log")
    with pytest.raises(LogFormatError, match="Is a directory"):
        read_log(tmp_path)


def test_a_long_line_costs_no_memory(tmp_path: Path) -> None:
    """A log of 2 GB, or a core dump named .log, must not take the box down with it."""
    path = tmp_path / "long.log"
    with path.open("wb") as file:
        file.write(FORMATS["candump log"](plain(3)))
        for _ in range(200):
            file.write(b"(1.0) can0 123#" + b"00" * 500_000)
        file.write(b"\n" + FORMATS["candump log"](plain(3)))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batch, report = read(path)
    assert (len(batch), report.unreadable_count) == (6, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 60_000


@pytest.mark.parametrize(("style", "kind"), [("a", TimeKind.WALL), ("z", TimeKind.RELATIVE), ("d", TimeKind.RELATIVE)])
@pytest.mark.parametrize("write", [captures.candump_log, captures.candump_print])
def test_candumps_three_ways_to_write_time_mean_the_same(
    style: str, kind: TimeKind, write: Callable[[Sequence[Captured]], bytes], tmp_path: Path
) -> None:
    """-t d writes the time since the last frame: read as time since the start, a drive would be one instant."""
    steps_us = [0, 300, 9_700, 250, 9_750, 120, 100_000]
    absolute = [Captured(START_US + sum(steps_us[: k + 1]), 0x1DB, b"\x01") for k in range(len(steps_us))]
    written = {
        "a": absolute,
        "z": [replace(f, time_us=f.time_us - START_US) for f in absolute],
        "d": [replace(f, time_us=step) for f, step in zip(absolute, steps_us, strict=True)],
    }[style]
    batch, report = read(save(tmp_path, write(written)))
    assert batch.mono_ns.tolist() == [(f.time_us - START_US) * 1000 for f in absolute]
    assert (report.time_kind, report.zone_assumed) == (kind, False)
    assert report.first_wall_ms == (START_US // 1000 if kind is TimeKind.WALL else None)
    assert batch.wall_offset_ms == report.first_wall_ms


def test_candump_with_a_date_is_taken_as_utc_and_says_so(tmp_path: Path) -> None:
    """-t A writes local time without its zone."""
    content = (
        b" (2015-07-10 06:17:32.249713)  can0  123   [1]  11\n (2015-07-10 06:17:32.249714)  can0  123   [1]  11\n"
    )
    batch, report = read(save(tmp_path, content))
    assert batch.mono_ns.tolist() == [0, 1000]
    assert (report.first_wall_ms, report.zone_assumed) == (START_US // 1000, True)


def test_candumps_rarer_frames(tmp_path: Path) -> None:
    """Error frames are counted later, remote frames carry nothing, a raw DLC is not data."""
    content = (
        b"(0.1) can0 20000080#0000000000000000\n(0.2) can0 123#R\n(0.3) can0 123#R8\n(0.4) vcan1 00000123#\n"
        b"(0.5) can0 123#1122334455667788_F\n(0.6) slcan0 7FF##0\n(0.7) can0 800#00\n(0.8) can0 123#0\n"
        b"(0.9) can0 123#112233445566778899\n(1.0) can0 20000000123#00\n(1.1) can0 12345678##1" + b"00" * 9 + b"\n"
    )
    batch, report = read(save(tmp_path, content))
    assert [(i, f, d) for _, _, i, f, d in rows(batch)] == [
        (0x80, ERROR, bytes(8)),
        (0x123, REMOTE, b""),
        (0x123, REMOTE, b""),
        (0x123, EXTENDED, b""),
        (0x123, 0, bytes.fromhex("1122334455667788")),
        (0x7FF, FD, b""),
    ]
    assert report.unreadable_count == 5
    assert report.channels == {"can0": 0, "vcan1": 1, "slcan0": 2}


def test_the_print_form_with_all_its_options(tmp_path: Path) -> None:
    """-x adds direction and FD flags, -a the bytes as characters, -e explains error frames on a line of its own."""
    content = (
        b" (000.000000)  can0  RX - -  123   [8]  11 22 33 44 55 66 77 88   '.\"3DUfw.'\n"
        b" (000.000100)  can0  TX B E  12345678  [12]  00 01 02 03 04 05 06 07 08 09 0A 0B\n"
        b" (000.000200)  can0  RX - -  123   [0]  remote request\n"
        b" (000.000300)  can0  RX - -  20000004   [8]  00 01 00 00 00 00 00 00   ERRORFRAME\n"
        b"\tcontroller-problem{rx-overflow}\n"
        b" (000.000400)  can0  RX - -  123   [8]  11 22 33\n"
    )
    batch, report = read(save(tmp_path, content))
    assert [(i, f, len(d)) for _, _, i, f, d in rows(batch)] == [
        (0x123, 0, 8),
        (0x12345678, EXTENDED | FD | SENT, 12),
        (0x123, REMOTE, 0),
        (0x4, ERROR, 8),
    ]
    assert [(note.reason, note.first_line) for note in report.unreadable] == [
        ("not a candump line", 5),
        ("damaged or cut candump line", 6),
    ]


def test_a_log_without_times_says_that_its_times_mean_nothing(tmp_path: Path) -> None:
    """A current integrated over invented times would be an invented charge."""
    path = save(tmp_path, captures.candump_print_without_times(plain(3)))
    reading = read_log(path, assumed_frame_rate_hz=1000.0)
    assert whole(reading).mono_ns.tolist() == [0, 1_000_000, 2_000_000]
    assert (reading.report.time_kind, reading.report.first_wall_ms) == (TimeKind.NONE, None)


def test_times_that_run_back_are_handed_on_as_they_are_and_counted(tmp_path: Path) -> None:
    """The fold knows what to do with them; a reader that sorts or drops hides a fault."""
    frames = [Captured(START_US + t, 1, b"") for t in (0, 50_000, 20_000, 30_000, 10_000)]
    batch, report = read(save(tmp_path, captures.crtd(frames)))
    assert batch.mono_ns.tolist() == [0, 50_000_000, 20_000_000, 30_000_000, 10_000_000]
    assert (report.times_back, report.span_ns) == (2, 10_000_000)


def test_negative_times_keep_their_differences(tmp_path: Path) -> None:
    """A SavvyCAN export counts from some moment ahead."""
    frames = [Captured(t, 1, b"") for t in (-1_688_467_643_383_897, -1_688_467_643_383_896, 5)]
    batch, report = read(save(tmp_path, captures.savvycan(frames)))
    assert np.diff(batch.mono_ns).tolist() == [1000, 1_688_467_643_383_901_000]
    assert report.time_kind is TimeKind.RELATIVE


def test_savvycan_columns_are_found_by_name(tmp_path: Path) -> None:
    """Versions differ: no Dir, no closing comma, a byte order mark, FD columns, bytes beyond LEN."""
    content = (
        b"\xef\xbb\xbfTime Stamp,ID,Extended,Bus,LEN," + b",".join(b"D%d" % k for k in range(1, 13)) + b"\r\n"
        b"10,00000109,false,1,2,00,64,A0\r\n20,18DAF110,true,0,12"
        + b",7F" * 12
        + b"\r\n30,00000109,false,0,3,00,64\r\n"
    )
    batch, report = read(save(tmp_path, content))
    assert [(b, i, f, d) for _, b, i, f, d in rows(batch)] == [
        (1, 0x109, 0, b"\x00\x64"),
        (0, 0x18DAF110, EXTENDED | FD, b"\x7f" * 12),
    ]
    assert [note.reason for note in report.unreadable] == ["damaged or cut row"]


def test_asc_in_decimals_with_times_since_the_line_before(tmp_path: Path) -> None:
    """`timestamps relative` counts from the last line of any kind, also from one that is no frame."""
    content = (
        b"date Sam M\xe4r 30 15:06:13.191 2019\nbase dec  timestamps relative\n"
        b" 0.500000 Start of measurement\n 0.100000 1  475             Rx   d 2 255 7\n"
        b" 0.250000 1  Statistic: D 0 R 0\n 0.001000 2  417001744x      Tx   d 0\n 0.000100 1  ErrorFrame\n"
        b" 0.000100 1  475             Rx   d 2 256 7\n"
    )
    batch, report = read(save(tmp_path, content))
    assert rows(batch) == [
        (0, 1, 475, 0, b"\xff\x07"),
        (251_000_000, 2, 417001744, EXTENDED | SENT, b""),
        (251_100_000, 1, 0, ERROR, b""),
    ]
    assert (report.first_wall_ms, report.zone_assumed) == (1_553_958_373_791, True)
    assert [note.reason for note in report.unreadable] == ["damaged or cut frame line"]
    assert {note.reason: note.count for note in report.passed_over} == {
        "header or comment": 2,
        "event without a frame": 2,
    }


@pytest.mark.parametrize(
    ("date", "wall_ms", "assumed"),
    [
        ("Thu, 09 Nov 2023 20:36:33 GMT", 1_699_562_193_000, False),
        ("Sat Sep 30 03:06:13.191 pm 2017", 1_506_783_973_191, True),
        ("Sat Sep 30 12:06:13 am 2017", 1_506_729_973_000, True),
        ("Die Okt 10 11:12:13.5 2017", 1_507_633_933_500, True),
        ("a rainy day", None, False),
        ("Sat Feb 31 10:00:00 2017", None, False),
    ],
)
def test_asc_dates_of_several_languages(date: str, wall_ms: int | None, assumed: bool, tmp_path: Path) -> None:
    """A date nobody can read is no date: never the wrong one."""
    content = f"date {date}\nbase hex timestamps absolute\n 0.0 1 1DB Rx d 0\n".encode()
    _, report = read(save(tmp_path, content))
    assert (report.first_wall_ms, report.zone_assumed) == (wall_ms, assumed)


def test_crtd_says_what_else_it_held(tmp_path: Path) -> None:
    """Polls the logger sent itself are frames; comments and events are not, and not faults either."""
    content = (
        b"100.602 CXX Info\n101.562 1T11 79B 02 21 01\n102.5 R29 18DAF110 01\n103.0 2CEV Event x\n104.0 1R11 7BB 0\n"
    )
    batch, report = read(save(tmp_path, content))
    assert rows(batch) == [
        (0, 1, 0x79B, SENT, b"\x02\x21\x01"),
        (938_000_000, 1, 0x18DAF110, EXTENDED, b"\x01"),
    ]
    assert (report.time_kind, report.sent) == (TimeKind.RELATIVE, 1)  # the logger's clock was never set
    assert [(n.reason, n.count) for n in report.passed_over] == [("comment or event record", 2)]
    assert [(n.reason, n.first_line) for n in report.unreadable] == [("damaged or cut CRTD record", 5)]


def test_lines_an_adapter_ran_together_give_no_frame(tmp_path: Path) -> None:
    """As seen on a real OBDLink: half a frame read as a whole one is a false cell voltage."""
    good = b"2017-04-14 19:18:57.417 374 8 0F BF C1 50 FE 40 3E 5B\n"
    bad = (
        b"2017-04-14 19:18:57.418 236 8 0F EF 10 00 30 00 0308 8 00 03 E8 00 00 00 00 00\n"
        b"2017-04-14 19:18:57.419 285 8 07 D0 14 00 8E FE 0C 0\n"
        b"2017-04-14 19:18:57.420 374  \x00BF C1 50 FE 40 3E 5B 14\n"
        b"2017-04-14 19:18:57.421 3738\x00 C3 C3 7F B9 0C A4 00 04\n"
        b"2017-04-14 19:18:57.422 BUFFER FULL\n"
    )
    batch, report = read(save(tmp_path, good + bad + good.replace(b".417", b".500")))
    assert batch.mono_ns.tolist() == [0, 83_000_000]
    assert {n.reason: n.count for n in report.unreadable} == {
        "byte count differs from length": 2,
        "id or length damaged": 2,
    }
    assert {n.reason: n.count for n in report.passed_over} == {"adapter chatter": 1}
    assert (report.time_kind, report.zone_assumed) == (TimeKind.WALL, True)


# --- python-can as writer and as second reader ---------------------------------------------------------------------

WRITERS: dict[str, type[can.io.generic.MessageWriter]] = {
    "candump log": can.CanutilsLogWriter,
    "Vector ASC": can.ASCWriter,
    "Vector BLF": can.BLFWriter,
    "PEAK TRC": can.TRCWriter,
    "python-can CSV": can.CSVWriter,
}
READERS = {
    "candump log": can.CanutilsLogReader,
    "Vector ASC": can.ASCReader,
    "Vector BLF": can.BLFReader,
    "PEAK TRC": can.TRCReader,
    "python-can CSV": can.CSVReader,
}


def written(name: str, path: Path, messages: Sequence[can.Message]) -> Path:
    with WRITERS[name](path) as writer:
        for message in messages:
            writer.on_message_received(message)
    return path


def messages(name: str, count: int = 50) -> list[can.Message]:
    made = []
    for k in range(count):
        fd = k % 10 == 9 and name in {"candump log", "Vector ASC", "Vector BLF"}
        made.append(
            can.Message(
                timestamp=START_US / 1e6 + k * 0.000_997,
                arbitration_id=(0x18DAF110 if k % 2 else 0x1DB) + k,
                is_extended_id=bool(k % 2),
                is_fd=fd,
                is_rx=name == "python-can CSV" or k % 7 != 3,
                is_remote_frame=k == 13 and name in {"candump log", "Vector ASC", "Vector BLF"},
                data=None if k == 13 else bytes(range(64 if fd else k % 9)),
                channel=0,
            )
        )
    return made


@pytest.mark.parametrize("name", WRITERS)
def test_python_can_reads_the_same_frames(name: str, tmp_path: Path) -> None:
    """A second reader, written by others, of files written by others."""
    path = written(name, tmp_path / "log", messages(name))
    batch, report = read(path)
    assert (report.format, report.frames, report.unreadable) == (name, 50, ())
    with path.open("rb" if name == "Vector BLF" else "r") as file:
        theirs = list(READERS[name](file))
    assert [m.arbitration_id for m in theirs] == batch.can_id.tolist()
    assert [b"" if m.is_remote_frame else bytes(m.data) for m in theirs] == [d for *_, d in rows(batch)]
    assert [m.is_extended_id for m in theirs] == ((batch.flags & EXTENDED) > 0).tolist()
    assert [m.is_fd for m in theirs] == ((batch.flags & FD) > 0).tolist()
    assert [not m.is_rx for m in theirs] == ((batch.flags & SENT) > 0).tolist()
    assert [m.is_remote_frame for m in theirs] == ((batch.flags & REMOTE) > 0).tolist()
    offsets_us = [round((m.timestamp - theirs[0].timestamp) * 1e6) for m in theirs]
    assert np.abs(batch.mono_ns // 1000 - offsets_us).max() <= 1
    assert report.time_kind is TimeKind.WALL
    if name != "Vector ASC":  # its writer notes the local time of this machine
        assert report.first_wall_ms == pytest.approx(START_US // 1000, abs=1)


@pytest.mark.parametrize("name", WRITERS)
def test_python_cans_files_survive_cuts_and_damage(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """python-can's own readers end at the first such line."""
    caplog.set_level(logging.ERROR)
    good = written(name, tmp_path / "log", messages(name, 5_000)).read_bytes()
    full = rows(whole(read_log(save(tmp_path, good))))
    for end in (len(good) // 2, len(good) - 7):
        reading = read_log(save(tmp_path, good[:end]))
        got = rows(whole(reading))
        assert got == full[: len(got)]
        assert reading.report.unreadable_count >= 1 or len(got) == len(full)
    middle = len(good) * 3 // 4
    damaged = read_log(save(tmp_path, good[:middle] + b"\xff" * 40 + good[middle + 40 :]))
    assert 1000 < len(whole(damaged)) < 5_000
    assert damaged.report.unreadable_count >= 1


def test_blf_in_gzip(tmp_path: Path) -> None:
    """Nothing in the reader may seek."""
    path = written("Vector BLF", tmp_path / "log", messages("Vector BLF"))
    assert len(whole(read_log(save(tmp_path, gzip.compress(path.read_bytes()))))) == 50


def test_trc_versions(tmp_path: Path) -> None:
    """PEAK changed its columns four times."""
    version_1_0 = (
        b";##########\n;   PCAN-Net: N/A\n;\n     1)     1841 0001 8 00 00 00 00 00 00 00 00\n"
        b"     2)     1846 18DAF110 2 00 08\n     3)     1850 FFFFFFFF 4 00 00 00 04 BUSHEAVY\n"
    )
    version_1_3 = (
        b";$FILEVERSION=1.3\n;$STARTTIME=43008.5\n"
        b"     1)      1059.900 2  Rx        0300 -  7    00 01 02 03 04 05 06\n"
        b"     2)      1060.000 1  Warng FFFFFFFF -  4    00 00 00 08 BUSHEAVY\n"
        b"     3)      1061.250 1  Tx    18DAF110 -  3    RTR\n"
    )
    version_2_0 = (
        b";$FILEVERSION=2.0\n;$STARTTIME=43008.5\n;$COLUMNS=N,O,T,I,d,l,D\n"
        b"      1      1059.900 DT     0300 Rx 7  00 01 02 03 04 05 06\n"
        b"      2      1060.000 ST          Rx    00 00 00 08\n"
        b"      3      1061.250 FB 18DAF110 Tx 12 00 01 02 03 04 05 06 07 08 09 0A 0B\n"
    )
    found = {}
    for version, content in {"1.0": version_1_0, "1.3": version_1_3, "2.0": version_2_0}.items():
        batch, report = read(save(tmp_path, content))
        assert report.unreadable == ()
        found[version] = rows(batch)
    assert found == {
        "1.0": [(0, 1, 1, 0, bytes(8)), (5_000_000, 1, 0x18DAF110, EXTENDED, b"\x00\x08")],
        "1.3": [
            (0, 2, 0x300, 0, bytes(range(7))),
            (1_350_000, 1, 0x18DAF110, EXTENDED | SENT | REMOTE, b""),
        ],
        "2.0": [
            (0, 1, 0x300, 0, bytes(range(7))),
            (1_350_000, 1, 0x18DAF110, EXTENDED | FD | SENT, bytes(range(12))),
        ],
    }


def test_a_reading_left_early_closes_its_file(tmp_path: Path) -> None:
    """A replay stopped with Ctrl-C leaves nothing open."""
    with read_log(save(tmp_path, captures.crtd(plain(50))), batch_frames=10) as reading:
        assert len(next(reading)) == 10
    assert reading.report.frames >= 10
