"""Pages for readers without an account: a share link, and whatever stands on a battery's label.

In:  `/s/{token}`, `/id/{name}`, a GS1 path, or a token as a program sends it.
Out: what that reader may see of the battery, as a page, as the record or in a format of it.
Without a link or a role an identifier leads to model data alone, with word of what else there is and who may ask.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from fastapi import HTTPException, Request, Response

from packbook.core.access import Cut, Reader
from packbook.core.accounts import May
from packbook.core.formats.sheet.code import code_of
from packbook.core.identifiers import asked_key
from packbook.ports.passports import PLAIN, Manner
from packbook.ports.trouble import NotMade
from packbook.web import access as door
from packbook.web import passport_page
from packbook.web.access import PRIVATE, private
from packbook.web.api import BatteryPath
from packbook.web.render import render, words_for
from packbook.web.verify import panel_of

PUBLIC: Final = Reader("public")
RECORD: Final = "neutral"  # the format that is the record itself
SHEET: Final = "sheet"  # the format for people, with a button of its own
JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
MEDIA: Final = {"json": JSON, "csv": "text/csv; charset=utf-8", "pdf": "application/pdf"}  # by the end of a suffix
ID_PREFIX: Final = "/id/"


async def share(request: Request) -> Response:
    """The page behind a share link."""
    digest, link = await door.find_link(request, request.path_params["token"])
    cut = await _cut(request, link.battery, link.reader)
    await door.open_link(request, digest, link, cut, "page")
    exports = door.access_of(request).exports.suffixes
    return private(
        render(
            request,
            "passport.html",
            page=passport_page.build(words_for(request), cut),
            passport=cut.passport,
            link=link,
            here=request.url.path.rstrip("/"),
            formats=[name for name in exports if link.formats is None or name in link.formats],
            code=code_of(cut.passport),
            panel=panel_of(request),
        )
    )


async def share_file(request: Request) -> Response:
    """The same in a format, to take away."""
    digest, link = await door.find_link(request, request.path_params["token"])
    name = request.path_params["format"]
    if link.formats is not None and name not in link.formats:
        raise HTTPException(HTTPStatus.NOT_FOUND, headers=PRIVATE)
    cut = await _cut(request, link.battery, link.reader)
    manner = Manner(words_for(request).language, request.url.path.rstrip("/").rpartition("/")[0])
    answer = await export_of(request, cut, name, manner)
    await door.open_link(request, digest, link, cut, name)
    return answer


async def identifier(request: Request) -> Response:
    """Whatever a label says: GS1 path, identification link, DID, the id in this book."""
    asked = _asked(request)
    key = asked_key(asked)
    book = door.whole_book(request)
    battery = None if key is None else await door.access_of(request).gate.named(key)
    if battery is None and await book.battery(asked) is not None:
        battery = asked
    if battery is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no battery of this book goes by that name")
    return await _resolved(request, battery)


async def api_passport(request: Request, battery: BatteryPath) -> Response:
    """The record as this reader may see it: by a share link's token, or by the role he has here."""
    return await _record(request, battery, "api")


async def _resolved(request: Request, battery: str) -> Response:
    """People get a page, programs the record; with a link's token, what the link opens."""
    if door.bearer(request) is not None:
        return await _record(request, battery, "api")
    cut = await _cut(request, battery, PUBLIC)
    if _wants_json(request):
        return await export_of(request, cut, RECORD)
    page = passport_page.build(words_for(request), cut)
    return render(request, "passport.html", page=page, passport=cut.passport, link=None, here="", formats=[], code="")


async def _record(request: Request, battery: str, where: str) -> Response:
    access, token = door.access_of(request), door.bearer(request)
    if token is None:
        reader = door.require(request, May.READ_BATTERY).reader
        cut = await own_cut(request, battery)
        answer = await export_of(request, cut, RECORD)
        await access.trail.note(door.read_of(access, cut, reader, where, RECORD))
        return private(answer)
    digest, link = await door.find_link(request, token)
    if link.battery != battery or (link.formats is not None and RECORD not in link.formats):
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such link", headers=PRIVATE)
    cut = await _cut(request, battery, link.reader)
    answer = await export_of(request, cut, RECORD)
    await door.open_link(request, digest, link, cut, RECORD)
    return private(answer)


async def own_cut(request: Request, battery: str) -> Cut:
    """For whoever signed in: of a battery within his reach."""
    if await door.histories(request).battery(battery) is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no battery {battery!r} is in this book")
    return await _cut(request, battery, door.who_of(request).reader)


async def _cut(request: Request, battery: str, reader: Reader) -> Cut:
    cut = await door.cut_for(request, battery, reader)
    if cut is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no battery {battery!r} is in this book")
    return cut


async def export_of(request: Request, cut: Cut, name: str, manner: Manner = PLAIN) -> Response:
    exports = door.access_of(request).exports
    suffix = exports.suffixes.get(name)
    if suffix is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no format {name!r}", headers=PRIVATE)
    try:
        data = await exports.make(name, cut.passport, manner)
    except NotMade as problem:
        raise HTTPException(HTTPStatus.CONFLICT, str(problem), headers=PRIVATE) from problem
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in cut.passport.battery)
    headers = {} if name == RECORD else {"Content-Disposition": f'attachment; filename="{safe}{suffix}"'}
    return private(Response(data, media_type=MEDIA.get(suffix.rpartition(".")[2], BYTES), headers=headers))


def _asked(request: Request) -> str:
    """As it was spelled: in a GS1 path an encoded slash belongs to the serial, so the undecoded path is read."""
    raw = request.scope.get("raw_path", b"").partition(b"?")[0].decode("ascii", "replace")
    path = raw.removeprefix(ID_PREFIX) if raw.startswith(ID_PREFIX) else raw
    return path if path.lstrip("/").startswith(("01/", "8004/")) else unquote(path)


def _wants_json(request: Request) -> bool:
    accepted = [part.partition(";")[0].strip() for part in request.headers.get("accept", "").split(",")]
    return JSON in accepted and "text/html" not in accepted
