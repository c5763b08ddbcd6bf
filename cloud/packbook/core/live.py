"""What changed in a book, told to whoever listens: by comparing what is with what was.

In:  looks at the book, one after another; how far a listener's eyes reach.
Out: the names of batteries, boxes and alerts that changed meanwhile. What changed about them is for him to ask.
Looks compare committed states, so nothing is missed however many wrote at once; several changes of one thing between
two looks are one change. More than NAMES_MAX names are not named: the listener asks for the list again.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from packbook.core.accounts import Reach

NAMES_MAX: Final = 100  # more than fit a page; an event stays below 8 kB


class Topic(StrEnum):
    BATTERIES = "batteries"
    BOXES = "boxes"
    ALERTS = "alerts"


class Sight(NamedTuple):  # thousands of them are compared every second: a tuple does that ten times faster
    """One thing as a look found it. Two looks that found the same `version` found nothing new."""

    version: Hashable
    tenant: str
    batteries: frozenset[str] = frozenset()  # what it is about: itself, or what a box watches


Look = Mapping[Topic, Mapping[str, Sight]]
Change = Mapping[Topic, Mapping[str, tuple[Sight, ...]]]  # as it was, as it is; one of them for what came or went


def change(before: Look, after: Look) -> Change:
    """Only topics and names that differ."""
    found: dict[Topic, dict[str, tuple[Sight, ...]]] = {}
    for topic in Topic:
        was, is_now = before.get(topic, {}), after.get(topic, {})
        if was == is_now:
            continue
        found[topic] = {
            name: tuple(sight for sight in (was.get(name), is_now.get(name)) if sight is not None)
            for name in was.keys() | is_now.keys()
            if was.get(name) != is_now.get(name)
        }
    return found


def visible(sight: Sight, reach: Reach) -> bool:
    if reach.tenant not in (None, sight.tenant):
        return False
    return reach.batteries is None or bool(sight.batteries & reach.batteries)


@dataclass(frozen=True, slots=True)
class News:
    """Names by topic; None: too many, or not known which."""

    names: Mapping[Topic, frozenset[str] | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(names is None or names for names in self.names.values())

    def __add__(self, later: News) -> News:
        return News({topic: _both(self, later, topic) for topic in Topic})

    def of(self, topics: Collection[Topic]) -> News:
        return News({topic: names for topic, names in self.names.items() if topic in topics})

    def told(self, topics: Collection[Topic]) -> dict[str, list[str] | None]:
        """As an event carries it: names in order, null for many, every topic that he hears of."""
        return {
            topic.value: None if names is None else sorted(names)
            for topic in topics
            for names in (self.names.get(topic, frozenset()),)
        }


NOTHING: Final = News()
ANYTHING: Final = News(dict.fromkeys(Topic))  # to somebody of whom we do not know what he saw last


def news(found: Change, reach: Reach) -> News:
    """What of a change somebody may hear of: also what left his reach, which he then does not find."""
    return News(
        {
            topic: _bounded(frozenset(name for name, sights in named.items() if any(visible(s, reach) for s in sights)))
            for topic, named in found.items()
        }
    )


def _both(one: News, other: News, topic: Topic) -> frozenset[str] | None:
    first, second = one.names.get(topic, frozenset()), other.names.get(topic, frozenset())
    return None if first is None or second is None else _bounded(first | second)


def _bounded(names: frozenset[str]) -> frozenset[str] | None:
    return names if len(names) <= NAMES_MAX else None
