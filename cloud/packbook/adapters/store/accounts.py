"""Accounts, their sessions and keys, and what was done about them, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables
from packbook.adapters.store.account_tables import (
    account,
    account_act,
    account_battery,
    api_key,
    external_identity,
    fleet,
    invitation,
    recovery_code,
    sign_in_session,
    tenant,
)
from packbook.adapters.store.rows import Row, insert_new, upsert
from packbook.core.accounts import (
    FIRST_TENANT,
    Account,
    AccountAct,
    ApiKey,
    ExternalIdentity,
    OpenSession,
    Reach,
    Role,
)
from packbook.core.enrolment import MS_PER_DAY

FAMILIAR_MS: Final = 90 * MS_PER_DAY  # how long an address that somebody signed in from is his
SIGNED_IN: Final = "signed in"
IS_BOUND: Final = sa.exists().where(external_identity.c.account == account.c.account).label("is_bound")


# --- accounts ---------------------------------------------------------------------------------------------------


async def add(connection: AsyncConnection, row: Row, batteries: Collection[str]) -> None:
    await connection.execute(sa.insert(account), [row])
    await set_batteries(connection, str(row["account"]), batteries)


async def of_id(connection: AsyncConnection, name: str) -> Account | None:
    return await _one(connection, account.c.account == name)


async def of_login(connection: AsyncConnection, login: str) -> Account | None:
    return await _one(connection, account.c.login == login)


async def of_identity(connection: AsyncConnection, issuer: str, subject: str) -> Account | None:
    """Whoever is known to another by this name."""
    table = external_identity
    known = sa.select(table.c.account).where(table.c.issuer == issuer, table.c.subject == subject).scalar_subquery()
    return await _one(connection, account.c.account == known)


async def add_identity(connection: AsyncConnection, name: str, identity: ExternalIdentity) -> None:
    row: Row = {
        "issuer": identity.issuer,
        "subject": identity.subject,
        "account": name,
        "since_ms": identity.since_ms,
        "mapped": identity.mapped,
    }
    await connection.execute(sa.insert(external_identity), [row])


async def identities_of(connection: AsyncConnection, name: str) -> list[ExternalIdentity]:
    """Oldest first."""
    table = external_identity
    query = sa.select(table).where(table.c.account == name).order_by(table.c.since_ms, table.c.issuer, table.c.subject)
    rows = await connection.execute(query)
    return [ExternalIdentity(row.issuer, row.subject, row.since_ms, row.mapped) for row in rows]


async def drop_identities(connection: AsyncConnection, name: str, issuer: str) -> bool:
    table = external_identity
    done = await connection.execute(sa.delete(table).where(table.c.account == name, table.c.issuer == issuer))
    return done.rowcount > 0


async def all_of(connection: AsyncConnection, reach: Reach) -> list[Account]:
    """By name. Of a tenant, or all."""
    query = sa.select(account, IS_BOUND).order_by(account.c.tenant, account.c.login)
    if reach.tenant is not None:
        query = query.where(account.c.tenant == reach.tenant)
    rows = (await connection.execute(query)).mappings().all()
    named = await connection.execute(sa.select(account_battery))
    batteries: dict[str, set[str]] = {}
    for row in named:
        batteries.setdefault(row.account, set()).add(row.battery)
    return [_account(row, batteries.get(row["account"], ())) for row in rows]


async def change(connection: AsyncConnection, name: str, **columns: object) -> None:
    await connection.execute(sa.update(account).where(account.c.account == name).values(**columns))


async def set_batteries(connection: AsyncConnection, name: str, batteries: Collection[str]) -> None:
    await connection.execute(sa.delete(account_battery).where(account_battery.c.account == name))
    rows: list[Row] = [{"account": name, "battery": battery} for battery in sorted(set(batteries))]
    await insert_new(connection, account_battery, rows)


async def secrets_of(connection: AsyncConnection, name: str) -> sa.RowMapping:
    """Password hash, sealed TOTP secret and the newest step taken."""
    query = sa.select(account.c.password, account.c.totp, account.c.totp_step).where(account.c.account == name)
    return (await connection.execute(query)).mappings().one()


async def take_step(connection: AsyncConnection, name: str, step: int) -> bool:
    """Of two that show one code, the first."""
    newer = account.c.totp_step.is_(None) | (account.c.totp_step < step)
    done = await connection.execute(sa.update(account).where(account.c.account == name, newer).values(totp_step=step))
    return done.rowcount == 1


async def set_recovery(connection: AsyncConnection, name: str, digests: Sequence[bytes]) -> None:
    await connection.execute(sa.delete(recovery_code).where(recovery_code.c.account == name))
    await insert_new(connection, recovery_code, [{"account": name, "digest": digest} for digest in digests])


async def take_recovery(connection: AsyncConnection, name: str, digest: bytes) -> bool:
    """Used once."""
    table = recovery_code
    done = await connection.execute(sa.delete(table).where(table.c.account == name, table.c.digest == digest))
    return done.rowcount == 1


async def recovery_left(connection: AsyncConnection, name: str) -> int:
    count = sa.select(sa.func.count()).select_from(recovery_code).where(recovery_code.c.account == name)
    return int(await connection.scalar(count) or 0)


# --- sessions ---------------------------------------------------------------------------------------------------


async def begin(connection: AsyncConnection, row: Row) -> None:
    await connection.execute(sa.insert(sign_in_session), [row])


async def session_of(connection: AsyncConnection, digest: bytes) -> sa.RowMapping | None:
    query = sa.select(sign_in_session).where(sign_in_session.c.digest == digest)
    return (await connection.execute(query)).mappings().first()


async def touch(connection: AsyncConnection, digest: bytes, now_ms: int) -> None:
    table = sign_in_session
    await connection.execute(sa.update(table).where(table.c.digest == digest).values(seen_ms=now_ms))


async def sessions_of(connection: AsyncConnection, name: str) -> list[OpenSession]:
    """Newest first."""
    table = sign_in_session
    query = sa.select(table).where(table.c.account == name, table.c.half.is_(False)).order_by(table.c.seen_ms.desc())
    return [
        OpenSession(row.digest, row.made_ms, row.seen_ms, row.until_ms, row.device, row.address)
        for row in await connection.execute(query)
    ]


async def end(
    connection: AsyncConnection, name: str, *, only: str | None = None, but: bytes | None = None
) -> list[bytes]:
    """Of this account: the one whose digest begins with `only`, or all `but` one. Gives those ended."""
    table = sign_in_session
    rows = await connection.scalars(sa.select(table.c.digest).where(table.c.account == name))
    ended = [digest for digest in rows if digest != but and (only is None or digest.hex().startswith(only))]
    if ended:
        await connection.execute(sa.delete(table).where(table.c.digest.in_(ended)))
    return ended


async def end_one(connection: AsyncConnection, digest: bytes) -> bool:
    table = sign_in_session
    return (await connection.execute(sa.delete(table).where(table.c.digest == digest))).rowcount == 1


async def forget_ended(connection: AsyncConnection, now_ms: int, idle_ms: int) -> None:
    table = sign_in_session
    gone = (table.c.until_ms <= now_ms) | (table.c.seen_ms <= now_ms - idle_ms)
    await connection.execute(sa.delete(table).where(gone))
    await connection.execute(sa.delete(invitation).where(invitation.c.expires_ms <= now_ms))


# --- invitations and keys -----------------------------------------------------------------------------------------


async def invite(connection: AsyncConnection, name: str, digest: bytes, expires_ms: int) -> None:
    """Earlier ones of this account open nothing from now on."""
    await uninvite(connection, name)
    row: Row = {"digest": digest, "account": name, "expires_ms": expires_ms}
    await connection.execute(sa.insert(invitation), [row])


async def uninvite(connection: AsyncConnection, name: str) -> None:
    await connection.execute(sa.delete(invitation).where(invitation.c.account == name))


async def invited(connection: AsyncConnection, digest: bytes, now_ms: int) -> Account | None:
    table = invitation
    open_ones = sa.select(table.c.account).where(table.c.digest == digest, table.c.expires_ms > now_ms)
    return await _one(connection, account.c.account == open_ones.scalar_subquery())


async def add_key(connection: AsyncConnection, row: Row) -> None:
    await connection.execute(sa.insert(api_key), [row])


async def key_of(connection: AsyncConnection, digest: bytes) -> sa.RowMapping | None:
    return (await connection.execute(sa.select(api_key).where(api_key.c.digest == digest))).mappings().first()


async def keys_of(connection: AsyncConnection, names: Collection[str]) -> list[ApiKey]:
    """Newest first."""
    table = api_key
    query = sa.select(table).where(table.c.account.in_(sorted(names))).order_by(table.c.made_ms.desc(), table.c.prefix)
    return [
        ApiKey(
            row.prefix,
            row.account,
            row.note,
            tuple(row.scopes.split()),
            row.made_ms,
            row.expires_ms,
            row.used_ms,
            row.revoked_ms,
        )
        for row in await connection.execute(query)
    ]


async def key_by_prefix(connection: AsyncConnection, prefix: str) -> sa.RowMapping | None:
    return (await connection.execute(sa.select(api_key).where(api_key.c.prefix == prefix))).mappings().first()


async def change_key(connection: AsyncConnection, prefix: str, **columns: object) -> None:
    await connection.execute(sa.update(api_key).where(api_key.c.prefix == prefix).values(**columns))


# --- tenants ----------------------------------------------------------------------------------------------------


async def keep_tenant(connection: AsyncConnection, name: str, label: str, now_ms: int) -> None:
    await upsert(connection, tenant, [{"tenant": name, "label": label, "made_ms": now_ms}], keep=("made_ms",))


async def tenants(connection: AsyncConnection) -> dict[str, str]:
    """Names with their labels. The first one is there without being made."""
    rows = await connection.execute(sa.select(tenant).order_by(tenant.c.tenant))
    return {FIRST_TENANT: ""} | {row.tenant: row.label for row in rows}


async def keep_fleet(connection: AsyncConnection, name: str, of: str) -> None:
    await upsert(connection, fleet, [{"fleet": name, "tenant": of}])


async def fleets(connection: AsyncConnection) -> dict[str, str]:
    """The tenant of each fleet that somebody gave away; the others are the first one's."""
    return {row.fleet: row.tenant for row in await connection.execute(sa.select(fleet).order_by(fleet.c.fleet))}


