"""A tenant's wall around everything that is asked while it stands.

In:  whose wall.
Out: for a store that can, the rows of that tenant alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_wall: Final[ContextVar[str | None]] = ContextVar("tenant's wall", default=None)


@contextmanager
def walled(tenant: str | None) -> Iterator[None]:
    """While open, a store that can shows no rows of other tenants: a second wall behind `Histories.within`.

    Ambient on purpose: it is there for the query that forgot to ask. None: no wall.
    """
    before = _wall.set(tenant)
    try:
        yield
    finally:
        _wall.reset(before)


def walled_in() -> str | None:
    """Behind whose wall we are."""
    return _wall.get()
