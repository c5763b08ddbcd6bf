"""A block of raw frames as bytes: columns, each frame's data against the one before of the same id, then zstd.

In:  one `FrameBatch` and the names of its buses. Out: bytes; and back.
Times are kept to the microsecond, everything else exactly. A block stands for itself: it needs no other, and its length
and CRC tell a whole one from one that a power cut tore.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from packbox.core.frames import CLASSIC_BYTES, FD_BYTES, FrameBatch, IntArray
from packbox.core.stamp import BootId

MAGIC: Final = b"PBr1"
HEAD: Final = struct.Struct("<4sII")  # magic, bytes that follow, their CRC-32
NS_PER_US: Final = 1000
LEVEL: Final = 6  # 3 takes half the time and a tenth more room
BODY_BYTES_MAX: Final = 64 * 2**20  # of a block unpacked; far above any honest one
_LENGTH_SHIFT: Final = 48  # of a key; nothing stands above it
ByteArray: TypeAlias = npt.NDArray[np.uint8]


class _Body(msgspec.Struct, array_like=True, frozen=True):
    boot: str
    wall_offset_ms: int | None
    bus_names: tuple[str, ...]
    first_us: int
    frames: int
    keys: tuple[int, ...]  # of each kind of frame: id, bus, flags, length
    steps_us: bytes  # from frame to frame, int64 by byte planes
    which: bytes  # place in `keys`, uint16 by byte planes
    data: bytes  # per key: byte planes of each frame XOR the one before


@dataclass(frozen=True, slots=True)
class RawBlock:
    frames: FrameBatch
    bus_names: tuple[str, ...]  # in the order of the bus numbers; may be shorter


def encode(batch: FrameBatch, bus_names: tuple[str, ...]) -> bytes:
    """At least one frame."""
    assert len(batch)
    time_us = batch.mono_ns // NS_PER_US
    keys, which = np.unique(_keys(batch), return_inverse=True)
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(len(keys) + 1))
    data = bytearray()
    for key, low, high in zip(keys.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        rows = batch.data[order[low:high], : key >> _LENGTH_SHIFT]
        rows[1:] ^= rows[:-1].copy()
        data += _planes(rows)
    body = _Body(
        batch.boot,
        batch.wall_offset_ms,
        bus_names,
        int(time_us[0]),
        len(batch),
        tuple(keys.tolist()),
        _planes(_bytes_of(np.diff(time_us, prepend=time_us[0]), "<i8")),
        _planes(_bytes_of(which, "<u2")),
        bytes(data),
    )
    packed = zstandard.ZstdCompressor(level=LEVEL).compress(msgspec.msgpack.encode(body))
    return HEAD.pack(MAGIC, len(packed), zlib.crc32(packed)) + packed


def decode_all(data: bytes) -> Iterator[RawBlock]:
    """The whole blocks of a file. What is torn or damaged is passed over, up to the next whole one."""
    at = 0
    while (at := data.find(MAGIC, at)) >= 0:
        block, size = _block_at(data, at)
        if block is not None:
            yield block
        at += size


def _block_at(data: bytes, at: int) -> tuple[RawBlock | None, int]:
    """The block that begins here and its size; None and how far to go on when there is none."""
    begin = at + HEAD.size
    if begin > len(data):
        return None, len(MAGIC)
    _, size, crc = HEAD.unpack_from(data, at)
    packed = data[begin : begin + size]
    if len(packed) < size or zlib.crc32(packed) != crc:
        return None, len(MAGIC)
    unpacked = zstandard.ZstdDecompressor().decompress(packed, max_output_size=BODY_BYTES_MAX)
    return _decode(msgspec.msgpack.decode(unpacked, type=_Body)), HEAD.size + size


def _decode(body: _Body) -> RawBlock:
    n = body.frames
    which = _unplaned(body.which, n, 2).view("<u2").reshape(n).astype(np.intp)
    steps_us = _unplaned(body.steps_us, n, 8).view("<i8").reshape(n)
    keys = np.array(body.keys, np.int64)
    length = keys >> _LENGTH_SHIFT
    width = FD_BYTES if int(length.max()) > CLASSIC_BYTES else CLASSIC_BYTES
    data = np.zeros((n, width), np.uint8)
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(len(keys) + 1)).tolist()
    at = 0
    for bytes_each, low, high in zip(length.tolist(), bounds[:-1], bounds[1:], strict=True):
        end = at + bytes_each * (high - low)
        rows = _unplaned(body.data[at:end], high - low, bytes_each)
        data[order[low:high], :bytes_each] = np.bitwise_xor.accumulate(rows, axis=0)
        at = end
    kind = keys[which]
    frames = FrameBatch(
        BootId(body.boot),
        body.wall_offset_ms,
        ((body.first_us + np.cumsum(steps_us)) * NS_PER_US).astype(np.int64),
        (kind >> 32 & 0xFF).astype(np.uint8),
        (kind & 0xFFFF_FFFF).astype(np.uint32),
        (kind >> 40 & 0xFF).astype(np.uint8),
        length[which].astype(np.uint8),
        data,
    )
    return RawBlock(frames, body.bus_names)


def _keys(batch: FrameBatch) -> IntArray:
    parts = ((batch.can_id, 0), (batch.bus, 32), (batch.flags, 40), (batch.length, _LENGTH_SHIFT))
    keys = np.zeros(len(batch), np.int64)
    for column, shift in parts:
        keys |= column.astype(np.int64) << shift
    return keys


def _bytes_of(column: IntArray, kind: str) -> ByteArray:
    return np.ascontiguousarray(column, kind).view(np.uint8).reshape(len(column), -1)


def _planes(rows: ByteArray) -> bytes:
    """All first bytes, then all second ones: bytes of one place are alike, and the high ones mostly zero."""
    return np.ascontiguousarray(rows.T).tobytes()


def _unplaned(data: bytes, n: int, width: int) -> ByteArray:
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(width, n).T)
