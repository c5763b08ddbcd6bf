"""Who may do what on which topic. Every broker's rules follow from this table: mosquitto's ACL, the demo's own broker.

In:  a role, the name in the client's certificate, what it wants, a topic or filter.
Out: yes or no.
Nothing is allowed that is not here. A box has rights on topics that carry its own name, everybody else on those of all
boxes; wildcards and shared subscriptions are for those alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packwire.topics import DOWN, ROOT, UP, Leaf, parse

SHARED: Final = "$share/"


class Role(StrEnum):
    BOX = "box"
    COLLECTOR = "collector"  # the book: takes what boxes send, answers
    OPERATOR = "operator"  # a person's program: sends signed configurations and commands, reads nothing


class Act(StrEnum):
    PUBLISH = "publish"  # also by a will
    SUBSCRIBE = "subscribe"
    RECEIVE = "receive"


@dataclass(frozen=True, slots=True)
class Rights:
    writes: tuple[Leaf, ...]
    reads: tuple[Leaf, ...]


RIGHTS: Final[Mapping[Role, Rights]] = {
    Role.BOX: Rights(writes=UP, reads=DOWN),
    Role.COLLECTOR: Rights(writes=DOWN, reads=UP),
    Role.OPERATOR: Rights(writes=(Leaf.CONFIG, Leaf.COMMAND), reads=()),
}


def may(role: Role, name: str, act: Act, topic: str) -> bool:
    """`name`: the common name of the certificate; `topic`: a filter when subscribing."""
    if act is Act.SUBSCRIBE and role is not Role.BOX:
        return _without_group(topic) in {f"{ROOT}/+/{leaf.value}" for leaf in RIGHTS[role].reads}
    address = parse(topic)
    if address is None or (role is Role.BOX and address.box != name):
        return False
    return address.leaf in (RIGHTS[role].writes if act is Act.PUBLISH else RIGHTS[role].reads)


def _without_group(topic_filter: str) -> str:
    """`$share/<group>/<filter>` is the filter, shared by the group."""
    if not topic_filter.startswith(SHARED):
        return topic_filter
    _, _, rest = topic_filter.removeprefix(SHARED).partition("/")
    return rest
