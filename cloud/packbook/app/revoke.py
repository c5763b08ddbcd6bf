"""`packbook revoke`: a box is lost or stolen. Its certificates go onto the list that the broker reads."""

from __future__ import annotations

import argparse

from packbook.adapters.authority import CRL_FILE
from packbook.app.box import decide
from packbook.app.command import DONE, add_settings, run
from packbook.app.token import box_name
from packbook.core.enrolment import BoxState
from packbook.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("box", type=box_name, metavar="BOX")
    parser.add_argument("--why", default="", help="goes into the log of acts")
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _revoke(settings, args.box, args.why))


async def _revoke(settings: Settings, box: str, why: str) -> int:
    await decide(settings, box, BoxState.REVOKED, why)
    assert settings.ca_dir is not None  # or the desk would have refused
    print(f"{settings.ca_dir / CRL_FILE} is written; restart the broker, which also ends an open connection")
    return DONE
