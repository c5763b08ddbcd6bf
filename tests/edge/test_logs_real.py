"""Real logs of real cars. They may not ship: without ../shared these are skipped."""

from __future__ import annotations

from pathlib import Path

import can
import pytest

from packbox.adapters.logs import LogReport, TimeKind, read_log
from packbox.core.frames import SENT, join

ENV200 = "nissan-env200-40kwh/env200-2015-with-40kWh-normal-charge-coldbattery-nocooling-nobridge.crtd"
CHADEMO = "nissan-leaf-ze1-62kwh/ZE1-chademo-starting-and-charging.csv"
LEAF_62_CHARGE = "nissan-leaf-ze1-62kwh/EV_can-bus_from_62_ZE1_QCcharging.txt"
KONA_P_CAN = "hyundai-kona/230112-7-2019-pcan-ccan-power-off-on-ready-off.csv"
OUTLANDER = "mitsubishi-outlander-phev/202109061515-steering-lock-to-lock.csv"
ION_DRIVE = "imiev-peugeot-ion/Triplet_2017-04-14_191849.log"
ION_STANDING = "imiev-peugeot-ion/Triplet_2017-04-15_132733.log"

# Received frames, seconds (to 0.1), unreadable lines, buses: shared/logs/README.md says the first two and the buses.
LOGS = {
    "nissan-leaf-ze0/ZE0w24kWhstock.log": ("ParserFlags text", 59_966, 78.7, 0, {"0": 0}),
    "nissan-leaf-ze1-62kwh/EV-CANeplus2.log": ("ParserFlags text", 25_832, 19.0, 0, {"0": 0}),
    LEAF_62_CHARGE: ("candump print without times", 22_641, 16.2, 45, {"can0": 0}),
    CHADEMO: ("SavvyCAN/GVRET CSV", 4_692, 39.5, 0, {"0": 0}),
    "nissan-env200-40kwh/ME0_40kWh Startup.log": ("ParserFlags text", 17_386, 22.9, 0, {"0": 0}),
    ENV200: ("CRTD", 37_849, 55.3, 0, {"1": 1, "2": 2}),
    ION_DRIVE: ("ELM/STN monitor", 33_064, 167.2, 3, {"0": 0}),
    ION_STANDING: ("ELM/STN monitor", 30_759, 23.9, 9, {"0": 0}),
    OUTLANDER: ("SavvyCAN/GVRET CSV", 19_871, 5.9, 0, {"0": 0, "1": 1}),
    KONA_P_CAN: ("SavvyCAN/GVRET CSV", 39_546, 10.8, 0, {"0": 0, "1": 1}),
    "hyundai-kona/bms-idle-30sec.asc": ("Vector ASC", 5_934, 30.5, 0, {"0": 0}),
    "hyundai-kona/221210-1-2021-dcan-car-scanner-elm327.csv": ("SavvyCAN/GVRET CSV", 1_845, 1057.0, 0, {"1": 1}),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_real_log_is_read_to_the_last_frame(name: str, shared: Path) -> None:
    """The counts are those of the people who collected the logs."""
    form, received, span_s, unreadable, channels = LOGS[name]
    reading = read_log(shared / "logs" / name)
    batch = join(list(reading))
    report = reading.report
    assert report.format == form
    assert report.frames - report.sent == received
    assert report.span_ns / 1e9 == pytest.approx(span_s, abs=0.06)
    assert report.unreadable_count == unreadable
    assert report.channels == channels
    assert len(batch) == report.frames


def test_every_shared_log_is_in_the_list(shared: Path) -> None:
    """A log that arrives later must be read too."""
    logs = {str(p.relative_to(shared / "logs")) for p in (shared / "logs").glob("*/*")}
    assert logs == set(LOGS)


def test_the_env200_log_holds_the_polls_its_logger_sent(shared: Path) -> None:
    """37 857 records are frames; 8 of them OVMS sent, which the collectors did not count."""
    reading = read_log(shared / "logs" / ENV200)
    batch = join(list(reading))
    assert (reading.report.frames, reading.report.sent) == (37_857, 8)
    assert set(batch.can_id[batch.flags & SENT > 0].tolist()) <= {0x797, 0x79B}


def test_which_logs_know_their_time(shared: Path) -> None:
    """Nobody may believe an integral over the log without times, nor a date that is not there."""
    kinds = {name: _report(shared, name).time_kind for name in (LEAF_62_CHARGE, CHADEMO, ENV200, ION_DRIVE)}
    assert kinds == {
        LEAF_62_CHARGE: TimeKind.NONE,
        CHADEMO: TimeKind.RELATIVE,
        ENV200: TimeKind.WALL,
        ION_DRIVE: TimeKind.WALL,
    }


def test_cut_lines_of_the_ion_logs_are_named(shared: Path) -> None:
    """Line numbers found by hand with grep."""
    first_lines = {
        name: {note.reason: (note.count, note.first_line) for note in _report(shared, name).unreadable}
        for name in (ION_DRIVE, ION_STANDING)
    }
    assert first_lines == {
        ION_DRIVE: {"id or length damaged": (2, 1583), "byte count differs from length": (1, 32290)},
        ION_STANDING: {"byte count differs from length": (6, 1858), "id or length damaged": (3, 3047)},
    }


def test_python_can_reads_the_kona_asc_the_same(shared: Path) -> None:
    """An independent reader of the one real log that both read."""
    path = shared / "logs/hyundai-kona/bms-idle-30sec.asc"
    batch = join(list(read_log(path)))
    with can.ASCReader(path) as reader:
        theirs = list(reader)
    assert [m.arbitration_id for m in theirs] == batch.can_id.tolist()
    assert [bytes(m.data) for m in theirs] == [d[:n].tobytes() for d, n in zip(batch.data, batch.length, strict=True)]
    assert [round((m.timestamp - theirs[0].timestamp) * 1e6) for m in theirs] == (batch.mono_ns // 1000).tolist()


@pytest.mark.parametrize("name", [ENV200, OUTLANDER, ION_STANDING])
def test_batches_of_any_size_hold_the_same_frames(name: str, shared: Path) -> None:
    """The fold promises the same result however its input is cut; that begins here."""
    path = shared / "logs" / name
    whole = join(list(read_log(path)))
    for size in (1000, 100_000):
        parts = join(list(read_log(path, batch_frames=size)))
        for column in ("mono_ns", "bus", "can_id", "flags", "length", "data"):
            assert (getattr(parts, column) == getattr(whole, column)).all()


def _report(shared: Path, name: str) -> LogReport:
    reading = read_log(shared / "logs" / name)
    for _ in reading:
        pass
    return reading.report
