"""Acts about tenants, accounts, sessions and keys, by name (see `app.operate`). Each goes on record as it is done.

Passwords, tokens and codes never come here: who asks sends hashes and digests.
Every wish says `who` does it, and from which `address` (keyed hash) where somebody came over the network.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import accounts as shelf
from packbook.adapters.store import tenants
from packbook.app.operate import Act, Office, OperateError
from packbook.clock import now_ms
from packbook.core.accounts import EVERYWHERE, Account, AccountAct, ExternalIdentity, Role
from packbook.core.sign_in import IDLE_MS

Wish = Mapping[str, Any]
ID_BYTES: Final = 8


async def _add(office: Office, wish: Wish) -> str:
    """`login`, `name`, `tenant`, `role`, `batteries`, and `password` (hash) or `invitation` (digest, `expires_ms`)."""
    now, name = now_ms(), secrets.token_hex(ID_BYTES)
    row = {key: wish[key] for key in ("login", "name", "tenant", "role", "password")}
    async with office.database.transaction() as connection:
        if await shelf.of_login(connection, wish["login"]) is not None:
            raise OperateError(f"{wish['login']}: there is such an account")
        if wish["tenant"] not in await shelf.tenants(connection):
            raise OperateError(f"there is no tenant {wish['tenant']}; 'packbook tenant add' makes one")
        await shelf.add(connection, {**row, "account": name, "made_ms": now}, wish["batteries"])
        if wish["invitation"] is not None:
            await shelf.invite(connection, name, bytes.fromhex(wish["invitation"]), wish["expires_ms"])
        await _note(connection, wish, "account made", name, f"{wish['login']}, {wish['role']}", wish["tenant"])
    return name


async def _invite(office: Office, wish: Wish) -> None:
    async with office.database.transaction() as connection:
        await shelf.invite(connection, wish["account"], bytes.fromhex(wish["invitation"]), wish["expires_ms"])
        await _note(connection, wish, "invited", wish["account"])


async def _password(office: Office, wish: Wish) -> bool:
    """False: the `invitation` it was to be set by was used meanwhile. All sessions but `here` end."""
    name = wish["account"]
    async with office.database.transaction() as connection:
        if wish["invitation"] is not None:
            found = await shelf.invited(connection, bytes.fromhex(wish["invitation"]), now_ms())
            if found is None or found.account != name:
                return False
        await shelf.change(connection, name, password=wish["password"])
        await shelf.uninvite(connection, name)
        await shelf.end(connection, name, but=_digest(wish["here"]))
        await _note(connection, wish, "password set", name)
    return True


async def _rehash(office: Office, wish: Wish) -> None:
    async with office.database.transaction() as connection:
        await shelf.change(connection, wish["account"], password=wish["password"])


async def _role(office: Office, wish: Wish) -> None:
    async with office.database.transaction() as connection:
        await _keep_an_admin(connection, wish["account"], Role(wish["role"]))
        await shelf.change(connection, wish["account"], role=wish["role"])
        await shelf.set_batteries(connection, wish["account"], wish["batteries"])
        detail = " ".join((wish["role"], *wish["batteries"]))
        await _note(connection, wish, "role set", wish["account"], detail)


async def _disable(office: Office, wish: Wish) -> None:
    async with office.database.transaction() as connection:
        if wish["disabled"]:
            await _keep_an_admin(connection, wish["account"], None)
            await shelf.end(connection, wish["account"])
            await shelf.uninvite(connection, wish["account"])
        await shelf.change(connection, wish["account"], disabled_ms=now_ms() if wish["disabled"] else None)
        await _note(connection, wish, "disabled" if wish["disabled"] else "enabled", wish["account"])


async def _language(office: Office, wish: Wish) -> None:
    async with office.database.transaction() as connection:
        await shelf.change(connection, wish["account"], language=wish["language"])


async def _totp(office: Office, wish: Wish) -> None:
    """`sealed` None: no second step from now on."""
    name, sealed = wish["account"], wish["sealed"]
    async with office.database.transaction() as connection:
        secret = None if sealed is None else bytes.fromhex(sealed)
        await shelf.change(connection, name, totp=secret, totp_step=wish["step"])
        await shelf.set_recovery(connection, name, [bytes.fromhex(digest) for digest in wish["recovery"]])
        await shelf.end(connection, name, but=_digest(wish["here"]))
        await _note(connection, wish, "second step off" if sealed is None else "second step on", name)


async def _begin(office: Office, wish: Wish) -> None:
    """A session by its fields; the one `before` it in the same browser ends."""
    now, name = now_ms(), wish["account"]
    async with office.database.transaction() as connection:
        await shelf.forget_ended(connection, now, IDLE_MS)
        before = _digest(wish["before"])
        if before is not None:
            await shelf.end_one(connection, before)
        await shelf.begin(connection, _session(wish, now))
        await _note(connection, wish, "password right" if wish["half"] else shelf.SIGNED_IN, name, wish["by"])


async def _whole(office: Office, wish: Wish) -> bool:
    """The half session `before` becomes a whole one, for a `step` or a `recovery` code that nobody used before."""
    now, name = now_ms(), wish["account"]
    async with office.database.transaction() as connection:
        if wish["step"] is not None:
            taken = await shelf.take_step(connection, name, wish["step"])
        else:
            taken = await shelf.take_recovery(connection, name, bytes.fromhex(wish["recovery"]))
        if not taken or not await shelf.end_one(connection, bytes.fromhex(wish["before"])):
            return False
        await shelf.begin(connection, _session(wish, now))
        how = "with a recovery code" if wish["step"] is None else "with a second step"
        await _note(connection, wish, shelf.SIGNED_IN, name, how)
    return True


async def _bind(office: Office, wish: Wish) -> None:
    """`issuer`, `subject` are this account's from now on. Without a `proven` password: an invited one's alone."""
    name = wish["account"]
    async with office.database.transaction() as connection:
        found = await shelf.of_id(connection, name)
        if found is None or found.disabled_ms is not None or (found.has_password and not wish["proven"]):
            raise OperateError("this account cannot be bound now")
        await _identify(connection, wish, name, mapped=False)


async def _map(office: Office, wish: Wish) -> str:
    """An account that a rule makes: `login`, `name`, `tenant`, `role`, and `issuer`, `subject` that it is known by."""
    now, name = now_ms(), secrets.token_hex(ID_BYTES)
    row = {key: wish[key] for key in ("login", "name", "tenant", "role")}
    async with office.database.transaction() as connection:
        if await shelf.of_login(connection, wish["login"]) is not None:
            raise OperateError(f"{wish['login']}: there is such an account")
        if wish["tenant"] not in await shelf.tenants(connection):
            raise OperateError(f"there is no tenant {wish['tenant']}; 'packbook tenant add' makes one")
        await shelf.add(connection, {**row, "password": None, "account": name, "made_ms": now}, ())
        await _note(connection, wish, "account made", name, f"{wish['login']}, {wish['role']}, by a rule")
        await _identify(connection, wish, name, mapped=True)
    return name


async def _follow(office: Office, wish: Wish) -> None:
    """The role that the rules give now. An admin was made by people, and is theirs to change."""
    async with office.database.transaction() as connection:
        found = await shelf.of_id(connection, wish["account"])
        if found is None or Role.ADMIN in (found.role, Role(wish["role"])):
            raise OperateError("rules neither make admins nor change them")
        await shelf.change(connection, wish["account"], role=wish["role"])
        await _note(connection, wish, "role set", wish["account"], f"{wish['role']}, by a rule")


async def _identify(connection: AsyncConnection, wish: Wish, name: str, *, mapped: bool) -> None:
    """One identity of an issuer for each account, one account for each identity."""
    issuer, subject = wish["issuer"], wish["subject"]
    taken = any(one.issuer == issuer for one in await shelf.identities_of(connection, name))
    if taken or await shelf.of_identity(connection, issuer, subject) is not None:
        raise OperateError("there is such an identity already")
    await shelf.add_identity(connection, name, ExternalIdentity(issuer, subject, now_ms(), mapped))
    await shelf.uninvite(connection, name)
    await _note(connection, wish, "identity bound", name, issuer)


async def _unbind(office: Office, wish: Wish) -> bool:
    """Whoever came in by it is out."""
    async with office.database.transaction() as connection:
        dropped = await shelf.drop_identities(connection, wish["account"], wish["issuer"])
        if dropped:
            await shelf.end(connection, wish["account"], but=_digest(wish["here"]))
            await _note(connection, wish, "identity unbound", wish["account"], wish["issuer"])
    return dropped


async def _touch(office: Office, wish: Wish) -> None:
    async with office.database.transaction() as connection:
        await shelf.touch(connection, bytes.fromhex(wish["digest"]), now_ms())


async def _end(office: Office, wish: Wish) -> int:
    """`only`: the session whose digest begins so; None: all, but `but`."""
    async with office.database.transaction() as connection:
        ended = await shelf.end(connection, wish["account"], only=wish["only"], but=_digest(wish["but"]))
        if ended:
            await _note(connection, wish, "signed out", wish["account"], f"{len(ended)} sessions")
    return len(ended)


async def _failed(office: Office, wish: Wish) -> None:
    async with office.database.transaction() as connection:
        await _note(connection, wish, "sign-in failed", wish["account"], wish["why"])


async def _new_key(office: Office, wish: Wish) -> None:
    columns = {key: wish[key] for key in ("prefix", "account", "note", "scopes", "expires_ms")}
    async with office.database.transaction() as connection:
        row = {**columns, "digest": bytes.fromhex(wish["digest"]), "made_ms": now_ms()}
        await shelf.add_key(connection, row)
        await _note(connection, wish, "key made", wish["account"], f"{wish['prefix']}: {wish['scopes']}")


async def _revoke_key(office: Office, wish: Wish) -> None:
    async with office.database.transaction() as connection:
        key = await shelf.key_by_prefix(connection, wish["prefix"])
        if key is None:
            raise OperateError(f"there is no key {wish['prefix']}; 'packbook key list' lists them")
        if key["revoked_ms"] is None:
            await shelf.change_key(connection, wish["prefix"], revoked_ms=now_ms())
            await _note(connection, wish, "key revoked", key["account"], wish["prefix"])


async def _touch_key(office: Office, wish: Wish) -> None:
    async with office.database.transaction() as connection:
        await shelf.change_key(connection, wish["prefix"], used_ms=now_ms())


async def _tenant(office: Office, wish: Wish) -> None:
    async with office.database.transaction() as connection:
        await shelf.keep_tenant(connection, wish["tenant"], wish["label"], now_ms())
        await _note(connection, wish, "tenant made", None, wish["label"], wish["tenant"])


async def _fleet(office: Office, wish: Wish) -> int:
    """Its boxes, and the batteries they watch, are that tenant's from now on. Gives how many batteries he has."""
    async with office.database.transaction() as connection:
        if wish["tenant"] not in await shelf.tenants(connection):
            raise OperateError(f"there is no tenant {wish['tenant']}; 'packbook tenant add' makes one")
        await shelf.keep_fleet(connection, wish["fleet"], wish["tenant"])
        await tenants.settle_fleet(connection, wish["fleet"])
        await _note(connection, wish, "fleet given", None, wish["fleet"], wish["tenant"])
        return len(await shelf.batteries_of(connection, wish["tenant"]))


