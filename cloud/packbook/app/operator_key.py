"""`packbook operator-key new|show`: the key that configurations and commands are signed with.

Boxes that have its public half as `operator_key` believe it. It belongs on the operator's own machine, not beside the
book: whoever holds it can configure every box that trusts it.
"""

from __future__ import annotations

import argparse

from packbook.adapters.signing_key import make_key, read_key
from packbook.app.command import DONE, add_settings, run
from packbook.ports.trouble import SettingsError
from packbook.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("way", choices=("new", "show"))
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _key(settings, args.way))


async def _key(settings: Settings, way: str) -> int:
    path = settings.operator_key_file
    if path is None:
        raise SettingsError("operator_key_file: not set; name the file that the key shall lie in")
    key = make_key(path) if way == "new" else read_key(path)
    print(key.public_key.hex())
    return DONE
