"""`packbox history`: what this box has recorded, as a table or as JSON lines.

In:  a copy of the journal, so that it works while the box runs and never disturbs it.
Out: newest SoH and usage, then sessions and events, newest first.
A record that cannot be read is shown as such, with its number and the reason; the rest is shown all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from packbox.adapters.journal import JOURNAL_FILE, HeldRow, JournalCopy, open_copy
from packbox.app.options import add_settings_options, settings_from
from packbox.ports import PackboxError
from packwire.errors import WireError
from packwire.messages import Charge, Drive, Event, Kind, Message, Rest, Session, Soh, Usage
from packwire.seal import peek, read

LIMIT_DEFAULT: Final = 20  # fits a terminal
TOLD: Final = (Kind.CHARGE, Kind.DRIVE, Kind.REST, Kind.EVENT)  # one line each; the others are summed up above
COLUMNS: Final = ("session", "when (UTC)", "what", "lasted", "SoC %", "in kWh", "out kWh", "more", "book")
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
        body = {"error": message} if isinstance(message, str) else message.model_dump(mode="json", exclude_none=True)
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
        yield f"this store was begun because {journal.begun_after}"
    if not kinds:
        yield from (line for kind in (Kind.SOH, Kind.USAGE) for line in _newest(journal, kind))
    table = [_line(row) for row in journal.rows(kinds or TOLD, limit)]
    yield ""
    yield from _columns([COLUMNS, *table]) if table else ["nothing recorded yet"]


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


def _line(row: HeldRow) -> tuple[str, ...]:
    message = opened(row)
    number = "" if row.row.session is None else str(row.row.session)
    held = "yes" if row.held else "waits"
    if isinstance(message, Session):
        return (
            number,
            _when(message.start_wall_ms, message.start_mono_ms),
            _what(message),
            _lasted(message.duration_s) + (" (broken off)" if message.interrupted else ""),
            f"{_number(message.soc_start_pct)} to {_number(message.soc_end_pct)}",
            f"{message.energy_in_wh / 1000:.2f}",
            f"{message.energy_out_wh / 1000:.2f}",
            _more(message),
            held,
        )
    when = _when(row.row.wall_ms, row.row.mono_ms)
    if isinstance(message, str):
        return (number, when, UNREADABLE, "", "", "", "", f"record {row.row.seq}: {message}", held)
    what, more = (
        (message.event.value, message.text or "") if isinstance(message, Event) else (_kind_name(row.row.kind), "")
    )
    return (number, when, what, "", "", "", "", more, held)


def _what(session: Session) -> str:
    return f"charge {session.charge_kind}" if isinstance(session, Charge) else session.KIND.name.lower()


def _more(session: Session) -> str:
    if isinstance(session, Drive) and session.distance_km is not None:
        return f"{session.distance_km:.1f} km"
    if isinstance(session, Charge) and session.segments > 1:
        return f"{session.segments} segments"
    if isinstance(session, Rest) and session.unseen_s:
        return f"{_lasted(session.unseen_s)} asleep"
    return ""


def _when(wall_ms: int | None, mono_ms: int) -> str:
    """A box without a set clock only knows how long after its start something was."""
    if wall_ms is None:
        return f"start +{_lasted(mono_ms / 1000)}"
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _lasted(seconds: float) -> str:
    minutes, rest_s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes}:{rest_s:02d} min"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}"


def _kind_name(kind: int) -> str:
    return Kind(kind).name.lower() if kind in set(Kind) else f"kind {kind}"


def _columns(table: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[k]) for row in table) for k in range(len(COLUMNS))]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
