"""Nothing is made twice: an answer that the asker has is not made at all, a part that many ask for is made once.

In:  the version of a battery's history (`Histories.version`); who asks, for what, in which language.
Out: an ETag, and 304 where the asker shows it; parts of answers kept by version, a bounded number of them.
This comes after the door and after the read was put on record: who may no longer read gets no 304 either. A tag stands
for everything that an answer depends on, its reader too. What is kept must be the same for every reader: it is a
history's own, and of the reader it may know the language alone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, TypeVar, cast

from fastapi import Request, Response

from packbook.web.access import who_of
from packbook.web.session import form_secret

VARY: Final = "Accept-Language, Authorization, Cookie"  # the same address answers each with what he may see
KEPT_MAX: Final = 512  # parts of at most some 50 kB: 25 MB

ValueT = TypeVar("ValueT")


class Unchanged(Exception):
    """The asker has this answer."""


class Kept:
    """Parts by what they are made of; the one that was longest not asked for goes first."""

    def __init__(self, most: int = KEPT_MAX) -> None:
        self.edition = secrets.token_hex(8)  # another process may be of another version, with other words
        self._most = most
        self._parts: OrderedDict[Hashable, object] = OrderedDict()

    def __len__(self) -> int:
        return len(self._parts)

    async def part(self, of: tuple[Hashable, ...], make: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """`of`: everything that `make` depends on, with a name of its own. Two at once both make it."""
        if of in self._parts:
            self._parts.move_to_end(of)
            return cast("ValueT", self._parts[of])
        made = await make()
        self._parts[of] = made
        while len(self._parts) > self._most:
            self._parts.popitem(last=False)
        return made


def kept_in(request: Request) -> Kept:
    kept: Kept = request.app.state.kept
    return kept


def require_change(request: Request, version: str, *of: Hashable) -> None:
    """Remember the answer's tag for whoever makes it. `of`: what it depends on beside address, reader and history.

    Raises Unchanged.
    """
    who = who_of(request)
    reader = (who.reader, who.account, who.name, who.role, who.key, who.reach.tenant, sorted(who.may))
    batteries = None if who.reach.batteries is None else sorted(who.reach.batteries)
    made_of = (kept_in(request).edition, version, str(request.url), reader, batteries, form_secret(request), of)
    request.state.version = version
    request.state.tag = f'"{hashlib.sha256(repr(made_of).encode()).hexdigest()[:24]}"'
    if request.state.tag in asked_tags(request):
        raise Unchanged


def asked_tags(request: Request) -> list[str]:
    """Those that the asker has. Ours are weak: a proxy may compress on the way."""
    return [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]


def version_of(request: Request) -> str:
    """Of the history that this request is about, after `require_change`."""
    version: str = request.state.version
    return version


def tag_of(request: Request) -> str | None:
    tag: str | None = getattr(request.state, "tag", None)
    return tag


async def on_unchanged(request: Request, _error: Exception) -> Response:
    headers = {"ETag": f"W/{tag_of(request)}", "Cache-Control": "private, no-cache", "Vary": VARY}
    return Response(status_code=304, headers=headers)
