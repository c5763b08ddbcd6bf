"""Keeps what a Home Assistant knows of this book true: retained messages at its broker, published when they change.

In:  a function that gives every message wanted now, by topic.
Out: these, retained; whatever of this book is retained besides is removed, also from before we started. When we are
gone, the broker says so on `Topics.status`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from packbook.adapters.collector import Outage
from packbook.adapters.mqtt import BrokerAddress, Link, Message
from packbook.core.home_assistant import OFFLINE, ONLINE, Topics
from packbook.ports.trouble import BrokerError, StoreError

LOOK_EVERY_S: Final = 10.0
RETRY_MAX_S: Final = 60.0
REMOVED: Final = b""  # an empty retained message: the broker forgets, Home Assistant removes

Wanted = Mapping[str, bytes]

log = logging.getLogger(__name__)


class HomeAssistant:
    """`run` it for as long as the house shall know."""

    def __init__(
        self,
        address: BrokerAddress,
        topics: Topics,
        gather: Callable[[], Awaitable[Wanted]],
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._address = address
        self._topics = topics
        self._gather = gather
        self._look_every_s = look_every_s
        self._wanted: Wanted = {}

    async def run(self) -> None:
        """Until cancelled. A broker that is away is waited for."""
        outage = Outage("Home Assistant's broker", RETRY_MAX_S)
        await self._first_look()
        while True:
            link = Link(self._address, self._take, will=(self._topics.status, OFFLINE))
            try:
                await link.open((self._topics.configs,))
                outage.over()
                await self._tell(link)
                raise BrokerError(f"broker {self._address.name}: {await link.lost}")
            except BrokerError as problem:
                outage.go_on(problem)
            finally:
                if link.up:  # who leaves politely has no will
                    _publish(link, self._topics.status, OFFLINE)
                await link.close()
            await outage.wait()

    async def _first_look(self) -> None:
        """Before anything is removed it must be known what is wanted."""
        outage = Outage("database", RETRY_MAX_S)
        while True:
            try:
                self._wanted = await self._gather()
            except StoreError as problem:
                outage.go_on(problem)
                await outage.wait()
            else:
                return

    async def _tell(self, link: Link) -> None:
        """All of it, then what changes, until the link is lost."""
        told: dict[str, bytes] = {}
        _publish(link, self._topics.status, ONLINE)
        while link.up:
            for topic, payload in self._wanted.items():
                if told.get(topic) != payload:
                    _publish(link, topic, payload)
            for topic in told.keys() - self._wanted.keys():
                _publish(link, topic, REMOVED)
            told = dict(self._wanted)
            await asyncio.wait([link.lost], timeout=self._look_every_s)
            try:
                self._wanted = await self._gather()
            except StoreError as problem:
                log.warning("%s; Home Assistant goes on with what it was told", problem)

    def _take(self, message: Message) -> None:
        """A device of ours that the broker remembers: of a battery that is shown no more, or our own word back."""
        message.acknowledge()
        if message.payload and message.topic not in self._wanted:
            _publish(message.link, message.topic, REMOVED)
            _publish(message.link, self._topics.state_beside(message.topic), REMOVED)


def _publish(link: Link, topic: str, payload: bytes) -> None:
    """When it is lost with the link, everything is told again on the next."""
    link.publish(topic, payload, lambda: None)
