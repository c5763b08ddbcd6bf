"""What all pages of one battery share: find it, put the read on record, gather sessions, answer with a file.

In:  a request whose path names a battery. Out: the battery, or a 404; reading it is put on record before it is shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Final

from fastapi import HTTPException, Request, Response
from markupsafe import Markup

from packbook.core.history import Battery, SessionRow
from packbook.ports.histories import Histories
from packbook.web.access import histories, note_history
from packbook.web.current import kept_in, require_change, version_of
from packbook.web.render import piece, words_for

CHUNK: Final = 500  # sessions asked of the store at once
SESSIONS_ON_PAGE: Final = 2000  # of a kind, the newest: calendars and weekly charts look back a year


async def unread_battery_of(request: Request, page: str) -> Battery:
    """For pages that change with the history alone: whoever has this one as it is now is told so by `Unchanged`."""
    name = request.path_params["battery"]
    book = histories(request)
    version = await book.version(name)
    if version is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    await note_history(request, name, "page", page)
    require_change(request, version, words_for(request).language)
    battery = await kept_in(request).part(("head", name, version), partial(book.battery, name))
    if battery is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return battery


async def kept_room(request: Request, template: str, make: Callable[[], Awaitable[Mapping[str, object]]]) -> Markup:
    """The page's own part, made once for all who read it in this language. `make`: the template's values."""
    t = words_for(request)

    async def room() -> Markup:
        return piece(t, template, **await make())

    of = (template, request.path_params["battery"], version_of(request), t.language)
    return await kept_in(request).part(of, room)


async def battery_of(request: Request, page: str) -> Battery:
    """`page`: as it stands in the record of reads."""
    battery = await histories(request).battery(request.path_params["battery"])
    if battery is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    await note_history(request, battery.battery, "page", page)
    return battery


async def all_sessions(
    book: Histories, battery: str, kind: str | None, most: int | None, *, since_ms: int | None = None
) -> list[SessionRow]:
    """Newest first, chunk by chunk. Records that arrive meanwhile shift the chunks: a row seen twice counts once."""
    found: dict[object, SessionRow] = {}
    offset = 0
    while most is None or len(found) < most:
        rows = await book.sessions(battery, kind, CHUNK, offset, since_ms=since_ms)
        found |= {row.provenance: row for row in rows}
        offset += CHUNK
        if len(rows) < CHUNK:
            break
    return list(found.values())[:most]


def file_name(text: str) -> str:
    """Batteries name themselves; a header takes no other letters."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in text)


def download(data: str | bytes, name: str, media_type: str = "text/csv; charset=utf-8") -> Response:
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name(name)}"',
        "Cache-Control": "private, no-cache",
    }
    return Response(data, media_type=media_type, headers=headers)
