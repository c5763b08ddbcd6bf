"""What a route is: address, method, who may come in. Every route of pages and API is one of these, in `web.app`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from packbook.core.accounts import May


class Page(NamedTuple):
    """For people. `may`: checked before the endpoint runs, against who asks (`web.access`)."""

    path: str
    endpoint: Callable[..., Any]
    may: May = May.ANYBODY
    method: str = "GET"
