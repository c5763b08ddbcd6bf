"""What programs have the book do, and the lists they do it from: alerts, share links, codes, fleets of boxes.

In:  JSON with exactly the fields of a model here; the ports behind the operator's pages and the gate to share links.
Out: what stands afterwards, kept by no cache; by the same acts as the pages' forms, put down to the key's login.
409 where what is asked for does not go with what is there; then nothing was done.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from packbook.clock import now_ms
from packbook.core.alerts import OPEN, AlertQuery, State
from packbook.core.fleet_papers import CodeLine
from packbook.core.share import ID_DIGITS, NOTE_MAX, READS_MAX, TOKEN_BYTES, Link, token_digest, unfit
from packbook.web.access import access_of, doer_of, link_address
from packbook.web.api import BATTERY_MAX, JSON, NO_CONTROLS, Noted, Part, paged, reply
from packbook.web.fleet.room import WHY_MAX, fleet_of, reach_of
from packbook.web.models import Answer, AtMs, PartOut

CODES_MAX: Final = 480  # as on the page
CODE_DAYS_MAX: Final = 365
LINK_DAYS_MAX: Final = 90
NAMES_MAX: Final = 200  # of fields or formats in one link
NUMBER_MAX: Final = 2**53  # what any reader of JSON counts to
DAY_MS: Final = 86_400_000
TEXT: Final = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"  # something can be read in it
FLEET: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
NO_SUCH_FLEET: Final = "no such fleet; a new one is begun with its first code, by who sees the whole book"

Name = Annotated[str, Field(max_length=BATTERY_MAX, pattern=NO_CONTROLS)]
Why = Annotated[str, Field(max_length=WHY_MAX, pattern=TEXT, description="Written down with who did it")]
FleetName = Annotated[str, Field(pattern=FLEET, description="Letters, digits, dot, dash and underscore")]
ToldMs = Annotated[int, Field(description="UTC milliseconds since 1970")]


class Wish(BaseModel):
    """Nothing is guessed: another type, or a field that is none of these, is refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


# --- alerts --------------------------------------------------------------------------------------------------------


class AlertOut(Answer):
    id: int
    kind: str = Field(description="box_silent, rapid_fade, ...: docs/alerts.md has all")
    severity: str = Field(description="info, warning or critical")
    state: str = Field(description="raised, acknowledged or cleared")
    subject: str = Field(description="What it is about, unlike all others of its kind")
    figure: float = Field(description="When it was raised, in the unit of the rule's limits")
    box: str | None
    store: str | None
    battery: str | None
    detail: dict[str, str | int | float | None] = Field(description="What its words are made of")
    since_ms: AtMs
    raised_ms: AtMs
    acknowledged_ms: AtMs
    acknowledged_by: str | None
    note: str | None = Field(description="What who took it on said")
    cleared_ms: AtMs


class AlertsOut(PartOut):
    alerts: tuple[AlertOut, ...] = Field(description="Newest first")


class AcknowledgeIn(Wish):
    note: Why = Field(examples=["I call the depot"])


async def alerts(
    request: Request,
    part: Part,
    state: Annotated[
        Literal["raised", "acknowledged", "cleared"] | None, Query(description="None: raised and acknowledged")
    ] = None,
    box: Annotated[
        str | None, Query(description="Only of this box", max_length=BATTERY_MAX, pattern=NO_CONTROLS)
    ] = None,
    battery: Annotated[
        str | None, Query(description="Only of this battery", max_length=BATTERY_MAX, pattern=NO_CONTROLS)
    ] = None,
) -> Response:
    states = OPEN if state is None else (State(state),)
    query = AlertQuery(states, box=box, battery=battery, limit=part.one_more, offset=part.offset)
    found = await fleet_of(request).alerts.list(reach_of(request), query)
    shown, place, links = paged(request, part, found)
    return reply(request, AlertsOut.model_validate({"alerts": shown, **place}), links)


async def acknowledge(
    request: Request,
    wish: AcknowledgeIn,
    number: Annotated[int, Path(description="The alert's, as the list tells it", ge=1, le=NUMBER_MAX, examples=[7])],
) -> Response:
    """Said again by the same one with the same note it is done already."""
    who = doer_of(request)
    alert = await fleet_of(request).alerts.acknowledge(number, who, wish.note, reach_of(request))
    if alert is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no alert {number}")
    if alert.state is not State.ACKNOWLEDGED:
        raise HTTPException(HTTPStatus.CONFLICT, f"alert {number} is {alert.state}: there is nothing to take on")
    if (alert.acknowledged_by, alert.note) != (who, wish.note):
        raise HTTPException(HTTPStatus.CONFLICT, f"alert {number} was taken on by {alert.acknowledged_by}")
    return _told(AlertOut.model_validate(alert))


