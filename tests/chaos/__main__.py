"""`make chaos`: kill everything at random for some minutes, then see whether the book is right.

Exit code 1 when it is not, 2 for wrong usage. SIGINT and SIGTERM end the run and all it started.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys

from chaos.run import Plan, Report, run


async def stoppable(plan: Plan) -> Report:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(plan, tell=lambda said: print(said, file=sys.stderr, flush=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None, help="repeat what was drawn (the moments of death stay luck)")
    parser.add_argument("--no-namespace", action="store_true", help="proxies alone, also where root could have more")
    args = parser.parse_args()
    if args.minutes <= 0 or args.kills < 1 or args.workers < 1:
        parser.error("--minutes, --kills and --workers: more than nothing")
    seed = random.SystemRandom().randrange(2**32) if args.seed is None else args.seed
    print(f"seed {seed}: {args.kills} kills in {args.minutes:g} minutes", flush=True)
    plan = Plan(seed, args.minutes, args.kills, args.workers, namespace=not args.no_namespace)
    report = asyncio.run(stoppable(plan))
    print(report.told())
    if report.wrong:
        print(report.logs, file=sys.stderr)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
