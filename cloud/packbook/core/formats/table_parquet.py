"""The record as Apache Parquet, for those who read many at once.

In:  a record. Out: the rows of `table.Row` with typed columns; the record's rules and coverage in the file's own notes.
The same record gives the same bytes with the same pyarrow.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, fields
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
from pyarrow import parquet

from packbook.core.formats import Made
from packbook.core.formats.table import LEFT_OUT, Row, rows
from packbook.core.passport import Passport

SUFFIX: Final = ".parquet"
MAPPING: Final = None
NUMBERS: Final = frozenset({"value", "sigma", "lo90", "hi90"})
DAY: Final = "day"


def make(passport: Passport, _mapping: None = None) -> Made:
    found = [asdict(row) for row in rows(passport)]
    columns = {column.name: [row[column.name] for row in found] for column in fields(Row)}
    schema = pa.schema(
        [(column.name, pa.float64() if column.name in NUMBERS else pa.string()) for column in fields(Row)],
        metadata={"rules": json.dumps(dict(passport.rules), sort_keys=True), "category": passport.category},
    )
    out = io.BytesIO()
    parquet.write_table(pa.table(columns, schema=schema), out, compression="zstd")
    return Made(out.getvalue(), LEFT_OUT)