# --- share links ---------------------------------------------------------------------------------------------------


class LinkOut(Answer):
    id: str = Field(description="Tells one link from another, and opens nothing")
    state: str = Field(description="opens, expired, revoked or used_up")
    role: str = Field(description="As whom its holder reads")
    purpose: str | None = Field(description="Of a legitimate interest")
    fields: list[str] | None = Field(description="Null: all that the role may see")
    formats: list[str] | None = Field(description="Null: all of them")
    note: str
    made_ms: ToldMs
    made_by: str
    expires_ms: ToldMs
    reads_max: int | None = Field(description="Null: as often as wanted")
    reads: int

    @classmethod
    def of(cls, link: Link) -> LinkOut:
        return cls(**_link_fields(link))


class LinksOut(PartOut):
    battery: str
    links: tuple[LinkOut, ...] = Field(description="Newest first, those that ended too")


class LinkMadeOut(LinkOut):
    address: str = Field(description="Whoever has it may look. It stands in this answer, and nowhere else")


class LinkIn(Wish):
    role: Name = Field(description="As docs/access.md lists them", examples=["buyer"])
    purpose: Name | None = Field(None, description="Of a legitimate interest: the role is then `interest`")
    days: int = Field(ge=1, le=LINK_DAYS_MAX, description="How long it opens", examples=[14])
    reads_max: int | None = Field(None, ge=1, le=READS_MAX, description="Null: as often as wanted")
    fields: list[Name] | None = Field(None, max_length=NAMES_MAX, description="Null: all that the role may see")
    formats: list[Name] | None = Field(None, max_length=NAMES_MAX, description="Null: all of them")
    note: str = Field(
        "", max_length=NOTE_MAX, pattern=r"^[^\x00-\x1f\x7f]*$", description="For whom", examples=["the yard"]
    )

    def link(self, battery: str, token: str, who: str) -> Link:
        """Of this token. Fields that the role may not see make it unfit, and are not left out."""
        digest, now = token_digest(token), now_ms()
        assert digest is not None  # of a token that we made
        fields, formats = (None if some is None else tuple(sorted(set(some))) for some in (self.fields, self.formats))
        until = now + self.days * DAY_MS
        return Link(
            digest, battery, self.role, self.purpose, fields, formats, self.note, now, who, until, self.reads_max
        )


async def links(request: Request, named: Noted, part: Part) -> Response:
    made = await access_of(request).gate.links_of(named)
    shown, place, headers = paged(request, part, made[part.offset : part.offset + part.one_more])
    return reply(request, LinksOut(battery=named, links=tuple(map(LinkOut.of, shown)), **place), headers)


async def make_link(request: Request, named: Noted, wish: LinkIn) -> Response:
    access, token = access_of(request), secrets.token_urlsafe(TOKEN_BYTES)
    link = wish.link(named, token, doer_of(request))
    why_not = unfit(access.table, link, access.exports.suffixes)
    if why_not is not None:
        raise HTTPException(HTTPStatus.CONFLICT, why_not)
    await access.gate.keep_link(link)
    return _told(LinkMadeOut(**_link_fields(link), address=link_address(request, token)), 201)


