"""`packbox estimate`: state of health from a table of samples, day by day, by the same methods as in the car.

In:  a CSV of samples (`--layout`) or of segments that somebody else cut (`--segments`), and the facts of the pack.
Out: one line a day from that day and those before it, then a summary; JSON lines with `--json`.
Where there is no value there is null and `why`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from packbox.adapters.pack_file import SOC_QUANTITY, PackFileError, read_pack_file
from packbox.adapters.profile_dir import Catalogue
from packbox.adapters.sample_csv import Layout, SampleFileError, read_blocks, read_segments
from packbox.app.estimate_feed import DayEnd, Feeder, SegmentFeeder, SwingRead
from packbox.core.packs import PackFacts
from packbox.core.soh.panel import Verdict, verdict
from packbox.ports import PackboxError, ProfileError

DIGITS: Final = 4  # more than any interval supports, enough to compare runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="table of samples, .csv or .csv.gz")
    parser.add_argument("--pack", required=True, metavar="P", help="id of a pack of the profiles, or a TOML file")
    parser.add_argument("--layout", type=Layout, choices=list(Layout), default=Layout.OWN, help="columns of FILE")
    parser.add_argument("--segments", type=Path, metavar="F", help="pre-cut segments instead of samples")
    parser.add_argument("--segments-out", type=Path, metavar="F", help="write the segments that were read (JSON lines)")
    parser.add_argument("--profiles-folder", type=Path, metavar="DIR", help="profiles other than those installed")
    parser.add_argument("--json", action="store_true", help="JSON lines")


def main(args: argparse.Namespace) -> int:
    if (args.file is None) == (args.segments is None):
        print("packbox estimate: give either FILE or --segments F", file=sys.stderr)
        return 2
    try:
        pack, soc_quantity = find_pack(args.pack, args.profiles_folder)
    except (PackFileError, ProfileError) as problem:
        print(f"packbox estimate: {problem}", file=sys.stderr)
        return 2
    if args.layout is Layout.LEAF24:
        soc_quantity = SOC_QUANTITY["bms"]
    try:
        lines = _segments(args.segments, pack) if args.segments else _samples(args, pack, soc_quantity)
        for line in lines:
            print(json.dumps(line) if args.json else _words(line))
    except PackboxError as problem:
        print(f"packbox estimate: {problem}", file=sys.stderr)
        return 1
    except OSError as problem:
        print(f"packbox estimate: {problem.filename}: {problem.strerror}", file=sys.stderr)
        return 1
    return 0


def find_pack(name: str, profiles: Path | None) -> tuple[PackFacts, str]:
    """Facts of the pack, and which quantity a table's SoC is. Raises PackFileError or ProfileError."""
    if name.endswith(".toml"):
        return read_pack_file(Path(name))
    catalogue = Catalogue(profiles)
    packs = {pack.id: pack for profile in catalogue.ids for pack in catalogue.profile(profile).packs}
    if name not in packs:
        raise PackFileError(f"no pack {name!r}; the profiles know {', '.join(sorted(packs))}; or name a .toml file")
    return packs[name], SOC_QUANTITY["displayed"]


def _samples(args: argparse.Namespace, pack: PackFacts, soc_quantity: str) -> Iterator[dict[str, Any]]:
    feeder = Feeder(pack)
    refused = days = 0
    ignored: tuple[str, ...] = ()
    last: DayEnd | None = None
    with ExitStack() as stack:
        out = stack.enter_context(args.segments_out.open("w", encoding="utf-8")) if args.segments_out else None

        def told(ends: Iterator[DayEnd]) -> Iterator[dict[str, Any]]:
            nonlocal last, days
            for last in ends:
                days += 1
                yield _day(last, pack)
            for swing in feeder.take_swings():
                if out is not None:
                    out.write(json.dumps(_swing(swing)) + "\n")

        for block in read_blocks(args.file, args.layout, pack, soc_quantity):
            refused += block.out_of_range
            ignored = block.ignored
            yield from told(feeder.feed(block))
        yield from told(feeder.finish())
    if last is None:
        raise SampleFileError(f"{args.file}: no rows below the header")
    extra = {
        "rows": feeder.rows,
        "days": days,
        "time_breaks": feeder.breaks,
        "out_of_range": refused,
        "ignored_columns": ignored,
    }
    yield _summary(verdict(last.state, last.at_s, pack), pack, extra)


