"""Enrolment in a running box: with a new card's invitation, and again whenever two thirds of a certificate are over.

In:  settings, the key store, the clock.
Out: settings with the broker, as soon as that is known; what is wrong with the certificate, for health.
Never stops the logging: no network, a server's no, an unset clock: it says so, waits, and tries again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final, Never

from msgspec.structs import replace

from packbox.adapters.enrolment_file import broker_layer, read_enrolment, read_invitation
from packbox.adapters.key_store import TLS_FILE
from packbox.app.enrol import enrol, renew
from packbox.core.renewal import due_ms, nears_end, retry_s
from packbox.ports import Clock, EnrolError, HeldCertificate, KeyStore, PackboxError, SettingsError
from packbox.settings import Settings, given, settings_of

LOOK_EVERY_S: Final = 600.0  # is it time to renew, is the clock set?
MS_PER_DAY: Final = 86_400_000

log = logging.getLogger(__name__)


def with_enrolment(settings: Settings) -> Settings:
    """With what enrolment told, laid under what was set at the box. Raises SettingsError."""
    try:
        told = read_enrolment(settings.data_dir)
    except EnrolError as problem:
        raise SettingsError(str(problem)) from problem
    if told is not None and settings.operator_key is None:
        settings = replace(settings, operator_key=told.operator_key)
    own = given(settings.broker)
    if "host" in own and not settings.broker.tls:
        return settings  # the operator's own broker, without encryption: no certificate belongs there
    try:
        layer = broker_layer(settings.data_dir, settings.key_file.with_name(TLS_FILE))
    except EnrolError as problem:
        raise SettingsError(str(problem)) from problem
    kept_out = {"host", "port", "tls"} if "host" in own else set()
    if {"cert_file", "key_file"} & set(own):
        kept_out |= {"cert_file", "key_file"}
    layer = {name: value for name, value in layer.items() if name not in kept_out} | own
    try:
        return replace(settings, broker=settings_of({"broker": layer}).broker)
    except SettingsError as problem:
        raise SettingsError(f"with what enrolment told: {problem}") from problem


class Enrolling:
    """`settings`: with what enrolment told, as soon as it told. `begin_anew`: it told whom to believe."""

    def __init__(
        self, settings: Settings, keys: KeyStore, clock: Clock, begin_anew: Callable[[], None] = lambda: None
    ) -> None:
        self.settings = settings
        self._keys = keys
        self._clock = clock
        self._begin_anew = begin_anew
        self._spread = keys.records.public_key[0] / 255  # the same for this box each time
        self._failures = 0
        self._why = ""  # it did not work last time

    @property
    def invited(self) -> bool:
        """A new card brought an invitation, and there is no certificate yet."""
        return self._held() is None and self.settings.enrol_file.exists()

    @property
    def trouble(self) -> str | None:
        """What an operator should know, for health; None while all is well."""
        held, now_ms = self._held(), self._clock.now().wall_ms
        if held is None:
            return f"not enrolled: {self._why}" if self._why else None
        if now_ms is None or not nears_end(held.from_ms, held.until_ms, now_ms):
            return None
        days = (held.until_ms - now_ms) // MS_PER_DAY
        left = f"runs out in {days} days" if days >= 0 else "has run out"
        return f"{left}: {self._why}" if self._why else left

    async def run(self) -> Never:
        """Until cancelled."""
        while True:
            wait_s = await self.look()
            await asyncio.sleep(wait_s)

    async def look(self) -> float:
        """Do what is due. Returns how many seconds later to look again."""
        try:
            if self.invited:
                await enrol(self.settings.data_dir, self._keys, self._clock, read_invitation(self.settings.enrol_file))
                before, self.settings = self.settings, with_enrolment(self.settings)
                log.info("enrolled: this box has its certificate")
                if self.settings.operator_key != before.operator_key:
                    self._begin_anew()
            elif self._due():
                await renew(self.settings.data_dir, self._keys, self._clock)
                log.info("certificate renewed")
            else:
                return LOOK_EVERY_S
        except PackboxError as problem:
            if str(problem) != self._why:  # once, not at every try
                log.warning("no certificate: tries again", extra={"REASON": str(problem)})
            self._why = str(problem)
            self._failures += 1
            return retry_s(self._failures, random.random())  # noqa: S311 - spreads load, guards nothing
        self._failures, self._why = 0, ""
        return LOOK_EVERY_S

    def _due(self) -> bool:
        held, now_ms = self._held(), self._clock.now().wall_ms
        if held is None or now_ms is None:  # an unset clock: nothing is known to be due
            return False
        return now_ms >= due_ms(held.from_ms, held.until_ms, self._spread)

    def _held(self) -> HeldCertificate | None:
        try:
            return self._keys.held()
        except PackboxError as problem:
            self._why = str(problem)
            return None
