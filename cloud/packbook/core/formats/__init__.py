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
