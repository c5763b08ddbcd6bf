"""MQTT topics, version 1: `pb/v1/<box>/<leaf>`. One place that builds and takes apart every topic string."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packwire.ids import BoxId, is_hex_id

ROOT: Final = "pb/v1"


class Leaf(StrEnum):
    """What a topic carries."""

    RECORD = "r"
    HEARTBEAT = "h"
    STATUS = "s"
    ACK = "ack"
    CONFIG = "c"
    COMMAND = "x"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a topic is used: part of the contract."""

    up: bool  # from the box; else to it
    qos: int
    retain: bool
    carries: str


MANNERS: Final[dict[Leaf, Manner]] = {
    Leaf.RECORD: Manner(up=True, qos=1, retain=False, carries="one sealed record"),
    Leaf.HEARTBEAT: Manner(up=True, qos=0, retain=False, carries="unsigned health snapshot, may be lost"),
    Leaf.STATUS: Manner(
        up=True, qos=1, retain=True, carries="`online [<store> <held>]` or `offline <reason>`, also the will"
    ),
    Leaf.ACK: Manner(up=False, qos=1, retain=True, carries="what the book holds of a store"),
    Leaf.CONFIG: Manner(up=False, qos=1, retain=True, carries="the whole configuration, signed by the operator"),
    Leaf.COMMAND: Manner(up=False, qos=1, retain=True, carries="one command of a closed list, signed by the operator"),
}
UP: Final = tuple(leaf for leaf, manner in MANNERS.items() if manner.up)
DOWN: Final = tuple(leaf for leaf, manner in MANNERS.items() if not manner.up)
_LEAVES: Final = frozenset(leaf.value for leaf in Leaf)


@dataclass(frozen=True, slots=True)
class Address:
    box: BoxId
    leaf: Leaf


def topic(box: BoxId, leaf: Leaf) -> str:
    return f"{ROOT}/{box}/{leaf.value}"


def parse(text: str) -> Address | None:
    """Take a topic apart; None for anything that is not exactly one of ours."""
    prefix, _, rest = text.partition(ROOT + "/")
    box, _, leaf = rest.partition("/")
    if prefix or not is_hex_id(box) or leaf not in _LEAVES:
        return None
    return Address(BoxId(box), Leaf(leaf))


def everything_up(share: str | None = None) -> list[str]:
    """Subscriptions of a collector: every box, every upward leaf, optionally shared between workers."""
    front = f"$share/{share}/" if share else ""
    return [f"{front}{ROOT}/+/{leaf.value}" for leaf in UP]
