"""`packbook rebuild`: make all histories anew from the ledger, for example after an update that reads more from it.

The collector goes on meanwhile, and a book that runs on SQLite does it itself. What fleets teach is learned anew;
earlier versions of it stay.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from packbook.adapters.store import rebuilding
from packbook.app.command import DONE, add_settings, run, show_progress
from packbook.app.learn import learn_fleets
from packbook.app.operate import Act, Office, operate
from packbook.settings import Settings

PART_WAIT_MAX_S: Final = 3600.0  # one battery with decades of records, or all that a large fleet teaches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, rebuild)


async def rebuild(settings: Settings) -> int:
    progress = show_progress("rebuild")
    part: dict[str, Any] = {"after": "", "skip": []}
    done = 0
    while part["after"] is not None:
        wish = {"after": part["after"], "skip": part["skip"]}
        part = await operate(settings, ACTS, "rebuild.part", wish, wait_max_s=PART_WAIT_MAX_S)
        done += part["records"]
        progress(done, part["total"])
    name = await operate(settings, ACTS, "rebuild.learn", {}, wait_max_s=PART_WAIT_MAX_S)
    print(f"{name}: histories made anew from {done} records")
    return DONE


async def _part(office: Office, wish: Mapping[str, Any]) -> object:
    part = await rebuilding.rebuild_part(office.database, wish["after"], wish["skip"])
    return {**asdict(part), "skip": sorted(part.skip)}


async def _learn(office: Office, _wish: Mapping[str, Any]) -> object:
    await learn_fleets(office.database)
    return office.database.name


ACTS: Final[dict[str, Act]] = {"rebuild.part": _part, "rebuild.learn": _learn}
