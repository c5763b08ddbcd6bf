"""The `packbook` command. Each subcommand is a module of `packbook.app`; only the one asked for is imported.

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
    "serve": ("packbook.app.serve", "collector and web pages in one process"),
    "collect": ("packbook.app.collect", "take records from the broker into the ledger"),
    "web": ("packbook.app.web", "serve pages and the API"),
    "demo": ("packbook.app.demo", "a whole system with simulated cars on this machine"),
    "broker-config": ("packbook.app.broker_config", "write the configuration of a mosquitto broker for the fleet"),
    "migrate": ("packbook.app.migrate", "bring the database to this version's schema"),
    "rebuild": ("packbook.app.rebuild", "make all histories anew from the ledger"),
    "backup": ("packbook.app.backup", "copy a SQLite book while it runs"),
    "learn": ("packbook.app.learn", "learn from the stored batteries how each family of packs ages"),
    "forecast": ("packbook.app.forecast", "say how SoH goes on from a table of months, and what may be promised"),
    "quarantine": ("packbook.app.quarantine", "look at what could not be believed, and deal with it"),
    "alerts": ("packbook.app.alerts", "what is wrong, who takes it on, and whether news of it arrives"),
    "ca": ("packbook.app.ca", "the certificate authority: root, issuers, servers' certificates"),
    "token": ("packbook.app.token", "make one-time codes that let new boxes enrol"),
    "box": ("packbook.app.box", "show enrolled boxes, move them between fleets, retire them"),
    "revoke": ("packbook.app.revoke", "shut out a box that was lost or stolen"),
    "export": ("packbook.app.export", "write what the book knows of one battery to a file"),
    "declare": ("packbook.app.declare", "take down what people and firms say of a battery"),
    "custody": ("packbook.app.custody", "sign and check who handed a battery to whom, and what it counts as"),
    "totals": ("packbook.app.totals", "what a fleet's batteries amount to, in groups too large to tell one from"),
    "passport": ("packbook.app.passport", "say what a battery's passport owes, what is there and what is missing"),
    "credential": ("packbook.app.credential", "sign what is known of a battery as W3C credentials, and take them back"),
    "verify-sheet": ("packbook.app.verify_sheet", "hold a printed sheet's code against a record, without network"),
    "verify-record": ("packbook.app.verify_record", "check the signatures of an exported record, without network"),
    "verify-credential": ("packbook.app.verify_credential", "check such credentials, without network or settings"),
    "durability": ("packbook.app.durability", "how families of batteries stand to UN GTR 22 or Euro 7"),
    "ouranos": ("packbook.app.ouranos", "register a battery with the Ouranos Ecosystem, and keep its trace id"),
    "verify": ("packproof.command", "check an evidence bundle, without network or settings"),
    "operator-key": ("packbook.app.operator_key", "make and show the key that boxes believe the operator by"),
    "config": ("packbook.app.config", "configure a box or a fleet from afar"),
    "command": ("packbook.app.command_box", "have a box send records or log lines again, or look at its car"),
    "vehicle": ("packbook.app.vehicle", "say and show which vehicle a battery is in"),
    "owner": ("packbook.app.owner", "give an owner everything, or end his relation to a battery"),
    "share": ("packbook.app.share", "links that show a battery to somebody without an account"),
    "reads": ("packbook.app.reads", "show who read what of a battery's own life"),
    "user": ("packbook.app.user", "accounts: who may sign in, as what"),
    "tenant": ("packbook.app.tenant", "firms that share a book and see nothing of one another"),
    "key": ("packbook.app.key", "API keys for programs"),
    "doctor": ("packbook.app.doctor", "look for trouble and say what to do"),
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="packbook", description="A battery usage history anyone can verify: the book."
    )
    parser.add_argument("--version", action="version", version=f"packbook {__version__}")
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
