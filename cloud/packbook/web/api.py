"""The JSON API: the history as programs read it, figures unrounded, each with the record it came from.

In:  GET requests and the `Histories` of `app.state`.
Out: models of `web.models`, with an ETag so that polling an unchanged history costs nothing.
An unknown battery is a 404; nothing here changes anything.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from fastapi import Depends, HTTPException, Path, Query, Request, Response

from packbook.core.forecast import PRIOR, AgeingModel
from packbook.core.history import Battery
from packbook.core.prospect import Lacking, Prospect, forecast_of
from packbook.ports.histories import Histories
from packbook.ports.trust import Evidence
from packbook.web import models, problems
from packbook.web.access import access_of, histories, note_history, note_list, who_of
from packbook.web.current import VARY, asked_tags, kept_in, require_change, tag_of, version_of

PART_MAX: Final = 500  # of any list: about 300 kB of JSON; programs page on from there
SESSIONS_MAX: Final = PART_MAX
OFFSET_MAX: Final = 10_000_000  # beyond any real history, within any database's integers

BATTERY_MAX: Final = 64
NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f]+$"  # nothing that calls itself so can be in a book

BUNDLE_TYPE: Final = "application/vnd.packbook.bundle+cose"

JSON: Final = "application/json"

Kind = Literal["charge", "drive", "rest"]
Links = dict[str, str]
ItemT = TypeVar("ItemT")


def evidence(request: Request) -> Evidence:
    signing: Evidence | None = request.app.state.evidence
    if signing is None:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "this book has no signing key at hand")
    return signing


Book = Annotated[Histories, Depends(histories)]
Signing = Annotated[Evidence, Depends(evidence)]
BatteryPath = Annotated[
    str,
    Path(
        description="Id of the battery, as /api/v1/batteries lists it",
        max_length=BATTERY_MAX,
        pattern=NO_CONTROLS,
        examples=["leaf-24-0001"],
    ),
]
KindFilter = Annotated[Kind | None, Query(description="Only this kind of session; none: all kinds")]


class Window(NamedTuple):
    """A part of a list."""

    limit: int
    offset: int

    @property
    def one_more(self) -> int:
        """To ask the book for: whether others follow is seen by it."""
        return self.limit + 1


def window(
    limit: Annotated[int, Query(ge=1, le=PART_MAX, description="At most this many")] = 100,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX, description="Leave out this many of the first")] = 0,
) -> Window:
    return Window(limit, offset)


Part = Annotated[Window, Depends(window)]


async def known_battery(request: Request, battery: BatteryPath, book: Book) -> Battery:
    """Reading on is put on record here, and by names, for every resource of a battery's own life."""
    await known_name(request, battery, book)
    found = await kept_in(request).part(("head", battery, version_of(request)), partial(book.battery, battery))
    if found is None:
        raise _unknown(battery)
    return found


async def known_name(request: Request, battery: BatteryPath, book: Book) -> str:
    """For what stands beside the head, and changes with the history alone."""
    version = await book.version(battery)
    if version is None:
        raise _unknown(battery)
    await note_history(request, battery, "api", request.scope["route"].name)
    require_change(request, version)
    return battery


async def noted_name(request: Request, battery: BatteryPath, book: Book) -> str:
    """For what changes without the history."""
    if not await book.has(battery):
        raise _unknown(battery)
    await note_history(request, battery, "api", request.scope["route"].name)
    return battery


def _unknown(battery: str) -> HTTPException:
    return HTTPException(HTTPStatus.NOT_FOUND, f"no battery {battery!r} is in this book")


Known = Annotated[Battery, Depends(known_battery)]
Named = Annotated[str, Depends(known_name)]
Noted = Annotated[str, Depends(noted_name)]


def reply(request: Request, answer: models.Answer, links: Mapping[str, str] | None = None) -> Response:
    """The answer as JSON, or 304 if the asker already has it. Shared caches keep nothing: histories are private."""
    headers = {"Cache-Control": "private, no-cache", "Vary": VARY} | dict(links or {})
    return tagged(request, answer.model_dump_json().encode(), JSON, headers)


def tagged(request: Request, body: bytes, media_type: str, headers: Mapping[str, str]) -> Response:
    """With the ETag of what it was made of, or else of its bytes; or 304."""
    tag = tag_of(request) or f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = {**headers, "ETag": f"W/{tag}"}
    asked = asked_tags(request)
    if tag in asked or "*" in asked:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def paged(request: Request, part: Window, found: Sequence[ItemT]) -> tuple[Sequence[ItemT], dict[str, Any], Links]:
    """The part asked for, its place as fields of the answer, and as a `Link` (RFC 8288): next, prev and first."""
    more = len(found) > part.limit
    following = part.offset + part.limit if more and part.offset + part.limit <= OFFSET_MAX else None
    places = {"next": following}
    if part.offset > 0:
        places |= {"prev": max(0, part.offset - part.limit), "first": 0}
    links = [
        f'<?{request.url.include_query_params(limit=part.limit, offset=place).query}>; rel="{rel}"'
        for rel, place in places.items()
        if place is not None
    ]
    fields = {"limit": part.limit, "offset": part.offset, "next_offset": following}
    return found[: part.limit], fields, {"Link": ", ".join(links)} if links else {}


async def batteries(request: Request, book: Book, part: Part) -> Response:
    found = await book.batteries(part.one_more, part.offset)
    shown, place, links = paged(request, part, found)
    await note_list(request, [battery.battery for battery in shown], "api", "batteries")
    return reply(request, models.BatteriesOut.model_validate({"batteries": shown, **place}), links)


