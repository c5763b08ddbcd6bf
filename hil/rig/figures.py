"""Figures that tests measured, shown as one table at the end of the run.

In:  what, how much, in which unit; a limit where one is promised. Out: lines for people, and for docs/budgets.md.
Where several processes share the tests, each one's figures are handed to the one that reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: float
    unit: str
    limit: float | None

    def __str__(self) -> str:
        digits = 0 if abs(self.value) >= 100 or self.value == int(self.value) else 1 if abs(self.value) >= 10 else 2
        promised = "" if self.limit is None else f"  (promised {self.limit:g})"
        return f"{self.what:<72} {self.value:>10.{digits}f} {self.unit}{promised}"


class Figures:
    def __init__(self) -> None:
        self._told: dict[str, Figure] = {}

    def tell(self, what: str, value: float, unit: str, *, limit: float | None = None) -> None:
        """The newest of a name counts. The limit is only shown: the test asserts it."""
        self._told[what] = Figure(what, value, unit, limit)

    def lines(self) -> list[str]:
        return [str(figure) for figure in self._told.values()]

    def packed(self) -> list[tuple[str, float, str, float | None]]:
        return [(figure.what, figure.value, figure.unit, figure.limit) for figure in self._told.values()]

    def join(self, packed: Iterable[tuple[str, float, str, float | None]]) -> None:
        for what, value, unit, limit in packed:
            self.tell(what, value, unit, limit=limit)


FIGURES: Final = Figures()  # of this run of pytest
