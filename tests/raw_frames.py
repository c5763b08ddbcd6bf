"""Frames of every kind that a bus could bring, for tests that write and read them."""

from __future__ import annotations

import random
from typing import Final

import numpy as np
from hypothesis import strategies as st

from packbox.core.frames import ERROR, EXTENDED, FD, REMOTE, SENT, FrameBatch
from packbox.core.stamp import BootId

BOOT: Final = BootId("b0" * 8)
FD_LENGTHS: Final = (0, 1, 7, 8, 12, 16, 20, 24, 32, 48, 64)


@st.composite
def batches(draw: st.DrawFn) -> FrameBatch:
    """Any frames that a bus could bring, times that run back and leap too."""
    n = draw(st.integers(1, 60))
    seed = draw(st.integers(0, 2**32))
    dice = random.Random(seed)
    ids = [dice.randrange(0x800) for _ in range(1 + n // 8)]
    rows = []
    for _ in range(n):
        kind = dice.choice((0, 0, 0, EXTENDED, FD, FD | EXTENDED, ERROR, REMOTE, SENT))
        can_id = dice.randrange(2**29) if kind & (EXTENDED | ERROR) else dice.choice(ids)
        length = dice.choice(FD_LENGTHS) if kind & FD else 0 if kind & REMOTE else dice.randrange(9)
        data = dice.randbytes(length).ljust(64, b"\0")
        rows.append((dice.randrange(3), can_id, kind, length, np.frombuffer(data, np.uint8)))
    bus, can_id, flags, length, data = zip(*rows, strict=True)
    steps_us = [dice.choice((0, 1, 250, 10_000, -500, 10**9)) for _ in range(n)]
    wide = max(length) > 8
    return FrameBatch(
        BOOT,
        draw(st.sampled_from((None, 0, 1_760_000_000_000, -5))),
        (np.cumsum(steps_us).astype(np.int64) + draw(st.integers(0, 2**50))) * 1000,
        np.array(bus, np.uint8),
        np.array(can_id, np.uint32),
        np.array(flags, np.uint8),
        np.array(length, np.uint8),
        np.stack(data)[:, : 64 if wide else 8],
    )
