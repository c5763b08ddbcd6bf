"""CSV written by python-can: `timestamp,arbitration_id,extended,remote,error,dlc,data`, the data in base64.

Read here and not by `can.CSVReader`, which ends at the first damaged row. The format names no bus and no direction.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from packbox.adapters.logs.columns import FD_LENGTHS, Columns, LogTime, Remark, columns, id_in_range
from packbox.adapters.logs.stream import Block
from packbox.core.frames import CLASSIC_BYTES, ERROR, EXTENDED, FD, FD_BYTES, REMOTE, BoolArray

_HEADER: Final = re.compile(rb"(\xef\xbb\xbf)?timestamp,arbitration_id,extended,remote,error,dlc,data\s*$")
_ROW: Final = re.compile(
    rb"([-+.0-9e]{1,24}),0x([0-9a-f]{1,8}),([01]),([01]),([01]),([0-9]{1,2}),([A-Za-z0-9+/]{0,88}={0,2})\s*$"
)
_TIME_LIMIT_S: Final = 4e9


def recognise(lines: Sequence[bytes]) -> CanCsv | None:
    return CanCsv() if any(_HEADER.match(line) for line in lines) else None


class CanCsv:
    name = "python-can CSV"
    says_length = True
    time = LogTime(may_be_wall=True)
    channel_names: Mapping[int, str] = {}

    def parse(self, block: Block) -> tuple[Columns, BoolArray]:
        rows = [_row(line) for line in block.text.split(b"\n")[:-1]]
        n = len(rows)
        ok = np.array([row is not None for row in rows], np.bool_)
        head = np.array([row[:4] if row else (0, 0, 0, 0) for row in rows], np.int64).reshape(n, 4)
        limit = FD_BYTES if head[:, 3].max(initial=0) > CLASSIC_BYTES else CLASSIC_BYTES
        data = b"".join(row[4].ljust(limit, b"\0") if row else bytes(limit) for row in rows)
        time_ns, can_id, flags, length = head.T
        ok &= id_in_range(can_id, flags)
        return columns(
            time_ns, np.zeros(n, np.int64), can_id, flags, length, np.frombuffer(data, np.uint8).reshape(n, limit)
        ), ok

    def explain(self, line: bytes) -> Remark:
        if _HEADER.match(line):
            return Remark("header", harmless=True)
        return Remark("damaged or cut row" if b"," in line else "not a row")


def _row(line: bytes) -> tuple[int, int, int, int, bytes] | None:
    """time_ns, id, flags, length, data."""
    match = _ROW.match(line)
    if match is None:
        return None
    try:
        time_s, data = float(match[1]), b64decode(match[7], validate=True)
    except (ValueError, binascii.Error):
        return None
    length = int(match[6])
    remote, error = match[4] == b"1", match[5] == b"1"
    if abs(time_s) > _TIME_LIMIT_S or length not in FD_LENGTHS or (len(data) != length and not remote):
        return None
    flags = (match[3] == b"1") * EXTENDED | remote * REMOTE | error * ERROR | (length > CLASSIC_BYTES) * FD
    # The double came from microseconds; nearer than that it is noise.
    return round(time_s * 1e6) * 1000, int(match[2], 16), flags, len(data), data
