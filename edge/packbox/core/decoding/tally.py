"""Count what is refused while a batch is worked on.

In:  names of the fields of `Refused`, and how many more.
Out: `Refused`.
"""

from __future__ import annotations

from packbox.core.signals import Refused


class Tally:
    """One batch's refusals by reason."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, reason: str, count: int) -> None:
        if count:
            self._counts[reason] = self._counts.get(reason, 0) + count

    def refused(self) -> Refused:
        return Refused(**self._counts)
