"""`packbox verify FILE` and `packbook verify FILE`: check an evidence bundle, without network and without settings.

Exit codes: 0 everything checks, 1 something is wrong, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from packproof.report import as_json, lines
from packproof.trust import TrustError, read_trust
from packproof.verify import verify
from packwire.bundle import MAX_BUNDLE_BYTES

KEPT_BYTES_MAX: Final = 50_000_000  # of every store of a large fleet


class WrongUsage(ValueError):
    """What was given on the command line cannot be used. Nothing was checked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="an evidence bundle")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="KEY|CERT",
        help="a book's key (64 hexadecimal digits, or a PEM file) or a root certificate; may be given several times",
    )
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="CERT",
        help="a fleet's root certificate: every box must have been enrolled by it; may be given several times",
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="checkpoints that you kept apart from the bundle, as the book's API gives them; several times",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a report")


def main(args: argparse.Namespace) -> int:
    try:
        trust = read_trust(args.trust, args.root)
        kept = [point for path in args.checkpoint for point in _kept(path)]
        data = _read(args.file, MAX_BUNDLE_BYTES)
    except (TrustError, WrongUsage, OSError) as problem:
        print(f"verify: {problem}", file=sys.stderr)
        return 2
    elsewhere = _checked_elsewhere(data)
    if elsewhere is not None:
        print(f"verify: {args.file}: {elsewhere}", file=sys.stderr)
        return 2
    report = verify(data, trust, kept)
    if args.json:
        print(json.dumps(as_json(report), ensure_ascii=False))
    else:
        for line in lines(report, args.file.name, colour=sys.stdout.isatty()):
            print(line)
    return 0 if report.ok else 1


def _checked_elsewhere(data: bytes) -> str | None:
    """What it is, when it is one of the book's signed files in JSON, and what checks it. A bundle is no JSON."""
    try:
        told = json.loads(data) if data[:1] == b"{" else None
    except (ValueError, RecursionError):
        return None
    names = set(told) if isinstance(told, dict) else set()
    if {"form", "book_key"} <= names:
        return "a record, not an evidence bundle; 'packbook verify-record' checks its signatures"
    if {"verifiableCredential", "credentialSubject"} & names:
        return "credentials, not an evidence bundle; 'packbook verify-credential' checks them"
    return None


def _kept(path: Path) -> list[bytes]:
    """One checkpoint as it is, or the JSON of `/api/v1/checkpoints`. Raises WrongUsage."""
    data = _read(path, KEPT_BYTES_MAX)
    if not data.lstrip().startswith(b"{"):
        return [data]
    try:
        return [bytes.fromhex(point["signed"]) for point in json.loads(data)["checkpoints"]]
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise WrongUsage(f"{path}: neither a checkpoint nor a list of them") from problem


def _read(path: Path, most: int) -> bytes:
    """One byte more than allowed tells that there are too many, without reading them."""
    with path.open("rb") as file:
        return file.read(most + 1)
