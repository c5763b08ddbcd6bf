"""The `packbox` command. Each subcommand is a module of `packbox.app`; only the one asked for is imported.

Exit codes: 0 done, 1 found a problem (said on stderr), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

from packwire import __version__

# A module named here has add_arguments(parser) and main(args) -> exit code.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": ("packbox.app.run", "listen to the car, keep the history, send records"),
    "replay": ("packbox.app.replay", "run a recorded CAN log through the box and show what it learns"),
    "decode": ("packbox.app.decode", "decode single frames and diagnostic answers (JSON lines in, JSON lines out)"),
    "profiles": ("packbox.app.profiles", "list, show and check vehicle profiles"),
    "estimate": ("packbox.app.estimate", "work out the state of health from a table of samples or segments"),
    "history": ("packbox.app.history", "show what this box has recorded"),
    "raw": ("packbox.app.raw", "show and export the raw frames that this box kept"),
    "inspect": ("packbox.app.inspect", "look at a car once: recognise it, read it, seal a record, write a sheet"),
    "enrol": ("packbox.app.enrol", "get this box's certificate with a one-time code"),
    "export": ("packbox.app.export", "write everything this box recorded to one file that anyone can check"),
    "verify": ("packproof.command", "check an evidence bundle, without network or settings"),
    "consent": ("packbox.app.consent", "show, give or withdraw what the owner agrees to"),
    "sim": ("packbox.app.sim", "play a car on a real bus, for a bench and for others' tools"),
    "doctor": ("packbox.app.doctor", "look for trouble on this box and say what to do"),
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="packbox", description="A battery usage history anyone can verify: the box.")
    parser.add_argument("--version", action="version", version=f"packbox {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == asked:
            importlib.import_module(module_name).add_arguments(command)
    args = parser.parse_args(arguments)
    module = importlib.import_module(COMMANDS[args.command][0])
    try:
        return int(module.main(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output left: nothing more to say, and no trace at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
