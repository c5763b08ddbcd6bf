"""Decoded quantities over time, and what was left out on the way.

In:  nothing; these are the values that travel from `core.decode` to `core.sample`.
Out: `Decoded`: for each quantity its times and values (valid ones only) and counts of everything refused, by reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from packbox.core.frames import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """One quantity: `mono_ns` (n,) not falling, `value` (n,) finite, in the unit that ends the quantity's name."""

    mono_ns: IntArray
    value: FloatArray

    def __post_init__(self) -> None:
        assert self.mono_ns.shape == self.value.shape
        assert self.mono_ns.ndim == 1

    def __len__(self) -> int:
        return int(self.mono_ns.shape[0])


@dataclass(frozen=True, slots=True)
class Refused:
    """What a stretch of frames held that never became a value. Addable; every figure is a count of frames or values."""

    unknown_frames: int = 0
    error_frames: int = 0
    bad_checksum: int = 0
    stuck_counter: int = 0
    wrong_length: int = 0
    unknown_mux: int = 0
    void_values: int = 0  # the car says "not available"
    implausible_values: int = 0  # outside the quantity's range or the pack's
    broken_answers: int = 0  # ISO-TP out of order or cut
    negative_answers: int = 0
    cells_not_sum: int = 0  # frames and answers whose cells do not add up to the pack voltage
    foreign_answers: int = 0  # a control unit answered what only another one was asked

    def __add__(self, other: Refused) -> Refused:
        return Refused(*(getattr(self, n) + getattr(other, n) for n in self.__slots__))

    def __sub__(self, other: Refused) -> Refused:
        """What came since `other`."""
        return Refused(*(getattr(self, n) - getattr(other, n) for n in self.__slots__))


@dataclass(frozen=True, slots=True)
class CellsTold:
    """Single cells of one answer, by number, in volts; None where the car tells none."""

    mono_ns: int
    cells_v: Mapping[int, float | None]


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    signals: Mapping[str, Signal]  # keyed by names of `quantities`
    refused: Refused = field(default_factory=Refused)
    cells: tuple[CellsTold, ...] = ()  # in order
