"""`packbook collect`: take records from the broker into the ledger until asked to stop.

With `--workers N`, so many processes share the work over one PostgreSQL: see `app.workers`. One of these, asked by
SIGUSR1, leaves for good: it commits what the broker gave it, and the broker forgets it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from functools import partial
from typing import Final

from packbook.app.command import DONE, add_settings, run
from packbook.app.only_collect import only_collect
from packbook.app.workers import supervise, worker_settings
from packbook.settings import Settings

PARENT_LOOK_EVERY_S: Final = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="so many processes share the work (PostgreSQL)")
    parser.add_argument("--worker", type=int, metavar="K", help=argparse.SUPPRESS)  # one of these


def main(args: argparse.Namespace) -> int:
    if args.workers is not None:
        return run(args, partial(supervise, args.settings, args.workers))
    return run(args, _keep_book if args.worker is None else partial(_work, args.worker))


async def _work(number: int, settings: Settings) -> int:
    """One of several, for as long as the process that began it is there."""
    parent = os.getppid()
    own = worker_settings(settings, number)
    task = asyncio.create_task(_keep_book(own) if number == 0 else only_collect(own))
    while not (await asyncio.wait([task], timeout=PARENT_LOOK_EVERY_S))[0]:
        if os.getppid() != parent:
            task.cancel()
    return DONE if task.cancelled() else task.result()


async def _keep_book(settings: Settings) -> int:
    from packbook.app.keeping import keep_book  # takes longer to import than all that a worker needs

    return await keep_book(settings)
