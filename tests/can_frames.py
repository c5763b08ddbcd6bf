"""Frames for tests: a few lines of text become a `FrameBatch`, values become frames through cantools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from cantools.database.can import Database

from packbox.core.frames import FrameBatch
from packbox.core.signals import Decoded, Signal
from packbox.core.stamp import BootId

BOOT = BootId("0123456789abcdef")
PROFILES = Path(__file__).resolve().parents[1] / "can_profiles"

# (mono_ms, id, data)
Frame = tuple[float, int, bytes]


def batch_of(frames: Iterable[Frame], bus: int = 0, boot: BootId = BOOT) -> FrameBatch:
    rows = list(frames)
    data = np.zeros((len(rows), 8), np.uint8)
    for k, (_, _, content) in enumerate(rows):
        data[k, : len(content)] = np.frombuffer(content, np.uint8)
    return FrameBatch(
        boot,
        None,
        np.array([round(ms * 1_000_000) for ms, _, _ in rows], np.int64),
        np.full(len(rows), bus, np.uint8),
        np.array([can_id for _, can_id, _ in rows], np.uint32),
        np.zeros(len(rows), np.uint8),
        np.array([len(content) for _, _, content in rows], np.uint8),
        data,
    )


def database(path: Path) -> Database:
    loaded = Database()
    loaded.add_dbc_string(path.read_text(encoding="utf-8"))
    return loaded


def crc8(data: bytes) -> int:
    """Bit by bit as the facts tell it, so that it can judge the table-driven one."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x85) & 0xFF if crc & 0x80 else crc << 1
    return crc


def with_crc(data: bytes) -> bytes:
    return data[:7] + bytes([crc8(data[:7])])


def battery_state(current_a: float, voltage_v: float, counter: int, soc_shown: int = 0) -> bytes:
    """A Leaf's 1DB, relay closed."""
    raw = round(current_a * 2) & 0x7FF
    volts = round(voltage_v * 2)
    return with_crc(
        bytes([raw >> 3, (raw & 7) << 5, volts >> 2, (volts & 3) << 6 | 0x2A, soc_shown, 0, counter & 3, 0])
    )


def iso_tp(answer: bytes, padding: int = 0xFF) -> list[bytes]:
    """The frames that carry an answer."""
    if len(answer) <= 7:
        return [(bytes([len(answer)]) + answer).ljust(8, bytes([padding]))]
    frames = [bytes([0x10 | len(answer) >> 8, len(answer) & 0xFF]) + answer[:6]]
    for k, begin in enumerate(range(6, len(answer), 7), 1):
        frames.append((bytes([0x20 | k & 0x0F]) + answer[begin : begin + 7]).ljust(8, bytes([padding])))
    return frames


def leaf_state_answer(current_a: float, soc_pct: float, capacity_ah: float) -> bytes:
    """79B 21 01 in the long layout: 53 bytes."""
    data = bytearray(51)
    data[6:10] = round(current_a * 1024).to_bytes(4, "big", signed=True)
    data[18:20] = (36_000).to_bytes(2, "big")
    data[20:22] = (13_000).to_bytes(2, "big")
    data[28:30] = (9_000).to_bytes(2, "big")
    data[31:34] = round(soc_pct * 10_000).to_bytes(3, "big")
    data[35:38] = round(capacity_ah * 10_000).to_bytes(3, "big")
    return b"\x61\x01" + bytes(data)


def cut(batch: FrameBatch, places: Sequence[int]) -> list[FrameBatch]:
    """The batch in pieces, cut before these places."""
    bounds = [0, *sorted({p for p in places if 0 < p < len(batch)}), len(batch)]
    return [batch.pick(slice(a, b)) for a, b in pairwise(bounds)]


def series(decoded: Decoded, name: str) -> list[tuple[int, float]]:
    """(ms, value) of one quantity; empty if it said nothing."""
    signal = decoded.signals.get(name, Signal(np.empty(0, np.int64), np.empty(0)))
    return [(int(ns) // 1_000_000, float(v)) for ns, v in zip(signal.mono_ns, signal.value, strict=True)]
