"""The life of a battery in law, as data: which status may follow which, and what each step asks for.

In:  the rule file `lifecycle-*.toml`, a status before and after. Out: whether the step is allowed, or why not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transition:
    before: str
    after: str
    new_passport: bool = False
    documents: int = 0  # at least so many must be named


@dataclass(frozen=True, slots=True)
class Recycled:
    """The end: who may say so, and which fields of the passport are kept."""

    status: str
    roles: tuple[str, ...]
    documents: int
    keeps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LifeCycle:
    family: str
    version: str
    source: str
    statuses: tuple[str, ...]
    roles: tuple[str, ...]
    recycled: Recycled
    transitions: tuple[Transition, ...]

    def step(self, before: str | None, after: str) -> Transition | None:
        """None: it is not allowed. `before` None: nothing was said so far, and any status may be where it begins."""
        if after not in self.statuses:
            return None
        if before in (None, after):
            return Transition(after, after)
        return next((one for one in self.transitions if (one.before, one.after) == (before, after)), None)

    def next_of(self, status: str) -> tuple[str, ...]:
        """What may follow, besides staying as it is."""
        return tuple(one.after for one in self.transitions if one.before == status)
