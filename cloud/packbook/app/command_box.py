"""`packbook command BOX resend|log|inspect`: one signed command of a closed list, left at the broker until it expires.

What came of it is told by the box, in its own signed records: `command_done` or `command_refused` with the id that is
printed here.
"""

from __future__ import annotations

import argparse

from packbook.app.command import DONE, add_settings, run
from packbook.app.send_down import operator_of, send_down, write_down
from packbook.app.token import box_name
from packbook.clock import now_ms
from packbook.ports.trouble import SettingsError
from packbook.settings import Settings
from packwire.codec import checked
from packwire.command import MAX_LOG_LINES, Command, CommandKind, encode_command, new_command_id
from packwire.errors import Malformed
from packwire.ids import BoxId
from packwire.topics import Leaf, topic

KINDS = {"resend": CommandKind.RESEND, "log": CommandKind.LOG_SLICE, "inspect": CommandKind.INSPECT}
HOURS_MAX = 24 * 365


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("box", type=box_name, metavar="BOX")
    parser.add_argument("what", choices=KINDS)
    parser.add_argument("--from", dest="from_seq", type=int, metavar="SEQ", help="resend: from this record on")
    parser.add_argument(
        "--lines", type=int, default=MAX_LOG_LINES, metavar="N", help="log: so many of the newest lines"
    )
    parser.add_argument(
        "--hours", type=float, default=72.0, metavar="H", help="how long the box may take to hear of it"
    )
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _command(settings, args))


async def _command(settings: Settings, args: argparse.Namespace) -> int:
    command = command_from(args, now_ms())
    operator, box = operator_of(settings), BoxId(args.box)
    signed = encode_command(command, box, operator.sign, operator.public_key)
    await send_down(settings, {topic(box, Leaf.COMMAND): signed}, expiry_s=round(args.hours * 3600))
    await write_down(settings, "command sent", [box], f"{command.id.hex()} {args.what}")
    print(f"box {box}: command {command.id.hex()} waits for it at the broker for {args.hours:g} h")
    return DONE


def command_from(args: argparse.Namespace, made_ms: int) -> Command:
    """Raises SettingsError (exit 2) for words that do not go together."""
    if not 0 < args.hours <= HOURS_MAX:
        raise SettingsError(f"--hours {args.hours:g}: expected above 0 and at most {HOURS_MAX}")
    try:
        command = Command(
            id=new_command_id(),
            command=KINDS[args.what],
            expires_ms=made_ms + round(args.hours * 3_600_000),
            from_seq=args.from_seq,
            lines=args.lines,
        )
        return checked(command)
    except Malformed as problem:
        raise SettingsError(str(problem).removeprefix("Command").removeprefix(".").removeprefix(": ")) from problem
