"""The operator's configuration laid over the box's own settings. Whole or not at all.

In:  settings, a `Config`. Out: the settings in force.
Refuses with SettingsError what together makes no sense, and with ProfileError a profile that this box does not have.
What `Config` has no field for stays as it was set at the box.
"""

from __future__ import annotations

from typing import Final

from packbox.adapters.profile_apart import find_apart
from packbox.app.recognise import AUTO
from packbox.settings import Settings, given, settings_of
from packwire.config import Config

PLAIN: Final = ("profile", "battery", "commit_every_s", "heartbeat_every_s", "usage_every_s", "soh_every_s")


def laid_over(own: Settings, config: Config) -> Settings:
    """Only what was given at the box is taken from there, so that what follows from it is worked out anew."""
    values = given(own)
    broker = {"host": config.broker_host, "port": config.broker_port}
    values["broker"] = values.get("broker", {}) | {name: value for name, value in broker.items() if value is not None}
    values |= {name: value for name in PLAIN if (value := getattr(config, name)) is not None}
    settings = settings_of(values)
    if config.profile not in (None, AUTO):
        find_apart(config.profile, settings.profiles_dir)
    return settings


def said(config: Config) -> str:
    """What a configuration sets, by name: values may be nobody's business."""
    names = [
        name for name in (*PLAIN, "broker_host", "broker_port", "operator_key") if getattr(config, name) is not None
    ]
    return f"version {config.version}: {', '.join(names) or 'nothing, the own settings hold'}"
