"""How soon pages stand on a slow phone: `make bench-web`. A budget that is missed makes the exit code 1.

In:  how many first visits to each page. Out: bytes and the median of the largest contentful paint, page by page.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

from browser.drive import chromium
from browser.fleet import demo_like
from browser.places import STOPS, path_of
from browser.weight import Slow, first_visit

LCP_MAX_MS: Final = 1500.0
FIRST_MAX_BYTES: Final = 200_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="web", description=__doc__)
    parser.add_argument("--visits", type=int, default=5)
    args = parser.parse_args()
    slow = Slow()
    print(
        f"{slow.down_bit_per_s / 1e6} Mbit/s down, {slow.up_bit_per_s / 1e6} up, {slow.round_trip_ms:.0f} ms, "
        f"processor {slow.processor:.0f} times slower; median of {args.visits} first visits\n"
        f"{'page':24} {'kB':>6} {'with charts':>12} {'LCP ms':>8} {'spread':>12}  largest"
    )
    late = 0
    with tempfile.TemporaryDirectory() as folder, demo_like(Path(folder)) as served, chromium() as browser:
        for role, stop in STOPS:
            path = path_of(stop, served)
            first_visit(browser, served, role, path)  # the server's own first time is not the reader's
            visits = [first_visit(browser, served, role, path, slow) for _ in range(args.visits)]
            times = sorted(visit.lcp_ms for visit in visits)
            median, light = statistics.median(times), visits[0].without_charts_bytes
            missed = median > LCP_MAX_MS or light > FIRST_MAX_BYTES
            late += missed
            print(
                f"{stop.name:24} {light / 1000:6.1f} {visits[0].sent_bytes.total() / 1000:12.1f} {median:8.0f} "
                f"{times[0]:5.0f}..{times[-1]:5.0f}  {visits[0].largest[:40]}{'  MISSED' if missed else ''}",
                flush=True,
            )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
