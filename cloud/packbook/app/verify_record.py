"""`packbook verify-record FILE`: is an exported record as its book signed it? Without network or settings.

In:  a file of the format `neutral` (`-`: standard input); on request the key of the book that one believes.
Out: of each of its two parts whether it is signed by the key that the file names, and whether that key is believed.
Exit codes: 0 all is so, 1 something is not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import rfc8785

from packbook.app.command import DONE, PROBLEM, WRONG_USAGE
from packbook.app.export_neutral import purpose_of
from packbook.core.formats.neutral import FORM
from packbook.core.formats.sheet.code import NotARecord
from packbook.core.passport import Part
from packwire.errors import WireError
from packwire.signed import check_detached

FILE_BYTES_MAX: Final = 20_000_000
KEY_BYTES: Final = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the record, from 'packbook export --format neutral'")
    parser.add_argument("--trust", metavar="KEY", type=_key, help="the book's key that you know: 64 hexadecimal digits")


def main(args: argparse.Namespace) -> int:
    try:
        told = read_record(args.file)
    except (OSError, NotARecord) as problem:
        print(f"verify-record: {args.file}: cannot be read as a record: {problem}", file=sys.stderr)
        return WRONG_USAGE
    signed = [signature(told, part) for part in Part]
    for line, _ in signed:
        print(line)
    known = args.trust is None or told["book_key"] == args.trust
    if not known:
        print(f"book key  NOT the one you believe, {args.trust}")
    return DONE if known and all(good for _, good in signed) else PROBLEM


def read_record(file: Path) -> Mapping[str, Any]:
    """Raises OSError, NotARecord. Both parts are there, with a record each."""
    if str(file) == "-":
        data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        with file.open("rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise NotARecord(f"longer than {FILE_BYTES_MAX} bytes")
    try:
        told = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as problem:
        raise NotARecord(f"not JSON: {problem}") from problem
    if not isinstance(told, dict) or told.get("form") != FORM:
        raise NotARecord(f"expected the form {FORM}")
    for part in Part:
        if not isinstance(told.get(part), dict) or not isinstance(told[part].get("record"), dict):
            raise NotARecord(f"it has no {part} part")
    return told


def signature(told: Mapping[str, Any], part: Part) -> tuple[str, bool]:
    """What to say of one part, and whether it is signed."""
    said = told[part]
    try:
        key = bytes.fromhex(told["book_key"])
        signed = base64.b64decode(said["signature"], validate=True)
        check_detached(signed, rfc8785.dumps(said["record"]), purpose_of(part), key, part.value)
    except (WireError, KeyError, TypeError, ValueError, RecursionError) as problem:
        return f"{part.value:8}  NOT signed by the key it names: {problem}", False
    return f"{part.value:8}  signed by {key.hex()}; compare it with the book's key that you know", True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice means one thing to one reader and another to the next."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _key(text: str) -> str:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {2 * KEY_BYTES} hexadecimal digits")
    return key.hex()
