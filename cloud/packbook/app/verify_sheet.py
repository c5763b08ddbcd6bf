"""`packbook verify-sheet CODE FILE`: does a printed sheet say what this record says? Without network or settings.

In:  the code on the sheet, and the record as a file of the format `neutral` (`-`: standard input).
Out: whether the code is the record's, and whether the record's two parts are signed by the key that it names.
Exit codes: 0 both are so, 1 one is not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import rfc8785

from packbook.app.command import DONE, PROBLEM, WRONG_USAGE
from packbook.app.export_neutral import purpose_of
from packbook.core.formats.neutral import FORM
from packbook.core.formats.sheet.code import DIGITS, NotARecord, code_of_parts
from packbook.core.passport import Part
from packwire.errors import WireError
from packwire.signed import check_detached

FILE_BYTES_MAX: Final = 20_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("code", metavar="CODE", type=_code, help="16 hex digits, as they stand on the sheet")
    parser.add_argument("file", metavar="FILE", type=Path, help="the record, from 'packbook export --format neutral'")


def main(args: argparse.Namespace) -> int:
    try:
        told = _read(args.file)
        parts = {part: told[part.value] for part in Part}
        found = code_of_parts({part.value: parts[part]["record"] for part in Part})
    except (OSError, ValueError, KeyError, TypeError) as problem:
        print(f"verify-sheet: {args.file}: cannot be read as a record: {problem}", file=sys.stderr)
        return WRONG_USAGE
    same = found.replace(" ", "") == args.code
    print(f"code      {found}: {'the sheet was made from this record' if same else 'NOT the code that was given'}")
    signed = [_signature(told, part, parts[part]) for part in Part]
    for line, _ in signed:
        print(line)
    return DONE if same and all(good for _, good in signed) else PROBLEM


def _read(file: Path) -> Mapping[str, Any]:
    """Raises OSError, ValueError."""
    data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1) if str(file) == "-" else file.read_bytes()
    if len(data) > FILE_BYTES_MAX:
        raise NotARecord(f"longer than {FILE_BYTES_MAX} bytes")
    told = json.loads(data)
    if not isinstance(told, dict) or told.get("form") != FORM:
        raise NotARecord(f"expected the form {FORM}")
    return told


def _signature(told: Mapping[str, Any], part: Part, said: Mapping[str, Any]) -> tuple[str, bool]:
    try:
        key = bytes.fromhex(told["book_key"])
        signature = base64.b64decode(said["signature"], validate=True)
        check_detached(signature, rfc8785.dumps(said["record"]), purpose_of(part), key, part.value)
    except (WireError, KeyError, TypeError, ValueError, binascii.Error) as problem:
        return f"{part.value:8}  NOT signed by the key it names: {problem}", False
    return f"{part.value:8}  signed by {key.hex()}; compare it with the book's key that you know", True


def _code(text: str) -> str:
    digits = "".join(text.split()).upper()
    if len(digits) != DIGITS or any(digit not in "0123456789ABCDEF" for digit in digits):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {DIGITS} hex digits")
    return digits
