"""The act that takes hand-overs into the book, done by the running book or here (see `app.operate`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from packbook.adapters.store import custody as shelf
from packbook.adapters.store.relations import must_be_known
from packbook.app.operate import Act, Office, OperateError
from packbook.app.passports import lifecycles, rules_of
from packbook.clock import now_ms
from packbook.core.custody import verify
from packbook.core.declared import day_ms


async def _keep(office: Office, wish: Mapping[str, Any]) -> int:
    """Links of one battery as hex, from the first on. Gives how many were new."""
    links, now = [bytes.fromhex(link) for link in wish["links"]], now_ms()
    chain = verify(links, lifecycles(rules_of(office.settings)))
    if chain.broken is not None:
        raise OperateError(f"link {chain.broken.number}: {chain.broken.why}")
    if chain.last is None:
        raise OperateError("the file holds no hand-over that was accepted")
    if (day_ms(chain.last.on) or 0) > now:
        raise OperateError(f"link {len(links)}: its day {chain.last.on} is still to come")
    battery = chain.last.battery
    async with office.database.transaction() as connection:
        await must_be_known(connection, battery)
        held = await shelf.links_of(connection, battery)
        if held[: len(links)] != links[: len(held)]:
            raise OperateError(
                f"battery {battery}: the book holds another history of {len(held)} links; none was taken"
            )
        new = links[len(held) :]
        if new:
            await shelf.add(connection, battery, len(held) + 1, new, now)
    return len(new)


ACTS: Final[dict[str, Act]] = {"custody.keep": _keep}
