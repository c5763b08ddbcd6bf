"""`packbox history`: what this box has recorded, as a table or as JSON lines.

In:  a copy of the journal, so that it works while the box runs and never disturbs it.
Out: newest SoH and usage, then sessions and events, newest first.
A record that cannot be read is shown as such, with its number and the reason; the rest is shown all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from packbox.adapters.journal import JOURNAL_FILE, HeldRow, JournalCopy, open_copy
from packbox.app.options import add_settings_options, settings_from
from packbox.ports import PackboxError
from packwire.codec import shown
from packwire.errors import WireError
from packwire.messages import Charge, Drive, Event, Kind, Message, Rest, Session, Soh, Usage
from packwire.seal import peek, read

LIMIT_DEFAULT: Final = 20  # fits a terminal
TOLD: Final = (Kind.CHARGE, Kind.DRIVE, Kind.REST, Kind.EVENT)  # one line each; the others are summed up above
COLUMNS: Final = ("no", "UTC", "what", "h:min", "SoC %", "in kWh", "out", "book", "more")
TO_THE_RIGHT: Final = frozenset({"no", "h:min", "in kWh", "out"})
WIDTH: Final = 80  # of a plain terminal; --json holds what does not fit
UNREADABLE: Final = "unreadable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object per record, newest first")
    parser.add_argument(
        "--kind",
        action="append",
        choices=[kind.name.lower() for kind in Kind],
        default=[],
        help="only records of this kind; may be given several times",
    )
    parser.add_argument(
        "--limit",
        type=_limit,
        default=LIMIT_DEFAULT,
        metavar="N",
        help=f"at most N records (default {LIMIT_DEFAULT}; 0: all)",
    )


def main(args: argparse.Namespace) -> int:
    try:
        settings = settings_from(args)
        with open_copy(settings.data_dir / JOURNAL_FILE) as journal:
            kinds = [Kind[name.upper()] for name in args.kind]
            lines = _json_lines(journal, kinds, args.limit) if args.json else _page(journal, kinds, args.limit)
            for line in lines:
                print(line)
    except PackboxError as problem:
        print(f"packbox history: {problem}", file=sys.stderr)
        return 1
    return 0


def _limit(text: str) -> int | None:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0")
    return int(text) or None


def opened(row: HeldRow) -> Message | str:
    """The message inside, or why it cannot be read."""
    try:
        return read(peek(row.row.sealed)).message
    except WireError as problem:
        return str(problem)


def _json_lines(journal: JournalCopy, kinds: Sequence[int], limit: int | None) -> Iterator[str]:
    for row in journal.rows(kinds, limit):
        message = opened(row)
        body = {"error": message} if isinstance(message, str) else shown(message)
        yield json.dumps(
            {
                "store": journal.store,
                "seq": row.row.seq,
                "kind": _kind_name(row.row.kind),
                "session": row.row.session,
                "mono_ms": row.row.mono_ms,
                "wall_ms": row.row.wall_ms,
                "held_by_book": row.held,
            }
            | body,
            ensure_ascii=False,
        )


def _page(journal: JournalCopy, kinds: Sequence[int], limit: int | None) -> Iterator[str]:
    outbox = journal.outbox()
    yield f"box {journal.box}, store {journal.store}: {outbox.waiting} records wait for the book"
    if journal.begun_after:
        yield from _wrapped(f"this store was begun because {journal.begun_after}")
    if not kinds:
        yield from (
            line for kind in (Kind.SOH, Kind.USAGE) for told in _newest(journal, kind) for line in _wrapped(told)
        )
    table = [_line(row) for row in journal.rows(kinds or TOLD, limit)]
    yield ""
    yield from _table(table) if table else ["nothing recorded yet"]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def _newest(journal: JournalCopy, kind: Kind) -> Iterator[str]:
    for row in journal.rows([kind], 1):
        message = opened(row)
        if isinstance(message, Soh):
            yield f"SoH: {_soh_words(message)}"
        if isinstance(message, Usage):
            yield f"usage: {_usage_words(message)}"


def _soh_words(soh: Soh) -> str:
    if soh.soh_pct is None:
        value = f"none yet ({soh.why or soh.state})"
    else:
        band = "" if soh.lo90_pct is None or soh.hi90_pct is None else f" ({soh.lo90_pct:.1f} to {soh.hi90_pct:.1f} %)"
        value = f"{soh.soh_pct:.1f} %{band}, {soh.state}"
    reported = "" if soh.soh_reported_pct is None else f"; the car itself says {soh.soh_reported_pct:.1f} %"
    return value + reported


def _usage_words(usage: Usage) -> str:
    cycles = "" if usage.equivalent_full_cycles is None else f", {usage.equivalent_full_cycles:.1f} full cycles"
    return (
        f"{usage.energy_in_wh / 1000:.1f} kWh in, {usage.energy_out_wh / 1000:.1f} kWh out{cycles}, "
        f"{usage.charges_ac} AC and {usage.charges_dc} DC charges, {usage.drives} drives, {usage.distance_km:.0f} km, "
        f"{usage.observed_s / 3600:.1f} h seen"
    )


def _line(row: HeldRow) -> tuple[str, tuple[str, ...]]:
    """The day it belongs to, and its cells."""
    message = opened(row)
    number = "" if row.row.session is None else str(row.row.session)
    held = "yes" if row.held else "-"
    if isinstance(message, Session):
        day, time = _when(message.start_wall_ms, message.start_mono_ms)
        return day, (
            number,
            time,
            _what(message),
            _lasted(message.duration_s),
            _soc(message.soc_start_pct, message.soc_end_pct),
            f"{message.energy_in_wh / 1000:.1f}",
            f"{message.energy_out_wh / 1000:.1f}",
            held,
            _more(message),
        )
    day, time = _when(row.row.wall_ms, row.row.mono_ms)
    if isinstance(message, str):
        what, more = UNREADABLE, f"record {row.row.seq}: {message}"
    elif isinstance(message, Event):
        what, more = message.event.value, message.text or ""
    else:
        what, more = _kind_name(row.row.kind), ""
    return day, (number, time, what, "", "", "", "", held, more)


def _what(session: Session) -> str:
    return f"charge {session.charge_kind}" if isinstance(session, Charge) else session.KIND.name.lower()


def _more(session: Session) -> str:
    said = ["broken off"] if session.interrupted else []
    if isinstance(session, Drive) and session.distance_km is not None:
        said.append(f"{session.distance_km:.1f} km")
    if isinstance(session, Charge) and session.segments > 1:
        said.append(f"{session.segments} segments")
    if isinstance(session, Rest) and session.unseen_s:
        said.append(f"asleep {_lasted(session.unseen_s)}")
    return ", ".join(said)


def _when(wall_ms: int | None, mono_ms: int) -> tuple[str, str]:
    """Day and time. A box without a set clock only knows how long after its start something was."""
    if wall_ms is None:
        return "before the clock was set, since start", f"+{_lasted(mono_ms / 1000)}"
    when = datetime.fromtimestamp(wall_ms / 1000, UTC)
    return f"{when:%Y-%m-%d}", f"{when:%H:%M}"


def _lasted(seconds: float) -> str:
    """Hours and minutes, rounded."""
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


def _soc(start_pct: float | None, end_pct: float | None) -> str:
    if start_pct is None and end_pct is None:
        return ""
    return " to ".join("?" if pct is None else f"{pct:.0f}" for pct in (start_pct, end_pct))


def _kind_name(kind: int) -> str:
    return Kind(kind).name.lower() if kind in set(Kind) else f"kind {kind}"


def _table(rows: Sequence[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    """A head, then the rows of each day below it. The last column is cut to the page."""
    widths = [max(len(cells[k]) for cells in (COLUMNS, *(cells for _, cells in rows))) for k in range(len(COLUMNS))]

    def line(cells: Sequence[str]) -> str:
        placed = (
            cell.rjust(width) if name in TO_THE_RIGHT else cell.ljust(width)
            for name, cell, width in zip(COLUMNS, cells, widths, strict=True)
        )
        text = "  ".join(placed).rstrip()
        return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"

    yield line(COLUMNS)
    for day, of_day in groupby(rows, key=lambda row: row[0]):
        yield day
        yield from (line(cells) for _, cells in of_day)