async def batteries_of(connection: AsyncConnection, of: str) -> list[str]:
    table = tables.battery_tenant
    query = sa.select(table.c.battery).where(table.c.tenant == of).order_by(table.c.battery)
    return list(await connection.scalars(query))


# --- what was done ------------------------------------------------------------------------------------------------


async def note(connection: AsyncConnection, acts: Sequence[AccountAct]) -> None:
    rows = [
        {
            "at_ms": act.at_ms,
            "act": act.act,
            "tenant": act.tenant,
            "account": act.account,
            "who": act.who,
            "address": act.address,
            "detail": act.detail,
        }
        for act in acts
    ]
    await connection.execute(sa.insert(account_act), rows)


async def acts(connection: AsyncConnection, reach: Reach, limit: int, name: str | None = None) -> list[AccountAct]:
    """Newest first, of a tenant or all, of one account or all."""
    table = account_act
    query = sa.select(table).order_by(table.c.at_ms.desc(), table.c.id.desc()).limit(limit)
    if reach.tenant is not None:
        query = query.where(table.c.tenant == reach.tenant)
    if name is not None:
        query = query.where(table.c.account == name)
    rows = await connection.execute(query)
    return [AccountAct(row.at_ms, row.act, row.tenant, row.account, row.who, row.address, row.detail) for row in rows]