async def revoke_link(
    request: Request,
    named: Noted,
    link: Annotated[str, Path(description="Its id", pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$", examples=["0" * ID_DIGITS])],
) -> Response:
    """One that ended already stays as it is."""
    gate = access_of(request).gate
    found = next((one for one in await gate.links_of(named) if one.id == link), None)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"battery {named!r} has no link {link}")
    if found.revoked_ms is None:
        await gate.revoke_link(named, link)
        found = next(one for one in await gate.links_of(named) if one.id == link)
    return _told(LinkOut.of(found))


def _link_fields(link: Link) -> dict[str, Any]:
    ended = link.ended(now_ms())
    same = ("id", "role", "purpose", "note", "made_ms", "made_by", "expires_ms", "reads_max", "reads")
    lists = {name: None if some is None else list(some) for name, some in _chosen(link).items()}
    return {name: getattr(link, name) for name in same} | lists | {"state": str(ended) if ended else "opens"}


def _chosen(link: Link) -> dict[str, tuple[str, ...] | None]:
    return {"fields": link.fields, "formats": link.formats}


# --- boxes ---------------------------------------------------------------------------------------------------------


class CodeOut(Answer):
    digest: str = Field(description="Tells one code from another, and enrols nothing")
    state: str = Field(description="open, used or expired")
    fleet: str
    made_ms: ToldMs
    expires_ms: ToldMs
    replaces: str | None = Field(description="The box whose place the new one takes")
    used_ms: AtMs
    used_by: str | None


class CodesOut(PartOut):
    codes: tuple[CodeOut, ...] = Field(description="Newest first")


class LabelOut(Answer):
    code: str = Field(description="Opens once")
    url: str = Field(description="Where the box enrols")
    fingerprint: str = Field(description="Of the authority's root certificate: SHA-256, hexadecimal")
    fleet: str
    expires_ms: ToldMs


class CodesMadeOut(Answer):
    """They stand in this answer, and nowhere else: the book keeps their digests."""

    labels: list[LabelOut]


class CodesIn(Wish):
    count: int = Field(1, ge=1, le=CODES_MAX, examples=[1])
    fleet: FleetName = Field(examples=["vans-north"])
    days: int = Field(30, ge=1, le=CODE_DAYS_MAX, description="How long they open", examples=[30])
    replaces: Name | None = Field(None, description="A box whose place the new one takes; then one code")


class BoxFleetIn(Wish):
    fleet: FleetName = Field(examples=["vans-south"])
    why: Why = Field(examples=["sold to the southern branch"])


class BoxFleetOut(Answer):
    box: str
    fleet: str


async def codes(request: Request, part: Part) -> Response:
    found = await fleet_of(request).boxes.codes(reach_of(request), part.one_more, part.offset)
    shown, place, headers = paged(request, part, found)
    return reply(request, CodesOut(codes=tuple(map(_code_out, shown)), **place), headers)


async def make_codes(request: Request, wish: CodesIn) -> Response:
    """Whoever sees the whole book may begin a fleet; all others name one that they see."""
    fleet, reach = fleet_of(request), reach_of(request)
    if fleet.desk.why_no_codes is not None:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, f"{fleet.desk.why_no_codes}: no codes can be made here")
    if reach.tenant is not None and wish.fleet not in await fleet.boxes.fleets(reach):
        raise HTTPException(HTTPStatus.CONFLICT, NO_SUCH_FLEET)
    if wish.replaces is not None:
        if wish.count != 1:
            raise HTTPException(HTTPStatus.CONFLICT, "one code for one box: a box is replaced by one")
        life = await fleet.boxes.one(reach, wish.replaces)
        if life is None or life.enrolled is None:
            raise HTTPException(HTTPStatus.CONFLICT, f"replaces: no box {wish.replaces!r} is enrolled here")
    labels = await fleet.desk.new_codes(wish.count, wish.fleet, wish.days, wish.replaces, doer_of(request))
    return _told(CodesMadeOut(labels=[LabelOut.model_validate(label) for label in labels]), 201)


async def set_fleet(
    request: Request,
    wish: BoxFleetIn,
    box: Annotated[str, Path(description="The box's name", max_length=BATTERY_MAX, pattern=NO_CONTROLS)],
) -> Response:
    """Into another fleet that who asks sees. One that is there already stays there."""
    fleet, reach = fleet_of(request), reach_of(request)
    life = await fleet.boxes.one(reach, box)
    if life is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no box {box!r} is in this book")
    if life.enrolled is None:
        raise HTTPException(
            HTTPStatus.CONFLICT, f"box {box} is not enrolled: 'packbook box adopt' puts it into a fleet"
        )
    if wish.fleet not in await fleet.boxes.fleets(reach):
        raise HTTPException(HTTPStatus.CONFLICT, NO_SUCH_FLEET)
    if life.enrolled.fleet != wish.fleet:
        arguments = {"box": box, "fleet": wish.fleet, "why": wish.why, "who": doer_of(request)}
        await fleet.desk.do("box.transfer", arguments)
    return _told(BoxFleetOut(box=box, fleet=wish.fleet))


def _code_out(code: CodeLine) -> CodeOut:
    return CodeOut(
        digest=code.digest,
        state=code.state(now_ms()),
        fleet=code.fleet,
        made_ms=code.made_ms,
        expires_ms=code.expires_ms,
        replaces=code.replaces,
        used_ms=code.used_ms,
        used_by=code.used_by,
    )


def _told(answer: Answer, status: int = 200) -> Response:
    """What an act came to. Some of it stands nowhere else, so no cache has it."""
    return Response(answer.model_dump_json(), status, media_type=JSON, headers={"Cache-Control": "no-store"})
