"""`packbook verify-sheet CODE FILE`: does a printed sheet say what this record says? Without network or settings.

In:  the code on the sheet, and the record as a file of the format `neutral` (`-`: standard input).
Out: whether the code is the record's, and whether the record's two parts are signed by the key that it names.
Exit codes: 0 both are so, 1 one is not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from packbook.app.command import DONE, PROBLEM, WRONG_USAGE
from packbook.app.verify_record import read_record, signature
from packbook.core.formats.sheet.code import DIGITS, NotARecord, code_of_parts
from packbook.core.passport import Part


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("code", metavar="CODE", type=_code, help="16 hex digits, as they stand on the sheet")
    parser.add_argument("file", metavar="FILE", type=Path, help="the record, from 'packbook export --format neutral'")


def main(args: argparse.Namespace) -> int:
    try:
        told = read_record(args.file)
        found = code_of_parts({part.value: told[part]["record"] for part in Part})
    except (OSError, NotARecord) as problem:
        print(f"verify-sheet: {args.file}: cannot be read as a record: {problem}", file=sys.stderr)
        return WRONG_USAGE
    same = found.replace(" ", "") == args.code
    print(f"code      {found}: {'the sheet was made from this record' if same else 'NOT the code that was given'}")
    signed = [signature(told, part) for part in Part]
    for line, _ in signed:
        print(line)
    return DONE if same and all(good for _, good in signed) else PROBLEM


def _code(text: str) -> str:
    digits = "".join(text.split()).upper()
    if len(digits) != DIGITS or any(digit not in "0123456789ABCDEF" for digit in digits):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {DIGITS} hex digits")
    return digits