async def is_familiar(connection: AsyncConnection, name: str, address: str, now_ms: int) -> bool:
    """Somebody signed in to this account from there lately."""
    table = account_act
    query = sa.select(table.c.id).where(
        table.c.account == name,
        table.c.address == address,
        table.c.act == SIGNED_IN,
        table.c.at_ms > now_ms - FAMILIAR_MS,
    )
    return await connection.scalar(query.limit(1)) is not None


async def _one(connection: AsyncConnection, condition: sa.ColumnElement[bool]) -> Account | None:
    row = (await connection.execute(sa.select(account, IS_BOUND).where(condition))).mappings().first()
    if row is None:
        return None
    named = sa.select(account_battery.c.battery).where(account_battery.c.account == row["account"])
    return _account(row, list(await connection.scalars(named)))


def _account(row: sa.RowMapping, batteries: Collection[str]) -> Account:
    return Account(
        account=row["account"],
        login=row["login"],
        name=row["name"],
        tenant=row["tenant"],
        role=Role(row["role"]),
        language=row["language"],
        made_ms=row["made_ms"],
        disabled_ms=row["disabled_ms"],
        has_password=row["password"] is not None,
        has_totp=row["totp"] is not None,
        is_bound=row["is_bound"],
        batteries=frozenset(batteries),
    )
