"""`packbox inspect`: look at one car once. Recognise it, take down what it says, seal a record, write a sheet.

In:  a recorded log, or a bus for a minute. Only with --consent-to-poll the car is asked, each question once, under the
     rules of `core.courtesy` (`app.attend`); else nothing is sent.
Out: with --detect only which family it is and why. Else three files of one name in --out: `.records` (sealed records, a
     chain of its own), `.txt` and `.html` (the sheet); the text also on stdout, or one JSON object with --json.
Refuses a log that cannot be read and a name nobody knows (exit 2); a car that cannot be recognised gets no sheet
(exit 1). Files that are there are never written over: each inspection takes the next number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from packbox.adapters.durable import write_atomically
from packbox.adapters.identity import FileKey
from packbox.adapters.logs import read_log
from packbox.adapters.profile_dir import Catalogue
from packbox.adapters.record_file import RecordFileError, write_records
from packbox.app.attend import attend, listen
from packbox.app.box_key import box_key
from packbox.app.health import refusals
from packbox.app.mind import BAD_FRAMES, Bookmark
from packbox.app.options import add_settings_options, settings_from
from packbox.app.recognise import UnknownCarError, beginning, profiles_of
from packbox.app.sheet import Look, html_sheet, text_sheet
from packbox.app.sources import FORMS, open_source
from packbox.clock import SystemClock
from packbox.core import box
from packbox.core.box import BoxPlan
from packbox.core.decode import Decoder
from packbox.core.detect import Detection, Finding, detect
from packbox.core.frames import FrameBatch
from packbox.core.inspection import Collector, Inspection, inspection_of, outcomes_of
from packbox.core.outcome import BoxHealth, Introduced, Outcome
from packbox.core.profile import Profile
from packbox.core.record import BatteryId, BoxId, ChainHead, SealedRow, StoreId
from packbox.core.stamp import NS_PER_S
from packbox.core.summary import seal_outcomes
from packbox.core.swap import SERIAL
from packbox.ports import LogFormatError, PackboxError, ProfileError, SettingsError
from packbox.settings import Settings
from packwire import __version__
from packwire.ids import BATTERY_ID, box_id_of, new_store_id
from packwire.seal import NO_PREVIOUS, digest

FOUND_PROBLEM: Final = 1
USAGE_ERROR: Final = 2
LISTEN_S: Final = 60.0  # the slowest frames that say something come every 3 s, other people's polls every minute
ASK_S: Final = 240.0  # at most: the largest profile has 150 questions, three a second
SHEET_MODE: Final = 0o644
SCHEMES: Final = ("socketcan", "can", "log", "sim")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser)
    parser.add_argument("what", nargs="?", metavar="LOG|SOURCE", help="a recorded log, or a source as for --source")
    parser.add_argument("--source", metavar="SOURCE", help=f"where frames come from: {FORMS} (setting source)")
    parser.add_argument("--detect", action="store_true", help="only say which car it is, and why")
    parser.add_argument("--profile", metavar="NAME", help="vehicle profile; without it the car is recognised")
    parser.add_argument("--profiles-dir", type=Path, metavar="DIR", help="profiles other than those installed")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        metavar="S",
        help=f"how long a bus is listened to ({LISTEN_S:.0f}) or asked ({ASK_S:.0f})",
    )
    parser.add_argument("--consent-to-poll", action="store_true", help="the owner agreed: ask the car, each thing once")
    parser.add_argument("--out", type=Path, default=Path("inspections"), metavar="FOLDER", help="where files go")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 3600:
        raise argparse.ArgumentTypeError("from 1 to 3600")
    return value


def main(args: argparse.Namespace) -> int:
    try:
        named, args.profile = args.profile, None  # not the setting: the box may have been set up for another car
        settings = settings_from(args)
        catalogue = Catalogue(settings.profiles_dir)
        known = None if named is None else catalogue.find(named)
        profiles = [known[0]] if known else profiles_of(catalogue)
        if args.consent_to_poll:
            material, detection = _attended(args, settings, profiles, known[0] if known else None)
        else:
            material = _material(args, settings)
            detection = detect(profiles, beginning(material.batches()))
        if args.detect:
            return _say_detection(detection, as_json=args.json)
        car = _car(catalogue, detection, known)
        look, files = _inspect(car, material, settings, args.out)
    except (SettingsError, ProfileError, LogFormatError) as problem:
        return _said(problem, USAGE_ERROR)
    except PackboxError as problem:
        return _said(problem, FOUND_PROBLEM)
    print(json.dumps(_facts(look, files), ensure_ascii=False) if args.json else text_sheet(look), end="")
    if args.json:
        print()
    for path in files:
        print(f"packbox inspect: wrote {path}", file=sys.stderr)
    return FOUND_PROBLEM if "wrong_profile" in look.found.remarks else 0


def _said(problem: PackboxError, code: int) -> int:
    print(f"packbox inspect: {problem}", file=sys.stderr)
    return code


# -- what is looked at -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Material:
    """Frames that can be gone through more than once: a log, or what was heard."""

    name: str
    log: Path | None = None
    heard: tuple[FrameBatch, ...] = ()
    frames_sent: int = 0

    def batches(self) -> Iterator[FrameBatch]:
        if self.log is None:
            yield from self.heard
        else:
            with read_log(self.log) as reading:
                yield from reading


def _spec(args: argparse.Namespace, settings: Settings) -> str:
    if args.what is not None and args.source is not None:
        raise SettingsError("give a log or source once: as LOG|SOURCE or with --source")
    spec: str = args.what if args.what is not None else settings.source
    scheme, colon, _ = spec.partition(":")
    return f"log:{spec}" if args.what is not None and (not colon or scheme not in SCHEMES) else spec


def _material(args: argparse.Namespace, settings: Settings) -> Material:
    spec = _spec(args, settings)
    scheme, _, rest = spec.partition(":")
    if scheme == "log":
        if not Path(rest).is_file():
            raise LogFormatError(f"{rest}: no such log; a source is one of {FORMS}")
        return Material(Path(rest).name, log=Path(rest))
    source = open_source(spec, Bookmark(), SystemClock(settings.clock_trusted), None, None)
    return Material(spec, heard=tuple(asyncio.run(listen(source.frames, args.seconds or LISTEN_S))))


def _attended(
    args: argparse.Namespace, settings: Settings, profiles: list[Profile], known: Profile | None
) -> tuple[Material, Detection]:
    """The owner agreed: whatever the car does not say by itself is asked."""
    spec = _spec(args, settings)
    if spec.partition(":")[0] == "log":
        raise SettingsError("--consent-to-poll: a log cannot be asked")
    clock = SystemClock(settings.clock_trusted)
    opened = open_source(spec, Bookmark(), clock, known, None, may_ask=True)
    if opened.tester is None:
        raise SettingsError(f"--consent-to-poll: {spec} cannot be asked")
    look = asyncio.run(attend(profiles, known, opened.frames, opened.tester, clock, args.seconds or ASK_S))
    return Material(spec, heard=look.heard, frames_sent=opened.tester.frames_sent), look.detection


# -- which car ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Car:
    profile: Profile
    variant: str | None  # named by the user; None: behaviour tells
    finding: Finding


def _car(catalogue: Catalogue, detection: Detection, known: tuple[Profile, str | None] | None) -> Car:
    if not detection.frames:
        raise UnknownCarError(detection.why_not)
    if known is not None:
        return Car(known[0], known[1], detection.findings[0])
    if detection.found is None:
        raise UnknownCarError(f"{detection.why_not}; name a profile with --profile")
    return Car(catalogue.profile(detection.found.profile), None, detection.found)


def _say_detection(detection: Detection, *, as_json: bool) -> int:
    found = detection.found
    if as_json:
        facts = {
            "profile": found.profile if found else None,
            "variant": found.variant if found else None,
            "why_not": None if found else detection.why_not,
            "frames": detection.frames,
            "ids": detection.ids,
            "findings": [_finding(f) for f in detection.findings],
        }
        print(json.dumps(facts, ensure_ascii=False))
    elif found is not None:
        print(f"{found.profile}: {found.variant or 'variant not recognised yet'} ({found.name})")
        if found.experimental:
            print("  experimental: this profile was not proven on a real car")
        for text in found.evidence:
            print(f"  {text}")
    if found is None:
        print(f"packbox inspect: {detection.why_not}", file=sys.stderr)
    return 0 if found is not None else FOUND_PROBLEM


def _finding(finding: Finding) -> dict[str, Any]:
    plain = {name: value for name, value in asdict(finding).items() if name != "wiring"}
    return plain | {"bits": round(finding.bits, 1), "buses": dict(finding.wiring.homes)}


# -- the look ----------------------------------------------------------------------------------------------------------


def _inspect(car: Car, material: Material, settings: Settings, out: Path) -> tuple[Look, list[Path]]:
    key = box_key(settings)
    box_id = BoxId(box_id_of(key.public_key))
    decoder = Decoder(car.profile, car.variant, car.finding.wiring)
    battery = settings.battery or f"prov-{box_id}-1"
    source = "configured" if settings.battery else "provisional"
    plan = BoxPlan(decoder, box_id, BatteryId(battery), source, f"packbox {__version__}", settings.vehicle)
    state, collector, outcomes = box.start(plan), Collector(car.profile), list[Outcome]()
    for batch in material.batches():
        collector.hear(batch)
        state, new = box.advance(plan, state, batch)
        outcomes += new
    state, new = box.finish(plan, state)
    outcomes += new
    found = inspection_of(collector, car.profile, state, outcomes, decoder.pack(state.decode))
    refused = state.refused
    last = outcomes[-1].stamp
    health = BoxHealth(
        last,
        frames=state.frames,
        frames_bad=sum(getattr(refused, reason) for reason in BAD_FRAMES),
        frames_unknown=refused.unknown_frames,
        frames_sent=material.frames_sent,
        clock="unset" if last.wall_ms is None else "set",
        software=__version__,
    )
    health = replace(health, **refusals(refused))
    rows = _sealed(outcomes_of(found, _named(outcomes, found), health), box_id, key)
    first_s = state.first_s or 0
    look = Look(
        profile=car.profile,
        variant=decoder.variant(state.decode),
        evidence=car.finding.evidence,
        found=found,
        source=material.name,
        wall_ms=last.wall_ms,
        seconds=last.mono_ns / NS_PER_S - first_s,
        frames=state.frames,
        frames_refused=health.frames_bad,
        frames_sent=material.frames_sent,
        box=box_id,
        records=len(rows),
        digest=digest(rows[-1].sealed).hex(),
    )
    return look, _write(out, car.profile.id, rows, look)


def _named(outcomes: Iterable[Outcome], found: Inspection) -> list[Outcome]:
    """The battery by its own serial number where it told one."""
    serial = "".join(c if BATTERY_ID.fullmatch(f"0{c}") else "-" for c in found.texts.get(SERIAL, ""))
    if not BATTERY_ID.fullmatch(serial):
        return list(outcomes)
    return [
        replace(o, identity=replace(o.identity, battery=BatteryId(serial), battery_source="read"))
        if isinstance(o, Introduced)
        else o
        for o in outcomes
    ]


def _sealed(outcomes: Iterable[Outcome], box_id: BoxId, key: FileKey) -> tuple[SealedRow, ...]:
    """A chain of its own: an inspected car's battery is not the one that this box watches."""
    head = ChainHead(box_id, StoreId(new_store_id()), 1, NO_PREVIOUS)
    return seal_outcomes(outcomes, head, key.sign, key.public_key)[1]


