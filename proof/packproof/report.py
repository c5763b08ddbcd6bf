"""A report for people: what is wrong first, then what is proven, claimed and missing; 80 columns, colour if asked.

In:  a `Report`. Out: lines of text, or one JSON object.
Whatever a file says of itself is shown without control characters: a terminal must not obey a stranger's file.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Final

from packproof.claims import EXPORTER
from packproof.finding import Finding, Verdict
from packproof.verify import Report, day, fingerprint

WIDTH: Final = 80
SHOWN_MAX: Final = 40  # numbers of one kind; --json has all
PLAIN: Final = "0"
_COLOURS: Final = {"WRONG": "1;31", "PROVEN": "1;32", "CLAIMED": "1;33", "MISSING": "1;36"}


def lines(report: Report, name: str, *, colour: bool) -> Iterator[str]:
    verdict = "EVERYTHING CHECKS" if report.ok else "SOMETHING IS WRONG"
    shade = _COLOURS["PROVEN" if report.ok else "WRONG"]
    yield "=" * WIDTH
    yield _shaded(f"{verdict}: {printable(name)}", shade, colour=colour)
    yield from _head(report)
    yield "=" * WIDTH
    yield from _section("WRONG", "this must not be so", _wrong(report), colour=colour)
    yield from _section(
        "PROVEN", "follows from signatures alone", [*report.proven, *_numbers(report, Verdict.PROVEN)], colour=colour
    )
    yield from _section(
        "CLAIMED", "somebody's word", [*report.claimed, *_numbers(report, Verdict.CLAIMED)], colour=colour
    )
    yield from _section(
        "MISSING", "not in this file", [*report.missing, *_numbers(report, Verdict.MISSING)], colour=colour
    )


def _head(report: Report) -> Iterator[str]:
    records = sum(store.count for store in report.stores)
    yield f"{report.size} bytes, {records} records in {len(report.stores)} store{'s'[: len(report.stores) != 1]}"
    if report.bundle is not None:
        yield f"battery {report.bundle.battery}"
        yield f"made {day(report.bundle.made_ms)} with key {fingerprint(report.bundle.exporter)}"


def _wrong(report: Report) -> Iterator[str]:
    for fault in report.faults:
        where = [f"store {fault.store}"] if fault.store and fault.store not in fault.words else []
        where += [f"byte {fault.at}"] if fault.at is not None else []
        yield fault.words + (f" [{', '.join(where)}]" if where else "")
    if report.more_faults:
        yield f"and {report.more_faults} faults more"
    for finding in report.differing:
        yield _number(finding)


def _numbers(report: Report, verdict: Verdict) -> Iterator[str]:
    found = [finding for finding in report.findings if finding.verdict is verdict]
    exported = [finding for finding in found if finding.what.startswith(EXPORTER)]
    if verdict is Verdict.PROVEN and exported:
        figures = ", ".join(f"{f.what.removeprefix(EXPORTER)} {f.claimed}" for f in exported)
        yield f"What the exporter says of the whole is what the records say: {figures}."
        found = [finding for finding in found if finding not in exported]
    yield from map(_number, found[:SHOWN_MAX])
    if len(found) > SHOWN_MAX:
        yield f"and {len(found) - SHOWN_MAX} numbers more: see --json"


def _number(finding: Finding) -> str:
    about = f" (record {finding.seqs[0]})" if len(finding.seqs) == 1 else ""
    store = f" [store {finding.store}]" if finding.store and finding.verdict is Verdict.DIFFERS else ""
    return f"{finding.what}: {finding.words}{about}{store}"


def _section(title: str, meaning: str, told: Iterable[str], *, colour: bool) -> Iterator[str]:
    found = list(told)
    if not found:
        return
    yield ""
    yield _shaded(title, _COLOURS[title], colour=colour) + f" - {meaning}"
    for text in found:
        yield from textwrap.wrap(printable(text), WIDTH, initial_indent="  * ", subsequent_indent="    ")


def _shaded(text: str, shade: str, *, colour: bool) -> str:
    return f"\x1b[{shade}m{text}\x1b[{PLAIN}m" if colour else text


def printable(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def as_json(report: Report) -> dict[str, Any]:
    bundle = report.bundle
    return {
        "ok": report.ok,
        "bytes": report.size,
        "battery": bundle.battery if bundle else None,
        "made_ms": bundle.made_ms if bundle else None,
        "exporter": bundle.exporter.hex() if bundle else None,
        "stores": [
            {
                "box": s.box,
                "store": s.store,
                "records": s.count,
                "believed": len(s.links),
                "last": s.last,
                "ok": s.sound,
            }
            for s in report.stores
        ],
        "wrong": [asdict(fault) for fault in report.faults],
        "more_wrong": report.more_faults,
        "proven": list(report.proven),
        "claimed": list(report.claimed),
        "missing": list(report.missing),
        "numbers": [asdict(finding) | {"seqs": list(finding.seqs)} for finding in report.findings],
    }
