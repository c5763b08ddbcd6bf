"""Worlds by their seeds, one or many, in scratch folders."""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from worlds.book import make_template
from worlds.plan import Plan, draw
from worlds.verdict import check
from worlds.world import Ended, live

MEMORY = Path("/dev/shm")  # power cuts are simulated above the disk: no need to wait for a real one


@dataclass(frozen=True)
class Outcome:
    seed: int
    days: int
    wrong: str  # empty: all is right
    plan: str
    figures: dict[str, int] = field(default_factory=dict)


def run_one(seed: int, days: int) -> Outcome:
    plan = draw(seed, days)
    try:
        figures = check_plan(plan)
    except AssertionError as problem:
        return Outcome(seed, days, str(problem) or traceback.format_exc(), plan.told())
    except Exception:  # whatever broke a world is told with its seed
        return Outcome(seed, days, traceback.format_exc(), plan.told())
    return Outcome(seed, days, "", plan.told(), figures)


def check_plan(plan: Plan) -> dict[str, int]:
    """Raises WrongError."""
    with scratch() as folder:
        return check(_lived(plan, Path(folder)))


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="packbox-world-", dir=MEMORY if MEMORY.is_dir() else None)


def run_all(seeds: Iterable[int], days: int, jobs: int) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=logging.disable, initargs=(logging.CRITICAL,)) as pool:
        yield from pool.map(partial(run_one, days=days), seeds)


def _lived(plan: Plan, folder: Path) -> Ended:
    template = folder / "template.db"
    template.write_bytes(_template())
    return live(plan, folder, template)


@cache
def _template() -> bytes:
    with scratch() as folder:
        return make_template(Path(folder) / "book.db").read_bytes()
