"""Acts about the owner's relation to a battery, done by the running book or here (see `app.operate`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from packbook.adapters.store import relations
from packbook.adapters.vin_vault import VinVault
from packbook.app.operate import Act, Office, OperateError
from packbook.clock import now_ms
from packbook.core.vehicle import vehicle_number
from packbook.ports.trouble import SettingsError
from packbook.settings import Settings


async def _set(office: Office, given: Mapping[str, Any]) -> None:
    number = number_from(str(given["number"]))
    await relations.associate(office.database, vault_of(office.settings), given["battery"], number, now_ms())


async def _forget(office: Office, given: Mapping[str, Any]) -> int:
    return await relations.end_relation(office.database, vault_of(office.settings), given["battery"], now_ms())


ACTS: Final[dict[str, Act]] = {"vehicle.set": _set, "owner.forget": _forget}


def vault_of(settings: Settings) -> VinVault:
    if settings.vehicle_keys_dir is None:
        raise SettingsError("vehicle_keys_dir: not set; name a folder for the keys, apart from the database")
    return VinVault(settings.vehicle_keys_dir)


def number_from(text: str) -> str:
    """Raises OperateError that does not repeat the number."""
    try:
        return vehicle_number(text)
    except ValueError as problem:
        raise OperateError(f"vehicle number: {problem}") from None
