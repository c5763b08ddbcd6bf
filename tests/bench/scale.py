"""What fleets of many sizes ask of broker, collectors and database: the table of docs/scale.md, from its assumptions.

Calculation, not measurement: record sizes are the contract's (`TYPICAL_BYTES`), bytes in PostgreSQL and overhead on the
wire were measured once, how cars are used is assumed. Change a figure here and paste what `python tests/bench/scale.py`
prints; a test compares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from packwire.messages import TYPICAL_BYTES, Kind

DAY_S: Final = 86_400
# Assumed: a private car; a taxi or a parcel van makes three to five times as many.
RECORDS_A_DAY: Final = {
    Kind.DRIVE: 3.0,
    Kind.REST: 4.0,
    Kind.CHARGE: 0.7,
    Kind.READING: 0.7,
    Kind.SOH: 0.7,
    Kind.USAGE: 1.0,
    Kind.CELLS: 1.0,
    Kind.HEALTH: 1.0,
    Kind.EVENT: 0.2,
}
HEARTBEATS_A_DAY: Final = 46.0  # every 5 min for two hours awake, else hourly
HEARTBEAT_BYTES: Final = 70  # docs/wire.md
QOS1_OVERHEAD_BYTES: Final = 237  # TLS 1.3, both directions (facts/transport.md §5)
QOS0_OVERHEAD_BYTES: Final = 155
PEAK: Final = 5.0  # of a day's mean: evenings
STORED_BYTES: Final = 1170  # a record in ledger, seen and projections, with indexes: measured, 3,630 records
RECORDS_S_A_PROCESS: Final = 5000.0  # what `make bench-ingest` asks of one process, verified
LOAD_MAX: Final = 0.5  # of that, at the peak
FLEETS: Final = (1_000, 10_000, 100_000, 300_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Size:
    boxes: int
    records_s: float
    messages_peak_s: float
    mbit_peak_s: float
    processes: int
    gb_a_year: float
    week_back_h: float  # after a week without a book, one process per 100,000 boxes


def size(boxes: int) -> Size:
    a_day = sum(RECORDS_A_DAY.values())
    record_bytes = sum(TYPICAL_BYTES[kind] * n for kind, n in RECORDS_A_DAY.items())
    wire_bytes = record_bytes + a_day * QOS1_OVERHEAD_BYTES
    wire_bytes += HEARTBEATS_A_DAY * (HEARTBEAT_BYTES + QOS0_OVERHEAD_BYTES)
    records_s = boxes * a_day / DAY_S
    processes = max(math.ceil(records_s * PEAK / (RECORDS_S_A_PROCESS * LOAD_MAX)), math.ceil(boxes / 100_000))
    return Size(
        boxes,
        records_s,
        boxes * (a_day + HEARTBEATS_A_DAY) / DAY_S * PEAK,
        boxes * wire_bytes * 8 / DAY_S * PEAK / 1e6,
        processes,
        boxes * a_day * 365 * STORED_BYTES / 1e9,
        boxes * a_day * 7 / (processes * RECORDS_S_A_PROCESS) / 3600,
    )


def table() -> str:
    head = (
        "| boxes | records/s, mean | messages/s, peak | Mbit/s, peak | collectors | PostgreSQL a year | a week back |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(
        f"| {s.boxes:,} | {s.records_s:,.1f} | {s.messages_peak_s:,.0f} | {s.mbit_peak_s:,.1f} | {s.processes} "
        f"| {s.gb_a_year:,.0f} GB | {s.week_back_h:.1f} h |\n"
        for s in map(size, FLEETS)
    )


if __name__ == "__main__":
    print(table(), end="")
