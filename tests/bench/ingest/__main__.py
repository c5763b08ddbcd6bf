"""How much the book takes in, against what others take in, on one machine in one run. `make bench-ingest`.

In:  nothing; `--quick` for a look in two minutes, `--only rates,latency,drain,memory,page` for some of it.
Out: one table, medians and spread; exit code 1 when a promise breaks.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from bench.ingest import measures  # noqa: E402  after the path
from bench.ingest.measures import Costs, Rates, Size  # noqa: E402
from postgres_server import Postgres  # noqa: E402

PARTS: Final = ("rates", "latency", "drain", "memory", "page")
QUICK: Final = Size(rounds=1, boxes=250, half_s=5.0, drain_boxes=500, memory_records=20_000, batteries=300)
WHOLE: Final = Size(rounds=3, boxes=1500, half_s=30.0, drain_boxes=10_000, memory_records=1_000_000, batteries=10_000)


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: str
    spread: str
    promise: str
    holds: bool

    def line(self) -> str:
        verdict = "" if self.holds else "BROKEN"
        return f"{self.what:<66} {self.value:>12}  {self.spread:<22} {self.promise:<14} {verdict}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.ingest")
    parser.add_argument("--quick", action="store_true", help="a look in two minutes: figures mean little")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    args = parser.parse_args()
    size = QUICK if args.quick else WHOLE
    parts = args.only.split(",")
    figures: list[Figure] = []
    rates: Rates = {}
    for part in parts:
        for figure in _FIGURES[part](size, rates):
            print(figure.line(), flush=True)
            figures.append(figure)
    broken = [figure.what for figure in figures if not figure.holds]
    print("\nall promises hold" if not broken else f"\nBROKEN: {'; '.join(broken)}")
    return 1 if broken else 0


def _rates(size: Size, rates: Rates) -> Iterator[Figure]:
    """Everybody in turn, round by round; ratios are taken within a round."""
    costs: Costs = {}
    with _server() as server, _folder() as folder:
        for _ in range(size.rounds):
            for name, taken in asyncio.run(measures.one_round(server, folder, size, costs)).items():
                rates.setdefault(name, []).append(taken)
    for name, least in (("postgresql", 5000), ("sqlite", 4000), ("postgresql, each box once a batch", 0)):
        yield _at_least(f"verified records/s, {name}", rates[name], least)
    for name, spent_us in costs.items():
        yield _at_least(f"processor time for a record in us, {name}", spent_us, 0)
    for name in ("one INSERT per message", "Node-RED", measures.BEST_CASE):
        if name in rates:
            yield _at_least(f"messages/s, {name}", rates[name], 0)
    for name, least in (("one INSERT per message", 3.0), ("Node-RED", 2.0)):
        if name in rates:
            ratios = [ours / theirs for ours, theirs in zip(rates["postgresql"], rates[name], strict=True)]
            yield _at_least(f"times the rate of {name}", ratios, least, digits=1)
        else:
            yield Figure(
                f"times the rate of {name}", "not measured", measures.NODE_RED_MISSING, f">= {least:g} x", holds=False
            )


def _latency(size: Size, rates: Rates) -> Iterator[Figure]:
    half = statistics.median(rates.get("postgresql", [5000.0])) / 2
    with _server() as server, _folder() as folder:
        taken_ms = asyncio.run(measures.receipt_to_ack(server, folder, size, half))
    p50, p99 = (statistics.quantiles(taken_ms, n=100)[place] for place in (49, 98))
    what = f"publish to ack at {half:.0f} records/s, p99 of {len(taken_ms)}"
    yield Figure(what, f"{p99:.0f} ms", f"median {p50:.0f} ms", "< 500 ms", p99 < 500)


def _drain(size: Size, _rates: Rates) -> Iterator[Figure]:
    with _server() as server, _folder() as folder:
        drained = asyncio.run(measures.drain(server, folder, size))
    what = f"{size.drain_boxes} boxes bring 20 records each: lost + doubled"
    yield Figure(what, str(drained.wrong), f"in {drained.took_s:.0f} s", "= 0", drained.wrong == 0)


def _memory(size: Size, _rates: Rates) -> Iterator[Figure]:
    with _server() as server, _folder() as folder:
        held_mb = asyncio.run(measures.memory(server, folder, size))
    early = statistics.median(held_mb[1:3])
    change = 100.0 * (max(held_mb[2:], key=lambda mb: abs(mb - early)) / early - 1.0)
    spread = f"{min(held_mb):.0f} to {max(held_mb):.0f} MB"
    what = f"memory over {size.memory_records} records, change from the first tenths"
    yield Figure(what, f"{change:+.1f} %", spread, "within 10 %", abs(change) <= 10.0)


def _page(size: Size, _rates: Rates) -> Iterator[Figure]:
    with _server() as server, _folder() as folder:
        taken_ms = asyncio.run(measures.page(server, folder, size))
    p50, p95 = (statistics.quantiles(taken_ms, n=100)[place] for place in (49, 94))
    what = f"battery page, 8 years of history, {size.batteries} batteries stored, p95"
    yield Figure(what, f"{p95:.0f} ms", f"median {p50:.0f} ms", "< 100 ms", p95 < 100)


_FIGURES: Final[dict[str, Callable[[Size, Rates], Iterator[Figure]]]] = {
    "rates": _rates,
    "latency": _latency,
    "drain": _drain,
    "memory": _memory,
    "page": _page,
}


def _at_least(what: str, values: Sequence[float], least: float, digits: int = 0) -> Figure:
    middle = statistics.median(values)
    spread = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
    return Figure(what, f"{middle:.{digits}f}", spread, f">= {least:g}" if least else "", middle >= least)


@contextmanager
def _server() -> Iterator[Postgres]:
    server = Postgres(durable=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="packbook-bench-") as name:
        Path(name).chmod(0o755)  # the broker may become another user
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