def _segments(path: Path, pack: PackFacts) -> Iterator[dict[str, Any]]:
    feeder = SegmentFeeder(pack)
    for number, segment in enumerate(read_segments(path), 1):
        feeder.feed(segment)
        yield {"segment": number} | _value(verdict(feeder.state, feeder.at_s, pack))
    yield _summary(verdict(feeder.state, feeder.at_s, pack), pack, {"rows": feeder.rows})


def _day(end: DayEnd, pack: PackFacts) -> dict[str, Any]:
    return {"day": end.day, "t_s": end.t_s} | _value(verdict(end.state, end.at_s, pack))


def _value(said: Verdict) -> dict[str, Any]:
    soh = said.soh
    line = {
        "soh_pct": _rounded(soh.soh_pct),
        "lo90_pct": _rounded(soh.lo90_pct),
        "hi90_pct": _rounded(soh.hi90_pct),
        "capacity_ah": _rounded(soh.capacity_ah),
        "sigma_ah": _rounded(soh.sigma_ah),
        "soce_pct": _rounded(said.soce_pct),
        "r25_ohm": None if said.r25_ohm is None else round(said.r25_ohm, 6),
        "state": soh.state.value,
    }
    if said.energy.energy_full_kwh is not None:  # most tables tell no energy
        line["energy_full_kwh"] = _rounded(said.energy.energy_full_kwh)
    whys = [soh.why] if soh.why else []
    whys += [f"{name}: {why}" for name, why in (("soce_pct", said.soce_why), ("r25_ohm", said.r25_why)) if why]
    return line | ({"why": "; ".join(whys)} if whys else {})


def _summary(said: Verdict, pack: PackFacts, extra: Mapping[str, Any]) -> dict[str, Any]:
    soh = said.soh
    return {
        "summary": True,
        **_value(said),
        "basis": None if soh.basis is None else soh.basis.value,
        "method": soh.method,
        "pack": pack.id,
        "reference_ah": soh.reference_ah,
        "reference_source": soh.reference_source,
        "change_pct": _rounded(said.change_pct),
        "r25_growth_pct": _rounded(said.r25_growth_pct),
        "estimates": [
            {
                "method": one.method,
                "basis": one.basis.value,
                "capacity_ah": _rounded(one.capacity_ah),
                "sigma_ah": _rounded(one.sigma_ah),
                "segments": one.n,
                "evidence": one.evidence,
            }
            | ({"why": one.why} if one.why else {})
            for one in said.estimates
        ],
        "energy": {
            "method": said.energy.method,
            "energy_full_kwh": _rounded(said.energy.energy_full_kwh),
            "sigma_kwh": _rounded(said.energy.sigma_kwh),
            "readings": said.energy.n,
            "evidence": said.energy.evidence,
            "from_gids": said.energy.gids,
        }
        | ({"why": said.energy.why} if said.energy.why else {}),
        **extra,
    }


def _swing(read: SwingRead) -> dict[str, Any]:
    swing = read.swing
    return {
        "t_s": read.t_s,
        "from_soc_pct": _rounded(swing.from_soc_pct),
        "to_soc_pct": _rounded(swing.to_soc_pct),
        "charge_ah": _rounded(-swing.charge_out_ah),
        "hours": _rounded(swing.hours),
        "soc_sigma_pct": _rounded(swing.soc_sigma_pct),
        "charge_sigma_ah": _rounded(swing.charge_sigma_ah),
        "taken": read.taken,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, DIGITS)


def _words(line: Mapping[str, Any]) -> str:
    """A line for people: half points, as the interval allows no more."""
    head = "in all" if "summary" in line else f"day {line['day']}" if "day" in line else f"segment {line['segment']}"
    if line["soh_pct"] is None:
        return f"{head}: no value, {line.get('why', line['state'])}"
    low, value, high = (round(2 * line[key]) / 2 for key in ("lo90_pct", "soh_pct", "hi90_pct"))
    return f"{head}: {value:.1f} % ({low:.1f} to {high:.1f}), {line['capacity_ah']:.1f} Ah, {line['state']}"
