"""Run worlds from seeds: `make worlds SEEDS=200 DAYS=7`, and one again with `make worlds SEED=17 DAYS=7`.

Exit codes: 0 all are right, 1 one is not: then its seed, its plan and how to run it again stand at the end.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from worlds.runs import Outcome, run_all, run_one


def main() -> int:
    parser = argparse.ArgumentParser(prog="worlds", description=__doc__)
    parser.add_argument("--seeds", type=int, default=30, help="how many")
    parser.add_argument("--first", type=int, default=0, help="seed to begin with")
    parser.add_argument("--days", type=int, default=3, help="simulated days of each")
    parser.add_argument("--seed", type=int, help="only this one, with all that is logged")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    args = parser.parse_args()
    began_s = time.monotonic()
    if args.seed is not None:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
        outcomes = [run_one(args.seed, args.days)]
        print(outcomes[0].plan)
    else:
        logging.disable(logging.CRITICAL)
        outcomes = []
        for outcome in run_all(range(args.first, args.first + args.seeds), args.days, args.jobs):
            outcomes.append(outcome)
            print(f"seed {outcome.seed}: {'WRONG' if outcome.wrong else 'right'}, {outcome.figures}", flush=True)
    failed = [outcome for outcome in outcomes if outcome.wrong]
    for outcome in failed:
        print(told(outcome), file=sys.stderr)
    records = sum(outcome.figures.get("records", 0) for outcome in outcomes)
    print(
        f"{len(outcomes)} worlds of {args.days} days, {records} records in the books, {len(failed)} wrong,"
        f" {time.monotonic() - began_s:.0f} s"
    )
    return 1 if failed else 0


def told(outcome: Outcome) -> str:
    again = f"make worlds SEED={outcome.seed} DAYS={outcome.days}"
    return f"\nseed {outcome.seed} is wrong:\n{outcome.wrong}\n{outcome.plan}\nrun it again: {again}"


if __name__ == "__main__":
    sys.exit(main())
