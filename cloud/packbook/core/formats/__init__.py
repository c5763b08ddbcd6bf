"""Views of the neutral record in the shapes others ask for, one module a format, none knowing another.

A format has `SUFFIX` and a function that takes a `Passport` (already cut down to what its reader may see) and the
mapping of the format's version, and gives a `Made`. Nothing here reads files, clocks or stores.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A field of the record that the format has no place for, or a place that the record cannot fill."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Made:
    data: bytes
    left_out: tuple[LeftOut, ...]


class CannotMake(Exception):
    """The record lacks what this format cannot be without. Nothing was made; the message names each place and why."""

    def __init__(self, form: str, missing: tuple[LeftOut, ...]) -> None:
        super().__init__(f"{form}: " + "; ".join(f"{place.name}: {place.reason}" for place in missing))
        self.missing = missing