async def battery(request: Request, known: Known) -> Response:
    return reply(request, models.BatteryOut.model_validate(known))


async def soh(request: Request, named: Named, book: Book, part: Part) -> Response:
    points = await book.soh_series(named, part.one_more, part.offset)
    shown, place, links = paged(request, part, points)
    answer = {"battery": named, "points": shown, **place}
    return reply(request, models.SohSeriesOut.model_validate(answer), links)


async def ageing_model(book: Histories, battery: Battery) -> AgeingModel:
    """What the book learned of this pack; the published prior for a pack unknown or rare."""
    learned = None if battery.pack is None else await book.fleet_model(battery.pack)
    return PRIOR if learned is None else learned.model


async def prospect_of(request: Request, book: Histories, battery: Battery) -> Prospect | Lacking:
    """What comes next, and what may be promised; nothing while the history is in dispute."""

    async def make() -> Prospect | Lacking:
        series, events = await book.soh_series(battery.battery), await book.events(battery.battery, SESSIONS_MAX)
        return forecast_of(series, events, model=await ageing_model(book, battery))

    if battery.doubts:
        return Lacking.DISPUTED
    return await kept_in(request).part(("prospect", battery.battery, version_of(request)), make)


async def forecast(request: Request, known: Known, book: Book) -> Response:
    found = await prospect_of(request, book, known)
    lacking = isinstance(found, Lacking)
    answer = {"battery": known.battery, "why": found if lacking else None, "forecast": None if lacking else found}
    return reply(request, models.ForecastOut.model_validate(answer))


async def sessions(request: Request, named: Named, book: Book, part: Part, kind: KindFilter = None) -> Response:
    rows = await book.sessions(named, kind, part.one_more, part.offset)
    shown, place, links = paged(request, part, rows)
    answer = {"battery": named, "kind": kind, "sessions": shown, **place}
    return reply(request, models.SessionsOut.model_validate(answer), links)


async def cells(request: Request, named: Named, book: Book, part: Part) -> Response:
    points = await book.cells(named, part.one_more, part.offset)
    shown, place, links = paged(request, part, points)
    return reply(request, models.CellsSeriesOut.model_validate({"battery": named, "points": shown, **place}), links)


async def usage(request: Request, named: Named, book: Book) -> Response:
    totals = await book.usage(named)
    if totals is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no usage of battery {named!r} has arrived yet")
    return reply(request, models.UsageOut.of(named, totals))


async def events(request: Request, named: Named, book: Book, part: Part) -> Response:
    rows = await book.events(named, part.one_more, part.offset)
    shown, place, links = paged(request, part, rows)
    return reply(request, models.EventsOut.model_validate({"battery": named, "events": shown, **place}), links)


async def reads(request: Request, named: Noted, part: Part) -> Response:
    found = await access_of(request).gate.reads(named, part.one_more, part.offset)
    shown, place, links = paged(request, part, found)
    told = tuple(models.ReadOut.of(read) for read in shown)
    return reply(request, models.ReadsOut(battery=named, reads=told, **place), links)


async def bundle(request: Request, named: Noted, signing: Signing) -> Response:
    data = await signing.bundle(named)
    if data is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no records of battery {named!r} can be exported yet")
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name(named)}.packbook"',
        "Cache-Control": "private, no-cache",
        "Vary": VARY,
    }
    return tagged(request, data, BUNDLE_TYPE, headers)


def file_name(battery: str) -> str:
    """Batteries name themselves; a header takes less than they may say."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in battery)


async def checkpoints(
    request: Request,
    signing: Signing,
    part: Part,
    battery: Annotated[
        str | None,
        Query(description="Only stores that watched this battery last", max_length=BATTERY_MAX, pattern=NO_CONTROLS),
    ] = None,
) -> Response:
    points = await signing.checkpoints(battery, who_of(request).reach, part.one_more, part.offset)
    shown, place, links = paged(request, part, points)
    return reply(request, models.CheckpointsOut.of(signing.book_key, shown, place), links)


async def boxes(request: Request, book: Book, part: Part) -> Response:
    shown, place, links = paged(request, part, await book.boxes(part.one_more, part.offset))
    return reply(request, models.BoxesOut.model_validate({"boxes": shown, **place}), links)


async def quarantine(request: Request, book: Book) -> Response:
    newest = await book.quarantine(SESSIONS_MAX + 1)
    counted = newest[:SESSIONS_MAX]
    answer = models.QuarantineOut(
        counted=len(counted),
        complete=len(newest) <= SESSIONS_MAX,
        reasons=dict(Counter(message.reason for message in counted).most_common()),
        newest_ms=counted[0].received_ms if counted else None,
    )
    return reply(request, answer)


async def problem_kinds(request: Request) -> Response:
    kinds = tuple(_kind_out(status) for status in problems.PROBLEMS)
    return reply(request, models.ProblemKindsOut(problems=kinds))


async def problem_kind(
    request: Request,
    name: Annotated[str, Path(description="Last part of a problem document's `type`", examples=["not-found"])],
) -> Response:
    status = problems.BY_NAME.get(name)
    if status is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no kind of problem {name!r}")
    return reply(request, _kind_out(status))


def _kind_out(status: int) -> models.ProblemKindOut:
    kind = problems.PROBLEMS[status]
    return models.ProblemKindOut(
        type=problems.problem_type(status), status=status, title=kind.title, meaning=kind.meaning
    )
