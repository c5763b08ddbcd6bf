"""Cells that a car broadcasts a few at a time are put in their places in the pack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from packbox.adapters.profile_dir import Catalogue
from packbox.core.broadcast_cells import BroadcastCells
from packbox.core.detect import detect
from packbox.core.frames import EXTENDED, FrameBatch
from packbox.core.stamp import BootId

Frame = tuple[int, bytes]


def batch(frames: Sequence[Frame]) -> FrameBatch:
    n = len(frames)
    return FrameBatch(
        BootId("0" * 16),
        None,
        np.arange(n, dtype=np.int64) * 10_000_000,
        np.zeros(n, np.uint8),
        np.array([can_id for can_id, _ in frames], np.uint32),
        np.array([EXTENDED * (can_id > 0x7FF) for can_id, _ in frames], np.uint8),
        np.array([len(data) for _, data in frames], np.uint8),
        np.frombuffer(b"".join(data.ljust(8, b"\0") for _, data in frames), np.uint8).reshape(n, 8),
    )


def module(number: int, frame: int, first_mv: int) -> Frame:
    raws = [round((mv / 1000 - 2.1) / 0.005) for mv in (first_mv, first_mv + 5)]
    return 0x6E1 + frame, bytes((number, 0, 61, 62)) + b"".join(raw.to_bytes(2) for raw in raws)


def imiev() -> list[Frame]:
    """Each cell of 88 five millivolts above the one before; modules 6 and 12 repeat themselves in 6E3 and 6E4."""
    frames, cell = [], 1
    for number in range(1, 13):
        for frame in range(2 if number in (6, 12) else 4):
            frames.append(module(number, frame, 3500 + 5 * cell))
            cell += 2
        if number in (6, 12):
            frames += [module(number, frame, 4400) for frame in (2, 3)]
    return frames


def cells_of(frames: Sequence[Frame], in_series: int | None, family: str = "mitsubishi-imiev") -> list[float | None]:
    cells = BroadcastCells(Catalogue().profile(family))
    cells.hear(batch(frames))
    return list(cells.cells_v(in_series))


def test_every_cell_of_an_88_cell_pack_stands_in_its_place() -> None:
    """Numbering as in facts/vehicles.md 4.1; a workshop looks for the module by it."""
    assert cells_of(imiev(), 88) == pytest.approx([3.5 + 0.005 * n for n in range(1, 89)])


def test_copies_of_a_pack_without_two_modules_are_left_out() -> None:
    """An 80-cell pack sends plausible voltages for modules that it does not have."""
    cells = cells_of(imiev(), 80)
    assert len(cells) == 80
    assert 4.4 not in cells


def test_cells_of_a_pack_that_is_not_known_have_no_place() -> None:
    """A number that may be wrong sends a workshop to a healthy module."""
    assert cells_of(imiev(), None) == []


def test_cells_that_were_not_heard_are_absent_and_void_ones_are_none() -> None:
    """The lowest cell of what was heard by chance is not the pack's."""
    heard = [module(1, 0, 3900), module(1, 2, 3920), (0x6E2, bytes((1, 0, 0, 0, 0, 0, 0, 0)))]
    assert cells_of(heard, 88) == [pytest.approx(3.9), pytest.approx(3.905), None, None, 3.92, pytest.approx(3.925)]


def test_numbered_signals_are_the_cells_themselves() -> None:
    """Tesla names the group in the frame and the DBC names the cell."""
    frames = [(0x401, bytes((group, 0)) + 3 * (40_000 + group).to_bytes(2, "little")) for group in range(3)]
    assert cells_of(frames, 96, "tesla-model3") == pytest.approx([4.0, 4.0, 4.0, 4.0001, 4.0001, 4.0001] + 3 * [4.0002])


@pytest.mark.parametrize("width", range(9))
def test_short_frames_hold_no_cells(width: int) -> None:
    """Torn frames are bad data, not low cells."""
    assert bool(cells_of([(0x6E1, module(1, 0, 3900)[1][:width])], 88)) == (width == 8)


def test_a_j1939_group_is_named() -> None:
    """00F09000 is an id that nobody ever sees on a bus."""
    j1939 = Catalogue().profile("j1939")
    finding = detect([j1939], batch([(0x18FEF7F3, bytes(8))])).findings[0]
    said = " ".join((*finding.evidence, *finding.lacks))
    assert "00F0" not in said
    assert "(PGN 61584)" in said
