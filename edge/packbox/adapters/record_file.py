"""Sealed records in a file of their own: a CBOR sequence (RFC 8742), the bytes exactly as they would travel.

In:  sealed records. Out: the same, in order.
Refuses with RecordFileError a file that is no such sequence, and to write over one that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import cbor2

from packbox.adapters.durable import write_atomically
from packbox.ports import PackboxError

FILE_MODE = 0o644  # nothing in a record is secret


class RecordFileError(PackboxError):
    """The file of records cannot be read or written. A file that was there was not touched."""


def write_records(path: Path, sealed: Sequence[bytes]) -> None:
    if path.exists():
        raise RecordFileError(f"{path}: is there already; a record is never written over")
    try:
        write_atomically(path, b"".join(sealed), FILE_MODE)
    except OSError as problem:
        raise RecordFileError(f"{path}: cannot be written ({problem.strerror})") from problem


def read_records(path: Path) -> list[bytes]:
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise RecordFileError(f"{path}: cannot be read ({problem.strerror})") from problem
    stream, records = BytesIO(data), []
    decoder = cbor2.CBORDecoder(stream)
    while (begin := stream.tell()) < len(data):
        try:
            decoder.decode()
        except (cbor2.CBORDecodeError, ValueError) as problem:
            raise RecordFileError(f"{path}: byte {begin}: no sealed record ({problem})") from problem
        records.append(data[begin : stream.tell()])
    return records
