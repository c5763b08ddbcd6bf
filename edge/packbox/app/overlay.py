"""The operator's configuration laid over the box's own settings. Whole or not at all.

In:  settings, a `Config`. Out: the settings in force.
Refuses with SettingsError what together makes no sense, and with ProfileError a profile that this box does not have.
What `Config` has no field for stays as it was set at the box.
"""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from packbox.adapters.profile_apart import find_apart
from packbox.app.recognise import AUTO
from packbox.ports import SettingsError
from packbox.settings import Settings
from packwire.config import Config

PLAIN: Final = ("profile", "battery", "commit_every_s", "heartbeat_every_s", "usage_every_s", "soh_every_s")


def laid_over(own: Settings, config: Config) -> Settings:
    """Only what was given at the box is taken from there, so that what follows from it is worked out anew."""
    given = own.model_dump(exclude_unset=True)
    broker = {"host": config.broker_host, "port": config.broker_port}
    given["broker"] = given.get("broker", {}) | {name: value for name, value in broker.items() if value is not None}
    given |= {name: value for name in PLAIN if (value := getattr(config, name)) is not None}
    try:
        settings = Settings(**given)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{field}: {first['msg']}") from problem
    if config.profile not in (None, AUTO):
        find_apart(config.profile, settings.profiles_dir)
    return settings


def said(config: Config) -> str:
    """What a configuration sets, by name: values may be nobody's business."""
    names = [
        name for name in (*PLAIN, "broker_host", "broker_port", "operator_key") if getattr(config, name) is not None
    ]
    return f"version {config.version}: {', '.join(names) or 'nothing, the own settings hold'}"
