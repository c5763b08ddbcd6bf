"""MQTT topics, version 1: `pb/v1/<box>/<leaf>`. One place that builds and takes apart every topic string."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packwire.ids import BoxId, is_hex_id

ROOT: Final = "pb/v1"


class Leaf(StrEnum):
    """What a topic carries. QoS and retain are part of the contract (docs/wire.md)."""

    RECORD = "r"  # up, QoS 1: one sealed record
    HEARTBEAT = "h"  # up, QoS 0: unsigned health snapshot, may be lost
    STATUS = "s"  # up, QoS 1, retained, also the will: "online" or "offline <reason>"
    ACK = "ack"  # down, QoS 1, retained: what the book holds
    CONFIG = "c"  # down, QoS 1, retained: configuration version and body
    COMMAND = "x"  # down, QoS 1: one command of the bounded list


_LEAVES: Final = frozenset(leaf.value for leaf in Leaf)
UP: Final = (Leaf.RECORD, Leaf.HEARTBEAT, Leaf.STATUS)
DOWN: Final = (Leaf.ACK, Leaf.CONFIG, Leaf.COMMAND)


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
