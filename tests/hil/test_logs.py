"""What is played on a rig's bus."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from packbox.sim.car import IMIEV_16
from rig.driving import log_of
from rig.logs import GAP_S, SCENE_S, driven_and_charged, slice_of

BATTERY = 0x373  # of an i-MiEV


def test_frames_come_in_order_and_never_faster_than_a_rig_can_take_them(tmp_path: Path) -> None:
    """An emulated bus has no bit rate: two frames at once would be a loss that no car causes."""
    frames = driven_and_charged(IMIEV_16)
    assert all(after[0] - before[0] >= GAP_S - 1e-9 for before, after in pairwise(frames))
    assert frames[-1][0] == pytest.approx(3 * SCENE_S, abs=1.0)


def test_a_slice_holds_the_ids_that_were_asked_for_and_no_others(tmp_path: Path) -> None:
    """A recording plays only what the box would let through."""
    recording = tmp_path / "recording.log"
    frames = [(k / 1000, BATTERY if k % 2 else 0x100, bytes((k,))) for k in range(200)]
    recording.write_bytes(log_of(frames))
    taken = slice_of(recording, {BATTERY}, 50)
    assert [frame[1:] for frame in taken] == [frame[1:] for frame in frames if frame[1] == BATTERY][:50]
    assert taken[-1][0] == pytest.approx(49 * GAP_S)
