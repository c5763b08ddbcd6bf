"""Acts of operators about codes and boxes, by name: `operate` does them here or in the running book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import urlsplit

from packbook.adapters.authority import Authority
from packbook.adapters.enrolment import Desk, UnknownBox
from packbook.adapters.store import enrolment as shelf
from packbook.adapters.store.database import Database
from packbook.app.operate import Act, Office, OperateError
from packbook.clock import now_ms
from packbook.core.enrolment import BoxState, Code, EnrolledBox, Issued
from packbook.ports.trouble import SettingsError
from packbook.settings import SCHEMES, Settings


def make_desk(settings: Settings, database: Database, book_key: bytes | None = None) -> Desk:
    """`book_key`: told to boxes that enrol.

    Raises SettingsError without an authority of our own, AuthorityError when its files cannot be used.
    """
    if settings.ca == "external":
        raise SettingsError("ca = external: another authority gives and revokes certificates; do it there")
    if settings.ca_dir is None:
        raise SettingsError("ca_dir is not set: it names the folder that 'packbook ca init' made")
    authority = Authority(settings.ca_dir)
    return Desk(
        database, authority, now_ms, days=settings.certificate_days, addresses=told_to_boxes(settings, book_key)
    )


def told_to_boxes(settings: Settings, book_key: bytes | None = None) -> dict[str, object]:
    """What a box is told besides its certificate. None of it is a secret."""
    told: dict[str, object] = {}
    if settings.box_broker is not None:
        parts = urlsplit(settings.box_broker)
        told["broker"] = {"host": parts.hostname, "port": parts.port or SCHEMES[parts.scheme]}
    if settings.box_operator_key is not None:
        told["operator_key"] = settings.box_operator_key
    if book_key is not None:
        told["book_key"] = book_key.hex()
    return told


async def _keep_codes(office: Office, wish: Mapping[str, Any]) -> object:
    """`digests` (hex), `fleet`, `expires_ms`, `replaces`, `who`. The codes themselves stay with who made them."""
    now = now_ms()
    codes = [
        Code(bytes.fromhex(digest), wish["fleet"], now, wish["expires_ms"], wish.get("replaces"))
        for digest in wish["digests"]
    ]
    async with office.database.transaction() as connection:
        replaces = wish.get("replaces")
        if replaces is not None and await shelf.box_of(connection, replaces) is None:
            raise UnknownBox(f"box {replaces} is not enrolled here: it cannot be replaced")
        await shelf.add_codes(connection, codes)
        told = f"{len(codes)} for fleet {wish['fleet']}"
        await shelf.note(connection, "codes made", replaces, told, now, who=wish.get("who"), fleet=wish["fleet"])
    return len(codes)


async def _list_codes(office: Office, _wish: Mapping[str, Any]) -> object:
    async with office.database.transaction() as connection:
        return [_shown_code(code) for code in await shelf.codes(connection)]


async def _drop_codes(office: Office, wish: Mapping[str, Any]) -> object:
    """Of one `fleet`, or of all."""
    now, fleet = now_ms(), wish.get("fleet")
    async with office.database.transaction() as connection:
        dropped = await shelf.drop_codes(connection, now, fleet)
        await shelf.note(connection, "codes dropped", None, f"{dropped} unused", now, who=wish.get("who"), fleet=fleet)
    return dropped


async def _list_boxes(office: Office, _wish: Mapping[str, Any]) -> object:
    async with office.database.transaction() as connection:
        return [
            _shown_box(box, await shelf.newest_certificate(connection, box.box))
            for box in await shelf.boxes(connection)
        ]


async def _show_box(office: Office, wish: Mapping[str, Any]) -> object:
    async with office.database.transaction() as connection:
        box = await shelf.box_of(connection, wish["box"])
        if box is None:
            raise UnknownBox(f"box {wish['box']} is not enrolled here")
        newest = await shelf.newest_certificate(connection, box.box)
        return _shown_box(box, newest) | {"acts": await shelf.acts(connection, box.box)}


async def _set_state(office: Office, wish: Mapping[str, Any]) -> None:
    desk = make_desk(office.settings, office.database)
    await desk.set_state(wish["box"], BoxState(wish["state"]), wish["why"], wish.get("who"))


async def _transfer(office: Office, wish: Mapping[str, Any]) -> None:
    desk = make_desk(office.settings, office.database)
    await desk.transfer(wish["box"], wish["fleet"], wish["why"], wish.get("who"))


async def _adopt(office: Office, wish: Mapping[str, Any]) -> None:
    """A box that spoke without being enrolled is from now on one of that fleet's, by the key it is known with."""
    now, box = now_ms(), wish["box"]
    async with office.database.transaction() as connection:
        if await shelf.box_of(connection, box) is not None:
            raise OperateError(f"box {box} is enrolled already; 'packbook box transfer' moves it")
        key = await shelf.known_key(connection, box)
        if key is None:
            raise UnknownBox(f"box {box} never spoke here")
        await shelf.keep_box(connection, EnrolledBox(box, key, wish["fleet"], BoxState.ACTIVE, now, now, None))
        await shelf.note(connection, "adopted", box, f"into fleet {wish['fleet']}", now)


async def _note_sent(office: Office, wish: Mapping[str, Any]) -> None:
    """What was left at the broker for each of `boxes`: its page tells what was wanted beside what is in force."""
    now = now_ms()
    async with office.database.transaction() as connection:
        for box in wish["boxes"]:
            await shelf.note(connection, wish["act"], box, wish["detail"], now, who=wish["who"])


def _shown_code(code: Code) -> dict[str, Any]:
    """The digest tells one from another; it is of no use to anybody who finds it."""
    return asdict(code) | {"digest": code.digest.hex()[:16]}


def _shown_box(box: EnrolledBox, newest: Issued | None) -> dict[str, Any]:
    shown = asdict(box) | {"public_key": box.public_key.hex(), "state": str(box.state)}
    return shown | {
        "certificate": None
        if newest is None
        else {"serial": newest.serial, "until_ms": newest.until_ms, "revoked_ms": newest.revoked_ms}
    }


ACTS: Final[dict[str, Act]] = {
    "codes.keep": _keep_codes,
    "codes.list": _list_codes,
    "codes.drop": _drop_codes,
    "box.list": _list_boxes,
    "box.show": _show_box,
    "box.state": _set_state,
    "box.transfer": _transfer,
    "box.sent": _note_sent,
    "box.adopt": _adopt,
}
