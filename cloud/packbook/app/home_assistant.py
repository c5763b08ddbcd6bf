"""Batteries shown in the owner's Home Assistant: those that the settings name and whose owner agreed.

In:  settings, the histories, the book's public key.
Out: a task that keeps the house's broker told, within `serve`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from packbook.adapters.home_assistant import HomeAssistant, Wanted
from packbook.adapters.mqtt import BrokerAddress, TlsFiles
from packbook.core.consent import PASSPORT, may_leave
from packbook.core.home_assistant import Shown, Topics, discovery, state, topics_of
from packbook.ports.histories import Histories
from packbook.ports.trouble import BrokerError, SettingsError
from packbook.settings import SCHEMES, Settings
from packwire.version import __version__

SESSIONS_LOOKED_AT: Final = 20  # a session without a state of charge is rare

log = logging.getLogger(__name__)


def home_assistant(settings: Settings, histories: Histories, book_key: bytes) -> HomeAssistant | None:
    """None: not asked for. Raises SettingsError when the certificate file cannot be used."""
    if settings.home_assistant is None:
        return None
    topics = topics_of(settings.home_assistant_prefix, book_key)
    return HomeAssistant(_address(settings, topics.node), topics, wanted(settings, histories, topics))


def wanted(settings: Settings, histories: Histories, topics: Topics) -> Callable[[], Awaitable[Wanted]]:
    """What shall stand at the broker now. Says once why a battery that is named is not shown."""
    said: dict[str, str] = {}

    async def gather() -> Wanted:
        messages: dict[str, bytes] = {}
        for name in settings.home_assistant_batteries:
            why = may_leave(await histories.purposes(name), PASSPORT)
            shown = None if why is not None else await _shown(histories, name)
            if shown is None:
                why = why or "there is no such battery"
                if said.get(name) != why:
                    log.warning("home_assistant_batteries: %s is not shown: %s", name, why)
                said[name] = why
                continue
            said.pop(name, None)
            page = settings.public_url
            config = discovery(shown, topics, settings.home_assistant_language, __version__, page)
            messages[topics.config(name)] = _json(config)
            messages[topics.state(name)] = _json(state(shown))
        return messages

    return gather


async def _shown(histories: Histories, name: str) -> Shown | None:
    battery = await histories.battery(name)
    if battery is None:
        return None
    return Shown(
        battery=battery,
        usage=await histories.usage(name),
        sessions=await histories.sessions(name, limit=SESSIONS_LOOKED_AT),
        charge=next(iter(await histories.sessions(name, "charge", 1)), None),
        boxes=[box for box in await histories.boxes() if box.box in battery.boxes],
    )


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _address(settings: Settings, node: str) -> BrokerAddress:
    parts = urlsplit(settings.home_assistant or "")
    tls = TlsFiles(settings.home_assistant_ca_file) if parts.scheme == "mqtts" else None
    try:
        if tls is not None:
            tls.context()  # tried once now, so that a wrong file ends the start
    except BrokerError as problem:
        raise SettingsError(f"home_assistant_ca_file: {problem}") from problem
    password = settings.home_assistant_password
    return BrokerAddress(
        host=parts.hostname or "",
        port=parts.port or SCHEMES[parts.scheme],
        client_id=node,
        username=settings.home_assistant_user,
        password=None if password is None else password.get_secret_value(),
        tls=tls,
        session_expiry_s=0,
    )