async def _battery(office: Office, wish: Wish) -> None:
    """Which another tenant's box watches by now: sold, with the old owner's box left in the drawer."""
    async with office.database.transaction() as connection:
        if not await tenants.give(connection, wish["battery"], wish["tenant"]):
            raise OperateError(f"no box of tenant {wish['tenant']} watches battery {wish['battery']}")
        await _note(connection, wish, "battery given", None, wish["battery"], wish["tenant"])


async def _tenants(office: Office, _wish: Wish) -> object:
    async with office.database.transaction() as connection:
        return {"tenants": await shelf.tenants(connection), "fleets": await shelf.fleets(connection)}


async def _keep_an_admin(connection: AsyncConnection, name: str, role: Role | None) -> None:
    """A tenant whose last admin went could only be helped from the command line."""
    everyone = await shelf.all_of(connection, EVERYWHERE)
    tenant = next((one.tenant for one in everyone if one.account == name), None)
    admins = {one.account for one in everyone if one.tenant == tenant and _administers(one)}
    if admins == {name} and role is not Role.ADMIN:
        raise OperateError("this is the last admin: make another one first")


def _administers(account: Account) -> bool:
    return account.role is Role.ADMIN and account.disabled_ms is None


def _session(wish: Wish, now: int) -> dict[str, object]:
    return {
        "digest": bytes.fromhex(wish["digest"]),
        "account": wish["account"],
        "made_ms": now,
        "seen_ms": now,
        "until_ms": wish["until_ms"],
        "half": wish["half"],
        "device": wish["device"],
        "address": wish["address"],
    }


def _digest(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


async def _note(
    connection: AsyncConnection, wish: Wish, act: str, name: str | None, detail: str = "", tenant: str | None = None
) -> None:
    if tenant is None and name is not None:
        found = await shelf.of_id(connection, name)
        tenant = None if found is None else found.tenant
    noted = AccountAct(now_ms(), act, tenant, name, wish["who"], wish["address"], detail)
    await shelf.note(connection, [noted])


ACTS: Final[dict[str, Act]] = {
    "account.add": _add,
    "account.invite": _invite,
    "account.password": _password,
    "account.rehash": _rehash,
    "account.role": _role,
    "account.disable": _disable,
    "account.language": _language,
    "account.totp": _totp,
    "account.failed": _failed,
    "identity.bind": _bind,
    "identity.map": _map,
    "identity.follow": _follow,
    "identity.unbind": _unbind,
    "session.begin": _begin,
    "session.whole": _whole,
    "session.touch": _touch,
    "session.end": _end,
    "key.new": _new_key,
    "key.revoke": _revoke_key,
    "key.touch": _touch_key,
    "tenant.keep": _tenant,
    "tenant.list": _tenants,
    "tenant.battery": _battery,
    "fleet.keep": _fleet,
}
