"""`packbox replay LOG [--profile P]`: a recorded CAN log through the same fold as in the car, and what the box learned.

In:  a log of any format that `docs/logs.md` names; a profile, `profile:variant` or vehicle name, else the car is
     recognised by what it sends.
Out: a summary for people, or with --json one JSON object on one line. The same log and profile give the same bytes,
     whatever the batch size; no clock of this computer and no path but the given name is in it.
Refuses an unknown profile or a log that cannot be opened (exit 2). A log that does not fit the profile is replayed all
the same, with a warning (exit 1). A log of a car that nobody knows is not guessed at (exit 1).
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from packbox.adapters.logs import LogReport, TimeKind, read_log
from packbox.adapters.profile_dir import Catalogue
from packbox.app.recognise import UnknownCarError, profiles_of, recognise_log
from packbox.core import box
from packbox.core.box import BoxPlan, BoxState
from packbox.core.charging import BAND_PCT, ChargeCurve
from packbox.core.decode import Decoder
from packbox.core.detect import Detection
from packbox.core.frames import EXTENDED, FrameBatch
from packbox.core.outcome import CellsSeen, EventName, EventSeen, Outcome, SessionClosed, SohComputed, UsageDue
from packbox.core.packs import PackFacts
from packbox.core.profile import Profile, id_text, message_key
from packbox.core.quantities import QUANTITIES
from packbox.core.record import BatteryId, BoxId
from packbox.core.seen import NAMES
from packbox.core.stamp import NS_PER_MS, NS_PER_S, Stamp
from packbox.core.usage import Usage
from packbox.ports import LogFormatError, ProfileError
from packwire import __version__

FOUND_PROBLEM: Final = 1
USAGE_ERROR: Final = 2
BATCH_FRAMES: Final = 65_536
DECIMALS: Final = 6  # finer than any sensor, coarse enough to hide binary fractions
NEARBY_SHOWN: Final = 5
PROGRESS_EVERY_FRAMES: Final = 200_000
NO_TIMES: Final = (
    "the log has no times, frames were spaced evenly: no duration, charge, energy or health from it means anything"
)
ZONE_ASSUMED: Final = "the log states local time without a zone: taken as UTC"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", type=Path, metavar="LOG", help="recorded CAN log, any format of docs/logs.md")
    parser.add_argument(
        "--profile", metavar="P", help="profile, profile:variant or vehicle name; without it the car is recognised"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a summary")
    parser.add_argument(
        "--batch-frames", type=_positive, default=BATCH_FRAMES, metavar="N", help="frames at a time; changes no result"
    )
    parser.add_argument("--profiles-folder", type=Path, metavar="DIR", help="profiles other than those installed")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main(args: argparse.Namespace) -> int:
    try:
        catalogue = Catalogue(args.profiles_folder)
        named = None if args.profile is None else catalogue.find(args.profile)
        if not args.log.exists():
            print(f"packbox replay: {args.log}: no such file{_nearby(args.log)}", file=sys.stderr)
            return USAGE_ERROR
        detection = recognise_log(args.log, [named[0]] if named else profiles_of(catalogue))
        profile, variant = named or _recognised(catalogue, detection)
        wiring = next(f.wiring for f in detection.findings if f.profile == profile.id)
        replayed = replay(args.log, Decoder(profile, variant, wiring), args.batch_frames, _Progress(sys.stderr))
    except UnknownCarError as cause:
        print(f"packbox replay: {args.log}: {cause}", file=sys.stderr)
        return FOUND_PROBLEM
    except (ProfileError, LogFormatError) as cause:
        print(f"packbox replay: {cause}", file=sys.stderr)
        return USAGE_ERROR
    if not replayed.report.frames:
        print(f"packbox replay: {args.log}: no CAN frame could be read", file=sys.stderr)
        return FOUND_PROBLEM
    facts = facts_of(replayed, str(args.log), args.profile or profile.id)
    if named is None and detection.found is not None:
        facts["evidence"] = list(detection.found.evidence)
    if args.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print("\n".join(summary(facts)))
    for warning in facts["warnings"]:
        print(f"packbox replay: {warning}", file=sys.stderr)
    return FOUND_PROBLEM if replayed.misfit is not None else 0


def _recognised(catalogue: Catalogue, detection: Detection) -> tuple[Profile, None]:
    """The family that the log itself names; its variant shows later by itself."""
    if not detection.frames:
        raise UnknownCarError("no CAN frame could be read")
    if detection.found is None:
        raise UnknownCarError(f"{detection.why_not}; name a profile with --profile")
    return catalogue.profile(detection.found.profile), None


def _nearby(log: Path) -> str:
    """What there is instead, nearest names first."""
    if not log.parent.is_dir():
        return f", nor a folder {log.parent}"
    names = sorted(path.name for path in log.parent.iterdir() if path.is_file() and not path.name.startswith("."))
    near = difflib.get_close_matches(log.name, names, NEARBY_SHOWN, 0.4) or names[:NEARBY_SHOWN]
    return f"; in that folder: {', '.join(near)}" if near else "; that folder holds no file"


# -- the run -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    decoder: Decoder
    report: LogReport
    state: BoxState
    outcomes: tuple[Outcome, ...]
    ids: Mapping[int, int]  # message key -> frames

    @property
    def misfit(self) -> str | None:
        """Why the log seems to come from another car."""
        events = (o for o in self.outcomes if isinstance(o, EventSeen) and o.event is EventName.WRONG_PROFILE)
        return next((event.text for event in events), None)

    @property
    def pack(self) -> PackFacts | None:
        return self.decoder.pack(self.state.decode)


def replay(log: Path, decoder: Decoder, batch_frames: int, progress: _Progress) -> Replayed:
    """Raises LogFormatError."""
    plan = BoxPlan(decoder, BoxId("0" * 16), BatteryId("replay"), "provisional", __version__)
    state = box.start(plan)
    outcomes: list[Outcome] = []
    ids: dict[int, int] = {}
    with read_log(log, batch_frames=batch_frames) as reading:
        for batch in reading:
            _count_ids(ids, batch)
            state, new = box.advance(plan, state, batch)
            outcomes += new
            progress.tell(len(batch))
        report = reading.report
    progress.done()
    state, new = box.finish(plan, state)
    return Replayed(decoder, report, state, (*outcomes, *new), ids)


def _count_ids(ids: dict[int, int], batch: FrameBatch) -> None:
    extended = (batch.flags & EXTENDED) != 0
    for is_extended in (False, True):
        found, counts = np.unique(batch.can_id[extended == is_extended], return_counts=True)
        for can_id, count in zip(found.tolist(), counts.tolist(), strict=True):
            key = message_key(can_id, is_extended)
            ids[key] = ids.get(key, 0) + count


class _Progress:
    """Frames so far, on a terminal only."""

    def __init__(self, out: TextIO) -> None:
        self._out = out if out.isatty() else None
        self._frames = 0
        self._told = 0

    def tell(self, frames: int) -> None:
        self._frames += frames
        if self._out is not None and self._frames - self._told >= PROGRESS_EVERY_FRAMES:
            self._told = self._frames
            self._out.write(f"\r{self._frames:,} frames")
            self._out.flush()

    def done(self) -> None:
        if self._out is not None and self._told:
            self._out.write("\r\033[K")
            self._out.flush()


# -- what was learned, as plain values ---------------------------------------------------------------------------------


def facts_of(replayed: Replayed, log: str, profile: str) -> dict[str, Any]:
    """Everything that --json prints, in its order."""
    report, state = replayed.report, replayed.state
    usage = next(o for o in reversed(replayed.outcomes) if isinstance(o, UsageDue))
    soh = next(o for o in reversed(replayed.outcomes) if isinstance(o, SohComputed))
    facts: dict[str, Any] = {
        "log": log,
        "profile": profile,
        "variant": replayed.decoder.variant(state.decode),
        "pack": None if replayed.pack is None else _pack(replayed.pack),
        "format": report.format,
        "time_kind": report.time_kind.value,
        "first_wall_ms": report.first_wall_ms,
        "seconds": report.span_ns / NS_PER_S,
        "frames": {
            "read": report.frames - report.sent,  # received; what the logger itself sent stands beside
            "sent": report.sent,
            "unreadable": report.unreadable_count,
            "unreadable_reasons": _notes(report.unreadable),
            "passed_over": _notes(report.passed_over),
            "times_back": report.times_back,
        },
        "ids": _ids(replayed),
        "refused": {f.name: getattr(state.refused, f.name) for f in fields(state.refused)},
        "quantities": dict(_quantities(state)),
        "sessions": [_session(o) for o in replayed.outcomes if isinstance(o, SessionClosed)],
        "cells": [_cells(o) for o in replayed.outcomes if isinstance(o, CellsSeen)],
        "events": [_event(o) for o in replayed.outcomes if isinstance(o, EventSeen)],
        "usage": _usage(usage.usage, usage.reference_ah),
        "estimates": [_plain(e, leave=("newest_s", "restarted")) for e in soh.estimates],
        "soh": {
            **_plain(soh.soh),
            "soh_reported_pct": soh.soh_reported_pct,
            "capacity_reported_ah": soh.capacity_reported_ah,
        },
        "energy": None if soh.energy is None else _plain(soh.energy),
        "warnings": _warnings(replayed),
    }
    rounded: dict[str, Any] = _rounded(facts)
    return rounded


def _warnings(replayed: Replayed) -> list[str]:
    report = replayed.report
    warnings = [replayed.misfit] if replayed.misfit is not None else []
    if report.time_kind is TimeKind.NONE:
        warnings.append(NO_TIMES)
    if report.zone_assumed:
        warnings.append(ZONE_ASSUMED)
    if report.unreadable:
        warnings.append(f"{report.unreadable_count} lines gave no frame: " + _reasons(report))
    return warnings


def _reasons(report: LogReport) -> str:
    return "; ".join(f"{n.reason} ({n.count}, first in line {n.first_line})" for n in report.unreadable)


def _notes(notes: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"reason": n.reason, "count": n.count, "first_line": n.first_line} for n in notes]


def _ids(replayed: Replayed) -> dict[str, dict[str, int]]:
    known: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for key in sorted(replayed.ids):
        can_id = key & ~message_key(0, extended=True)
        text = id_text(can_id, can_id != key)
        (known if replayed.decoder.knows(key) else unknown)[text] = replayed.ids[key]
    return {"known": known, "unknown": unknown}


def _quantities(state: BoxState) -> Iterator[tuple[str, dict[str, Any]]]:
    seen = state.seen
    for place, name in enumerate(NAMES):
        if seen.count[place]:
            yield (
                name,
                {
                    "unit": QUANTITIES[name].unit,
                    "last": float(seen.last[place]),
                    "min": float(seen.low[place]),
                    "max": float(seen.high[place]),
                    "count": int(seen.count[place]),
                },
            )


def _pack(pack: PackFacts) -> dict[str, Any]:
    return _plain(pack, leave=("ocv", "ocv_source"))


def _session(outcome: SessionClosed) -> dict[str, Any]:
    plain = _plain(outcome.session, leave=("start",))
    return {"start_mono_ms": outcome.session.start.mono_ns // NS_PER_MS, **_wall(outcome.session.start), **plain}


def _event(outcome: EventSeen) -> dict[str, Any]:
    began = outcome.began or outcome.stamp
    plain = _plain(outcome, leave=("stamp", "began"))
    return {"start_mono_ms": began.mono_ns // NS_PER_MS, **_wall(began), **plain}


def _cells(outcome: CellsSeen) -> dict[str, Any]:
    return {"at_mono_ms": outcome.stamp.mono_ns // NS_PER_MS, **_plain(outcome, leave=("stamp",))}


def _wall(stamp: Stamp) -> dict[str, Any]:
    return {"start_wall_ms": stamp.wall_ms}


def _usage(usage: Usage, reference_ah: float | None) -> dict[str, Any]:
    plain = _plain(usage)
    return {**plain, "equivalent_full_cycles": usage.equivalent_full_cycles(reference_ah), "reference_ah": reference_ah}


def _plain(value: Any, leave: Sequence[str] = ()) -> dict[str, Any]:  # noqa: ANN401  any of our frozen values
    return {f.name: _simple(getattr(value, f.name)) for f in fields(value) if f.name not in leave}


def _simple(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, ChargeCurve):
        return {"band_pct": BAND_PCT, **_plain(value)}
    return list(value) if isinstance(value, tuple) else value


def _rounded(value: Any) -> Any:  # noqa: ANN401  JSON
    if isinstance(value, float):
        return round(value, DECIMALS) + 0.0  # no minus zero
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


# -- for people --------------------------------------------------------------------------------------------------------


def summary(facts: Mapping[str, Any]) -> Iterator[str]:
    """The same facts as lines for a terminal."""
    frames, ids, soh = facts["frames"], facts["ids"], facts["soh"]
    yield f"{facts['log']}  ({facts['format']})"
    pack = facts["pack"]
    detected = facts["variant"] or "variant not recognised"
    reference = "" if pack is None else f", pack {pack['id']}" + _number(pack["reference_ah"], " Ah when new", ", {}")
    yield f"  car         {facts['profile']}: {detected}{reference}"
    if "evidence" in facts:
        yield "  recognised  " + "; ".join(facts["evidence"])
    yield f"  frames      {frames['read']:,} read, {frames['unreadable']:,} lines unreadable, {facts['seconds']:,.1f} s"
    unknown = sum(ids["unknown"].values())
    share = 100 * unknown / max(unknown + sum(ids["known"].values()), 1)
    yield f"  ids         {len(ids['known'])} known, {len(ids['unknown'])} unknown ({share:.0f} % of the frames)"
    refused = {name: count for name, count in facts["refused"].items() if count and name != "unknown_frames"}
    yield "  refused     " + (", ".join(f"{_words(n)} {c:,}" for n, c in refused.items()) or "nothing")
    yield ""
    yield from _table(
        ("quantity", "last", "lowest", "highest", "unit", "values"),
        [
            (name, *(_short(q[key]) for key in ("last", "min", "max")), q["unit"], f"{q['count']:,}")
            for name, q in facts["quantities"].items()
        ],
        left=(0, 4),
    )
    yield ""
    if facts["sessions"]:
        yield from _table(
            ("session", "from s", "for s", "SoC %", "in Ah", "out Ah", "in Wh", "out Wh", "max A", "min A", "more"),
            [_session_row(s) for s in facts["sessions"]],
            left=(0, 10),
        )
    else:
        yield "no session was long enough to be one"
    for event in facts["events"]:
        lasted = _number(event["duration_s"], " s", " for {}")
        extreme = _number(event["extreme"], "", ", extreme {}")
        said = f": {event['text']}" if event["text"] else ""
        yield f"event       {_words(event['event'])} at {event['start_mono_ms'] / 1000:.1f} s{lasted}{extreme}{said}"
    yield ""
    usage = facts["usage"]
    cycles = _number(usage["equivalent_full_cycles"], " full cycles", ", {}")
    yield (
        f"usage       {usage['charge_in_ah']:.2f} Ah in, {usage['charge_out_ah']:.2f} Ah out{cycles};"
        f" observed {usage['observed_s']:,.0f} s, asleep {usage['inferred_s']:,.0f} s,"
        f" not observed {usage['unobserved_s']:,.0f} s"
    )
    yield "health      " + _soh_line(soh)
    for estimate in facts["estimates"]:
        if estimate["capacity_ah"] is None:
            yield f"  {estimate['method']}: none, {estimate['why']}"
        else:
            yield (
                f"  {estimate['method']}: {estimate['capacity_ah']:.1f} ± {estimate['sigma_ah']:.1f} Ah"
                f" from {_counted(estimate['n'], 'reading')}"
            )
    if facts["energy"] is not None:
        yield _energy_line(facts["energy"])


def _energy_line(energy: Mapping[str, Any]) -> str:
    if energy["energy_full_kwh"] is None:
        return f"  {energy['method']}: none, {energy['why']}"
    return (
        f"  {energy['method']}: {energy['energy_full_kwh']:.1f} ± {energy['sigma_kwh']:.1f} kWh when full, by the car's"
        f" own count{' of gids' if energy['gids'] else ''}, from {_counted(energy['n'], 'reading')}"
    )


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}" + ("" if n == 1 else "s")


def _session_row(session: Mapping[str, Any]) -> tuple[str, ...]:
    more = [session["charge_kind"] or ""]
    if session["distance_km"] is not None:
        more.append(f"{session['distance_km']:.1f} km")
    if session["interrupted"]:
        more.append("interrupted")
    soc = f"{_short(session['soc_start_pct'])}…{_short(session['soc_end_pct'])}"
    return (
        f"{session['number']} {session['kind']}",
        f"{session['start_mono_ms'] / 1000:,.0f}",
        f"{session['duration_s']:,.0f}",
        soc,
        f"{session['charge_in_ah']:.2f}",
        f"{session['charge_out_ah']:.2f}",
        f"{session['energy_in_wh']:,.0f}",
        f"{session['energy_out_wh']:,.0f}",
        _short(session["current_max_a"]),
        _short(session["current_min_a"]),
        " ".join(word for word in more if word),
    )


def _soh_line(soh: Mapping[str, Any]) -> str:
    if soh["soh_pct"] is None:
        return f"no state of health: {soh['why']}"
    line = (
        f"{soh['soh_pct']:.1f} % of {soh['reference_ah']:g} Ah, 90 % sure of {soh['lo90_pct']:.1f} to"
        f" {soh['hi90_pct']:.1f} % ({soh['state']}, {soh['basis']})"
    )
    reported = _number(soh["soh_reported_pct"], " %", "; the car says {}")
    return line + reported + (f"; {soh['why']}" if soh["why"] else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> Iterator[str]:
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]
    for row in (head, *rows):
        cells = (
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _short(value: float | None) -> str:
    """As many digits as a reader can use."""
    if value is None:
        return "–"
    decimals = 0 if value == 0 else min(3, max(0, 3 - math.floor(math.log10(abs(value)))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(value: float | None, unit: str, form: str) -> str:
    return "" if value is None else form.format(_short(value) + unit)


def _words(name: str) -> str:
    return name.replace("_", " ")
