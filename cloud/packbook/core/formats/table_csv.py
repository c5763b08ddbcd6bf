"""The record as CSV (RFC 4180), for spreadsheets and statistics.

In:  a record. Out: one row a fact or band (`table.Row`), columns named with what they hold.
Text that a spreadsheet could take for a formula is defused; figures stay figures.
"""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, fields
from typing import Final

from packbook.core.formats import Made
from packbook.core.formats.table import LEFT_OUT, Row, rows
from packbook.core.passport import Passport

SUFFIX: Final = ".csv"
MAPPING: Final = None
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def make(passport: Passport, _mapping: None = None) -> Made:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([column.name for column in fields(Row)])
    for row in rows(passport):
        writer.writerow([_cell(value) for value in astuple(row)])
    return Made(out.getvalue().encode(), LEFT_OUT)


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return "" if value is None else value
