"""`packbox profiles`: which cars this box knows, how well, and whether its profiles hold.

list            one line a family
show ID         a family in full: packs, variants, buses, signals with grade and source, polls
check [ID ...]  vectors, ranges, bits against cantools, and the proof that nothing but reading is possible
import-dbc FILE the draft of a profile, to go on from
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from packbox.adapters.profile_dir import Catalogue, profiles_folder
from packbox.adapters.profile_draft import draft_profile
from packbox.app.profile_check import Finding, check
from packbox.core.profile import EXTENDED_BIT, CarState, Grade, Message, Poll, Profile, QuantityUse, id_text
from packbox.ports import ProfileError

FOUND_PROBLEM: Final = 1
USAGE_ERROR: Final = 2
PROBLEMS_SHOWN: Final = 20  # per examination; --json has them all

Row = Sequence[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="profiles_command", metavar="COMMAND", required=True)
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument("--profiles-folder", type=Path, metavar="DIR", help="profiles other than those installed")
    every.add_argument("--json", action="store_true", help="JSON lines")
    commands.add_parser("list", parents=[every], help="one line a family")
    show = commands.add_parser("show", parents=[every], help="a family in full")
    show.add_argument("id", help="family, family:variant or vehicle name")
    checked = commands.add_parser("check", parents=[every], help="prove the profiles")
    checked.add_argument("ids", nargs="*", metavar="ID", help="families; all of them if none is named")
    checked.add_argument("--vectors", type=Path, metavar="FILE", help="further vectors to run besides those that ship")
    imported = commands.add_parser("import-dbc", parents=[every], help="make the draft of a profile of a DBC file")
    imported.add_argument("file", type=Path, metavar="FILE", help="DBC file")
    imported.add_argument("--id", required=True, metavar="NAME", help="id of the new profile, and name of its folder")


def main(args: argparse.Namespace) -> int:
    try:
        catalogue = Catalogue(args.profiles_folder)
        if args.profiles_command == "list":
            return _list(catalogue, args.json)
        if args.profiles_command == "show":
            return _show(catalogue, args.id, args.json)
        if args.profiles_command == "import-dbc":
            return _import(args)
        return _check(catalogue, args)
    except ProfileError as cause:
        print(f"packbox profiles: {cause}", file=sys.stderr)
        return USAGE_ERROR


# -- list --------------------------------------------------------------------------------------------------------------


def _list(catalogue: Catalogue, as_json: bool) -> int:
    rows: list[Row] = [("ID", "NAME", "VARIANTS", "FRAMES", "POLLS", "GRADES", "")]
    broken = 0
    for profile_id in catalogue.ids:
        try:
            profile = catalogue.profile(profile_id)
        except ProfileError as cause:
            broken += 1
            print(f"packbox profiles: {cause}", file=sys.stderr)
            continue
        if as_json:
            print(json.dumps(_summary(profile), ensure_ascii=False))
        variants = " ".join(v.id for v in profile.variants)
        messages = {m.key for v in profile.variants for m in v.messages}
        grades = " ".join(f"{grade}:{n}" for grade, n in _grades(profile).items())
        mark = "experimental" if profile.experimental else ""
        rows.append((profile.id, profile.name, variants, str(len(messages)), str(len(profile.questions)), grades, mark))
    if not as_json:
        _print_table(rows)
    return FOUND_PROBLEM if broken else 0


def _summary(profile: Profile) -> dict[str, Any]:
    return {
        "id": profile.id,
        "name": profile.name,
        "experimental": profile.experimental,
        "digest": profile.digest,
        "variants": [v.id for v in profile.variants],
        "vehicles": sorted(profile.vehicles),
        "quantities": sorted({use.quantity for use in _uses(profile)}),
        "grades": {str(grade): n for grade, n in _grades(profile).items()},
    }


def _grades(profile: Profile) -> dict[Grade, int]:
    """How many signals are known how well, the best first."""
    graded = {(m.key, s.name): s.grade for v in profile.variants for m in v.messages for s in m.signals}
    counts = Counter(graded.values())
    for poll in profile.questions:
        for layout in poll.layouts:
            counts.update([*(f.grade for f in layout.fields), *(r.grade for r in layout.rows)])
    return {grade: counts[grade] for grade in Grade if counts[grade]}


def _uses(profile: Profile) -> Iterator[QuantityUse]:
    for variant in profile.variants:
        for message in variant.messages:
            for signal in message.signals:
                yield from signal.uses
    for poll in profile.polls:
        yield from (use for _, _, uses, _, _ in _answers(poll) for use in uses)


# -- show --------------------------------------------------------------------------------------------------------------


def _show(catalogue: Catalogue, name: str, as_json: bool) -> int:
    profile, variant = catalogue.find(name)
    if as_json:
        print(json.dumps(_in_full(profile, variant), ensure_ascii=False))
        return 0
    mark = "  EXPERIMENTAL: not proven on a real car" if profile.experimental else ""
    print(f"{profile.id}: {profile.name}{mark}\nlicence: {profile.licence}\n")
    _print_table([("BUS", "BIT/S", "WHERE"), *((b.name, str(b.bitrate), b.where) for b in profile.buses)])
    _print_table([("VARIANT", "NAME", "PACK"), *((v.id, v.name, v.pack) for v in profile.variants)])
    _print_table(
        [
            ("PACK", "CHEMISTRY", "CELLS", "REFERENCE AH", "OCV", "SOURCE"),
            *(
                (
                    p.id,
                    p.chemistry,
                    _text(p.cells_in_series),
                    _text(p.reference_ah),
                    "yes" if p.ocv else "-",
                    p.reference_source or "-",
                )
                for p in profile.packs
            ),
        ]
    )
    signals = [
        (m.label, m.bus, s.name, s.unit, _quantities(s.uses), s.grade, s.source, "")
        for m in _messages(profile, variant)
        for s in m.signals
    ]
    polled = [
        (
            f"{id_text(p.tx, p.extended)} {p.request.hex(' ').upper()}",
            "poll",
            name,
            unit,
            _quantities(uses),
            grade,
            source,
            _pace(p),
        )
        for p in profile.questions
        for name, unit, uses, grade, source in _answers(p)
    ]
    _print_table([("FRAME", "BUS", "SIGNAL", "UNIT", "QUANTITY", "GRADE", "SOURCE", "POLLED"), *signals, *polled])
    _print_table(
        [
            ("VEHICLE", "VARIANT (BEHAVIOUR DECIDES AMONG SEVERAL)"),
            *((name, " or ".join(to)) for name, to in profile.vehicles.items()),
        ]
    )
    for sentence in profile.care.never:
        print(f"care: {sentence}")
    return 0


def _in_full(profile: Profile, variant: str | None) -> dict[str, Any]:
    return _summary(profile) | {
        "licence": profile.licence,
        "native_current_positive": profile.native_current_positive,
        "buses": [{"name": b.name, "bitrate": b.bitrate, "where": b.where} for b in profile.buses],
        "packs": [
            {
                "id": p.id,
                "chemistry": p.chemistry,
                "cells_in_series": p.cells_in_series,
                "reference_ah": p.reference_ah,
                "reference_source": p.reference_source,
                "rated_ah": p.rated_ah,
                "nominal_kwh": p.nominal_kwh,
                "ocv_points": len(p.ocv),
                "ocv_source": p.ocv_source,
            }
            for p in profile.packs
        ],
        "signals": [
            {
                "frame": m.label,
                "bus": m.bus,
                "name": s.name,
                "unit": s.unit,
                "quantities": [use.quantity for use in s.uses],
                "grade": s.grade,
                "source": s.source,
            }
            for m in _messages(profile, variant)
            for s in m.signals
        ],
        "polls": [
            {
                "id": p.id,
                "tx": id_text(p.tx, p.extended),
                "rx": id_text(p.rx, p.extended),
                "request": p.request.hex().upper(),
                "every_s": {str(state): seconds for state, seconds in p.every_s.items()},
                "once": p.once,
                "asked_by": p.asked_by,
                "signals": [
                    {
                        "name": name,
                        "unit": unit,
                        "quantities": [u.quantity for u in uses],
                        "grade": grade,
                        "source": source,
                    }
                    for name, unit, uses, grade, source in _answers(p)
                ],
            }
            for p in profile.polls
        ],
        "rules": {"charging": profile.rules.charging, "driving": profile.rules.driving},
        "care": {
            "bus_alive_s": profile.care.bus_alive_s,
            "stop_after_silence_s": profile.care.stop_after_silence_s,
            "aux_voltage_min_v": profile.care.aux_voltage_min_v,
            "other_tester_pause_s": profile.care.other_tester_pause_s,
            "never": profile.care.never,
        },
    }


def _messages(profile: Profile, variant: str | None) -> tuple[Message, ...]:
    """Of one variant, or of all: then each id once, with the signals of whoever has most of them."""
    if variant is not None:
        return profile.variant(variant).messages
    fullest: dict[int, Message] = {}
    for message in (m for v in profile.variants for m in v.messages):
        if message.key not in fullest or len(message.signals) > len(fullest[message.key].signals):
            fullest[message.key] = message
    return tuple(sorted(fullest.values(), key=lambda m: m.key & ~EXTENDED_BIT))


def _answers(poll: Poll) -> Iterator[tuple[str, str, tuple[QuantityUse, ...], Grade, str]]:
    """What the answers of a poll hold, each name once: name, unit, uses, grade, source."""
    told: set[str] = set()
    for layout in poll.layouts:
        for field in layout.fields:
            if field.name not in told:
                told.add(field.name)
                yield field.name, field.unit, field.uses, field.grade, field.source
        for rows in layout.rows:
            yield rows.name, rows.unit, (), rows.grade, rows.source
            for digest in rows.digests:
                yield digest.name, digest.unit, digest.uses, rows.grade, rows.source


def _quantities(uses: Sequence[QuantityUse]) -> str:
    return " ".join(dict.fromkeys(use.quantity for use in uses)) or "-"


def _pace(poll: Poll) -> str:
    if poll.once:
        return "once"
    if not poll.every_s:
        return "only when asked for"
    if len(poll.every_s) == len(CarState) and len(set(poll.every_s.values())) == 1:
        return f"every {next(iter(poll.every_s.values())):g} s"
    return ", ".join(f"{state} {seconds:g} s" for state, seconds in poll.every_s.items())


# -- check -------------------------------------------------------------------------------------------------------------


def _check(catalogue: Catalogue, args: argparse.Namespace) -> int:
    further = _further_vectors(args.vectors)
    unknown = [i for i in args.ids if i not in catalogue.ids]
    if unknown:
        raise ProfileError(f"no profile {unknown[0]!r}; known: {', '.join(catalogue.ids)}")
    findings = [f for i in args.ids or catalogue.ids for f in check(catalogue, i, args.profiles_folder, further)]
    for finding in findings:
        print(json.dumps(_finding(finding), ensure_ascii=False)) if args.json else _print_finding(finding)
    return FOUND_PROBLEM if any(f.problems for f in findings) else 0


def _further_vectors(path: Path | None) -> list[dict[str, Any]]:
    if path is None:
        return []
    try:
        vectors = json.loads(path.read_bytes())
    except (OSError, ValueError) as cause:
        raise ProfileError(f"{path}: no vectors: {cause}") from cause
    if not isinstance(vectors, list) or not all(isinstance(v, dict) for v in vectors):
        raise ProfileError(f"{path}: must be a list of objects")
    return vectors


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "profile": finding.profile,
        "examined": finding.examined,
        "count": finding.count,
        "problems": finding.problems,
    }


def _print_finding(finding: Finding) -> None:
    verdict = f"{len(finding.problems)} wrong" if finding.problems else "good"
    print(f"{finding.profile:20s} {finding.examined:12s} {finding.count:7d}  {verdict}")
    for problem in finding.problems[:PROBLEMS_SHOWN]:
        print(f"    {problem}", file=sys.stderr)
    if len(finding.problems) > PROBLEMS_SHOWN:
        print(f"    and {len(finding.problems) - PROBLEMS_SHOWN} more", file=sys.stderr)


# -- import ------------------------------------------------------------------------------------------------------------


def _import(args: argparse.Namespace) -> int:
    draft = draft_profile(args.file, args.id, profiles_folder(args.profiles_folder))
    if args.json:
        said = {"folder": str(draft.folder), "messages": draft.messages, "left_out": list(draft.left_out)}
        print(json.dumps(said, ensure_ascii=False))
        return 0
    print(f"wrote {draft.folder}: {draft.messages} messages, no signal mapped yet")
    for text in draft.left_out:
        print(f"left out {text}")
    return 0


# -- tables ------------------------------------------------------------------------------------------------------------


def _print_table(rows: Sequence[Row]) -> None:
    """Columns as wide as their widest cell, a blank line after."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
