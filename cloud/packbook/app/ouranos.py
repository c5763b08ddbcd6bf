"""`packbook ouranos BATTERY`: register the battery as a part with the Ouranos Ecosystem, and keep its trace id.

In:  a battery; the platform, operator and plant from the settings; key and token from the credentials folder.
Out: the trace id, kept as a declared identifier, `ouranos:UUID`. A battery that has one is not registered again.
What is sent is what anybody may see of a battery: its model and its id. The platform has no place for its condition.
"""

from __future__ import annotations

import argparse
import json
from typing import Final

from pydantic import SecretStr

from packbook.adapters.ouranos import Ouranos, OuranosError
from packbook.app.access import access_rules
from packbook.app.command import DONE, add_settings, run
from packbook.app.declaration import ACTS, as_arguments
from packbook.app.export import cut_for, read
from packbook.app.operate import operate
from packbook.app.passports import rules_of
from packbook.clock import now_ms
from packbook.core.access import PUBLIC, Reader
from packbook.core.declared import Declared, Scope
from packbook.core.formats.writing import text
from packbook.core.ouranos import SCHEME, NotAPart, PartEntry, parts_model
from packbook.core.passport import Passport
from packbook.ports.passports import PartsRegister
from packbook.ports.trouble import SettingsError
from packbook.settings import Settings

PLATFORM: Final = "Ouranos Ecosystem"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("battery", metavar="BATTERY")
    parser.add_argument("--show", action="store_true", help="print what would be sent, and send nothing")
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _ouranos(settings, args))


async def _ouranos(settings: Settings, args: argparse.Namespace) -> int:
    rules = rules_of(settings)
    whole = await read(settings, args.battery, rules)
    known = trace_id_of(whole)
    if known is not None and not args.show:
        print(known)
        return DONE
    seen = (await cut_for(settings, whole, access_rules(rules), Reader(PUBLIC))).passport
    entry = _entry(settings, seen)
    if args.show:
        print(json.dumps(_body(entry), ensure_ascii=False, indent=2))
        return DONE
    key, token = (_secret(settings, name) for name in ("ouranos_api_key", "ouranos_token"))
    async with Ouranos(_set(settings, "ouranos_url"), api_key=key, token=token) as platform:
        print(await register(settings, platform, entry))
    return DONE


async def register(settings: Settings, platform: PartsRegister, entry: PartEntry) -> str:
    """The trace id, which is then among the battery's identifiers. Raises PackbookError."""
    found = await platform.register(entry)
    said = Declared("identifiers", f"{SCHEME}:{found}", PLATFORM, now_ms(), method="register-part")
    await operate(settings, ACTS, "declare", as_arguments(Scope.BATTERY, entry.battery, [said]))
    return found


def trace_id_of(passport: Passport) -> str | None:
    names = (str(fact.value).partition(":") for fact in passport.facts.get("identifiers", ()))
    return next((name for scheme, _, name in names if scheme == SCHEME), None)


def _entry(settings: Settings, passport: Passport) -> PartEntry:
    model = text(passport, "model")
    if model is None:
        raise OuranosError(f"battery {passport.battery}: its model is not declared, and the platform wants a name")
    operator_id, plant_id = (_set(settings, name) for name in ("ouranos_operator_id", "ouranos_plant_id"))
    return PartEntry(operator_id, plant_id, model, passport.battery)


def _body(entry: PartEntry) -> dict[str, object]:
    try:
        return parts_model(entry)
    except NotAPart as problem:
        raise OuranosError(f"ouranos: {problem}") from problem


def _set(settings: Settings, name: str) -> str:
    value: str | None = getattr(settings, name)
    if value is None:
        raise SettingsError(f"{name}: not set")
    return value


def _secret(settings: Settings, name: str) -> str:
    value: SecretStr | None = getattr(settings, name)
    if value is None:
        raise SettingsError(f"{name}: put it into a file of that name in $CREDENTIALS_DIRECTORY")
    return value.get_secret_value()
