"""Heartbeat, status and topic strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packwire.errors import Malformed, WireError
from packwire.messages import Health
from packwire.presence import (
    LOST,
    ONLINE,
    STOPPED,
    Standing,
    Status,
    decode_heartbeat,
    decode_status,
    encode_heartbeat,
    encode_status,
)
from packwire.topics import DOWN, MANNERS, UP, Address, Leaf, everything_up, parse, topic
from wire_samples import BOX, STORE


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (ONLINE, b"online"),
        (STOPPED, b"offline stopped"),
        (LOST, b"offline lost"),
        (Status(online=True, standing=Standing(STORE, 57)), b"online " + STORE.encode() + b" 57"),
        (Status(online=True, reason="5700 57"), b"online 5700 57"),
        (Status(online=True, reason=f"{STORE} 057"), b"online " + STORE.encode() + b" 057"),
        (Status(online=True, reason=f"{STORE} {2**53}"), b"online %s %d" % (STORE.encode(), 2**53)),
        (Status(online=False, reason=f"{STORE} 57"), b"offline " + STORE.encode() + b" 57"),
    ],
)
def test_a_status_is_readable_by_people(status: Status, text: bytes) -> None:
    """An installer sees it with any MQTT client."""
    assert encode_status(status) == text
    assert decode_status(text) == status


@pytest.mark.parametrize("data", [b"", b"Online", b"onlineish", b"\xff", b"offline " + b"x" * 300])
def test_anything_else_is_no_status(data: bytes) -> None:
    """It must not show a dead box as alive."""
    with pytest.raises(Malformed, match=r"^status: "):
        decode_status(data)


@given(st.binary(max_size=100))
def test_random_bytes_are_a_heartbeat_or_malformed(data: bytes) -> None:
    """Unsigned, so anybody's."""
    try:
        health = decode_heartbeat(data)
    except WireError:
        return
    assert isinstance(health, Health)


def test_a_heartbeat_comes_back() -> None:
    """Rounded to its steps."""
    assert decode_heartbeat(encode_heartbeat(Health(uptime_s=12.4, frames=3))) == Health(uptime_s=12, frames=3)


@pytest.mark.parametrize("leaf", Leaf)
def test_a_topic_comes_back(leaf: Leaf) -> None:
    """Built and taken apart in one place only."""
    assert parse(topic(BOX, leaf)) == Address(BOX, leaf)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pb/v1",
        f"pb/v1/{BOX}",
        f"pb/v1/{BOX}/",
        f"pb/v1/{BOX}/q",
        f"pb/v1/{BOX}/r/",
        f"/pb/v1/{BOX}/r",
        f"pb/v2/{BOX}/r",
        f"pb/v1/{BOX.upper()}/r" if BOX.upper() != BOX else "pb/v1/X/r",
        f"pb/v1/{BOX}0/r",
        "pb/v1/+/r",
        f"pb/v1/pb/v1/{BOX}/r",
        f"pb/v1/{BOX}/r\n",
        f"pb/v1/{BOX}\n/r",
    ],
)
def test_anything_else_is_no_topic_of_ours(text: str) -> None:
    """A box's name must never be more than its sixteen digits: it becomes a database key."""
    assert parse(text) is None


def test_a_collector_subscribes_to_every_topic_that_goes_up() -> None:
    """And to none that it writes itself."""
    assert everything_up() == ["pb/v1/+/r", "pb/v1/+/h", "pb/v1/+/s"]
    assert everything_up("book") == ["$share/book/pb/v1/+/r", "$share/book/pb/v1/+/h", "$share/book/pb/v1/+/s"]
    assert {*UP, *DOWN} == set(Leaf) == set(MANNERS)