def _write(out: Path, profile_id: str, rows: tuple[SealedRow, ...], look: Look) -> list[Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = [int(p.name[:4]) for p in out.iterdir() if p.name[:4].isdigit()]
        name = f"{max(taken, default=0) + 1:04d}-{profile_id}"
        records, text, page = (out / f"{name}{end}" for end in (".records", ".txt", ".html"))
        write_records(records, [row.sealed for row in rows])
        write_atomically(text, text_sheet(look).encode(), SHEET_MODE)
        write_atomically(page, html_sheet(look).encode(), SHEET_MODE)
    except OSError as problem:
        raise RecordFileError(f"{out}: cannot be written ({problem.strerror})") from problem
    return [records, text, page]


def _facts(look: Look, files: Iterable[Path]) -> dict[str, Any]:
    found = look.found
    return {
        "profile": look.profile.id,
        "variant": look.variant,
        "experimental": look.profile.experimental,
        "evidence": list(look.evidence),
        "identity": dict(found.texts),
        "pack": None if found.pack is None else found.pack.id,
        "quantities": {name: seen.last for name, seen in found.figures.items()},
        "cells_v": list(found.cells_v),
        "temps_degc": list(found.temps_degc),
        "trouble_codes": {poll: list(codes) for poll, codes in found.trouble_codes.items()},
        "remarks": list(found.remarks),
        "wall_ms": look.wall_ms,
        "seconds": round(look.seconds, 3),
        "frames": look.frames,
        "frames_refused": look.frames_refused,
        "frames_sent": look.frames_sent,
        "box": look.box,
        "records": look.records,
        "digest": look.digest,
        "files": [str(path) for path in files],
    }
