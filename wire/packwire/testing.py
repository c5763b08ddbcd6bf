"""A broker in memory for tests and worlds: topics, retained messages, QoS 1 redelivery, wills, shared subscriptions.

In:  links of boxes and collectors, all in one event loop; a seed and how often to misbehave.
Out: messages in publishing order, except where `Faults` say otherwise. The same seed and calls give the same run.
It keeps no promise that a real broker does not keep: what it acknowledged it may lose, double or swap.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Final

SHARE_PREFIX: Final = "$share"
LATE_MAX_S: Final = 600.0  # longer than a sender waits for an answer


class BrokerDownError(Exception):
    """The link is gone. What was not acknowledged comes again on the next link of a lasting session."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often, within 0..1, a message that the broker acknowledged is treated badly on its way to a subscriber."""

    lose: float = 0.0
    double: float = 0.0
    swap: float = 0.0  # jumps the queue to any place in it
    late: float = 0.0  # comes up to `LATE_MAX_S` later, after newer ones


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message at a subscriber. Acknowledge it by `MemoryLink.ack`, or it comes again after a reconnect."""

    topic: str
    payload: bytes
    retained: bool
    number: int


@dataclass(slots=True)
class _Session:
    filters: list[str] = field(default_factory=list)
    waiting: deque[Arrived] = field(default_factory=deque)
    unacked: dict[int, Arrived] = field(default_factory=dict)
    link: MemoryLink | None = None
    lasting: bool = False


class MemoryBroker:
    """One broker. `retained` may be read and written by a test."""

    def __init__(self, seed: int = 0, faults: Faults | None = None) -> None:
        self.up = True
        self.retained: dict[str, bytes] = {}
        self.faults = faults if faults is not None else Faults()
        self._dice = random.Random(seed)  # noqa: S311 - a simulated broker needs no cryptographic dice
        self._sessions: dict[str, _Session] = {}
        self._number = 0

    def connect(self, client: str, *, lasting: bool = False, will: tuple[str, bytes] | None = None) -> MemoryLink:
        """A new link; an older one of the same client is cut. `will`: published, retained, when the link breaks."""
        if not self.up:
            raise BrokerDownError("the broker is down")
        session = self._sessions.get(client)
        if session is not None and session.link is not None:
            session.link.cut()
        if session is None or not lasting:
            session = self._sessions[client] = _Session()
        session.lasting = lasting
        session.waiting.extendleft(reversed(session.unacked.values()))
        session.unacked.clear()
        session.link = MemoryLink(self, session, will)
        return session.link

    def stop(self, *, forget: bool = False) -> None:
        """Cut every link. `forget`: lose sessions and retained messages too, as a killed broker may."""
        self.up = False
        for session in list(self._sessions.values()):
            if session.link is not None:
                session.link.cut(with_will=False)
        if forget:
            self._sessions.clear()
            self.retained.clear()

    def start(self) -> None:
        self.up = True

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """What a link's publish does; also a test's own voice."""
        if retain:
            self.retained[topic] = payload
        for session in self._receivers(topic):
            self._pass_on(session, topic, payload)

    def _receivers(self, topic: str) -> list[_Session]:
        """Every session with a plain filter that fits, and one of each sharing group."""
        plain: list[_Session] = []
        groups: dict[str, list[_Session]] = {}
        for session in self._sessions.values():
            for text in session.filters:
                group, fits = _split_share(text)
                if not matches(fits, topic):
                    continue
                (plain if group is None else groups.setdefault(group, [])).append(session)
                break
        for members in groups.values():
            there = [session for session in members if session.link is not None]
            plain.append(self._dice.choice(there or members))
        return plain

    def _pass_on(self, session: _Session, topic: str, payload: bytes, *, retained: bool = False) -> None:
        if self._dice.random() < self.faults.lose:
            return
        for _ in range(2 if self._dice.random() < self.faults.double else 1):
            self._number += 1
            message = Arrived(topic, payload, retained, self._number)
            if self.faults.late and self._dice.random() < self.faults.late:
                wait_s = self._dice.uniform(0, LATE_MAX_S)
                asyncio.get_running_loop().call_later(wait_s, self._arrive, session, message)
                continue
            if self._dice.random() < self.faults.swap:
                session.waiting.insert(self._dice.randint(0, len(session.waiting)), message)
            else:
                session.waiting.append(message)
        if session.link is not None:
            session.link.wake()

    def _arrive(self, session: _Session, message: Arrived) -> None:
        """A late message; one for a session that ended meanwhile is lost."""
        if session.link is not None or (session.lasting and session in self._sessions.values()):
            session.waiting.append(message)
        if session.link is not None:
            session.link.wake()


class MemoryLink:
    """One client's connection. Every call raises BrokerDownError once it is cut."""

    def __init__(self, broker: MemoryBroker, session: _Session, will: tuple[str, bytes] | None) -> None:
        self._broker = broker
        self._session = session
        self._will = will
        self._news = asyncio.Event()

    @property
    def up(self) -> bool:
        return self._session.link is self

    def subscribe(self, *filters: str) -> None:
        self._must_be_up()
        self._session.filters.extend(text for text in filters if text not in self._session.filters)
        for topic, payload in self._broker.retained.items():
            if any(matches(text, topic) for text in filters):  # a shared subscription gets no retained messages
                self._broker._pass_on(self._session, topic, payload, retained=True)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Returning is the broker's PUBACK."""
        self._must_be_up()
        self._broker.publish(topic, payload, retain=retain)

    async def receive(self) -> Arrived:
        while True:
            self._must_be_up()
            if self._session.waiting:
                message = self._session.waiting.popleft()
                self._session.unacked[message.number] = message
                return message
            self._news.clear()
            await self._news.wait()

    def ack(self, message: Arrived) -> None:
        """An ack on a cut link is lost, as in MQTT: the message comes again."""
        if self.up:
            self._session.unacked.pop(message.number, None)

    def close(self) -> None:
        """Leave politely: no will."""
        if self.up:
            self.cut(with_will=False)

    def cut(self, *, with_will: bool = True) -> None:
        """Break the link, as a lost network does."""
        if not self.up:
            return
        self._session.link = None
        if not self._session.lasting:
            self._session.filters.clear()
            self._session.waiting.clear()
            self._session.unacked.clear()
        if with_will and self._will is not None:
            self._broker.publish(*self._will, retain=True)
        self.wake()

    def wake(self) -> None:
        self._news.set()

    def _must_be_up(self) -> None:
        if not self.up:
            raise BrokerDownError("the link is cut")


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 5 §4.7: `+` stands for one level, `#` at the end for all that follow."""
    wanted, there = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(there) or level not in ("+", there[place]):
            return False
    return len(wanted) == len(there)


def _split_share(topic_filter: str) -> tuple[str | None, str]:
    if not topic_filter.startswith(f"{SHARE_PREFIX}/"):
        return None, topic_filter
    _, group, rest = topic_filter.split("/", 2)
    return group, rest
