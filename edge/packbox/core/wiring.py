"""Which of the box's buses is which bus of the car.

In:  what `core.detect` recognised. Out: `Wiring`, asked by `core.decode` before an id is believed.
The same id may mean something else on another bus (595 of a Kona: facts/vehicles.md 5), so what stands in a profile for
one bus is not read from another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Wiring:
    """`homes`: bus of the profile -> number of the box's bus. A bus that was not recognised has no home."""

    homes: Mapping[str, int] = field(default_factory=dict)
    copies: frozenset[tuple[int, int]] = frozenset()  # (bus number, key): at home never seen, a gateway repeats it here

    def carries(self, bus: int, key: int, profile_bus: str) -> bool:
        """Whether this id on this bus is the one that the profile means."""
        home = self.homes.get(profile_bus)
        return home is None or home == bus or (bus, key) in self.copies
