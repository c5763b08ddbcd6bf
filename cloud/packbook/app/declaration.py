"""Acts by which people and firms say something of a battery, done by the running book or here (see `app.operate`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from packbook.adapters.store import declarations
from packbook.adapters.store.histories import SqlHistories
from packbook.app.operate import Act, Office, OperateError
from packbook.app.passports import rules_of
from packbook.clock import now_ms
from packbook.core.declared import Declared, Scope, in_force, objection
from packbook.core.identifiers import filed_key

IDENTIFIERS: Final = "identifiers"  # the field whose values a battery is found by


async def _declare(office: Office, given: Mapping[str, Any]) -> int:
    """Checked here, too: the running book may be of another version than the command."""
    scope, subject = Scope(given["scope"]), str(given["subject"])
    at_ms = now_ms()
    said = [Declared(**{**item, "scope": scope, "entered_ms": at_ms}) for item in given["said"]]
    rules = rules_of(office.settings).fields().fields
    for declared in said:
        why = objection(rules.get(declared.name), declared)
        if why is not None:
            raise OperateError(f"{declared.name}: {why}")
    if not await _known(SqlHistories(office.database), scope, subject):
        raise OperateError(f"no {scope} {subject!r} is in this book")
    names = None
    if scope is Scope.BATTERY and any(declared.name == IDENTIFIERS for declared in said):
        all_said = [*await declarations.said_of(office.database, subject, None), *said]
        named = [filed_key(str(one.value)) for one in in_force(all_said, rules).get(IDENTIFIERS, ())]
        names = {key for key in named if key is not None}
    await declarations.add(office.database, scope, subject, said, names)
    return len(said)


async def _known(histories: SqlHistories, scope: Scope, subject: str) -> bool:
    if scope is Scope.BATTERY:
        return await histories.battery(subject) is not None
    return any(head.pack == subject for head in await histories.batteries())


ACTS: Final[dict[str, Act]] = {"declare": _declare}


def as_arguments(scope: Scope, subject: str, said: list[Declared]) -> dict[str, Any]:
    """What travels to the running book: JSON values."""
    items = [asdict(declared) for declared in said]
    for item in items:
        del item["scope"], item["entered_ms"]
    return {"scope": scope.value, "subject": subject, "said": items}
