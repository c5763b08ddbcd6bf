"""The broker in memory keeps the promises that tests and worlds rely on."""

from __future__ import annotations

import asyncio

import pytest

from packwire.testing import BrokerDownError, Faults, MemoryBroker, MemoryLink, matches


@pytest.mark.parametrize(
    ("topic_filter", "topic", "fits"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("+/b", "a/b", True),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("#", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("a", "a/b", False),
        ("a/+", "a", False),
    ],
)
def test_filters_fit_as_in_mqtt(topic_filter: str, topic: str, fits: bool) -> None:
    """A fake that is kinder than the real thing would hide mistakes."""
    assert matches(topic_filter, topic) is fits


async def test_a_retained_message_greets_a_new_subscriber() -> None:
    """The ack reaches a box that was off."""
    broker = MemoryBroker()
    broker.publish("t", b"old", retain=True)
    broker.publish("t", b"new", retain=True)
    link = broker.connect("box")
    link.subscribe("t")
    message = await link.receive()
    assert (message.payload, message.retained) == (b"new", True)


async def test_what_was_not_acknowledged_comes_again_on_the_next_link() -> None:
    """Only for a lasting session, and only what is open."""
    broker = MemoryBroker()
    link = broker.connect("book", lasting=True)
    link.subscribe("t")
    for payload in (b"1", b"2", b"3"):
        broker.publish("t", payload)
    link.ack(await link.receive())
    await link.receive()
    link.cut()
    again = broker.connect("book", lasting=True)
    assert [(await again.receive()).payload, (await again.receive()).payload] == [b"2", b"3"]


async def test_a_cut_link_wakes_whoever_waits_and_publishes_the_will() -> None:
    """No test may hang on a dead link."""
    broker = MemoryBroker()
    link = broker.connect("box", will=("s", b"lost"))
    link.subscribe("t")
    waiting = asyncio.create_task(link.receive())
    await asyncio.sleep(0)
    link.cut()
    with pytest.raises(BrokerDownError):
        await waiting
    assert broker.retained == {"s": b"lost"}


async def test_a_second_link_of_a_client_cuts_the_first() -> None:
    """Two boxes with one key: MQTT lets the newer one win."""
    broker = MemoryBroker()
    first = broker.connect("box")
    broker.connect("box")
    with pytest.raises(BrokerDownError):
        first.publish("t", b"")


async def test_a_shared_subscription_gives_each_message_to_one_member() -> None:
    """Several collectors share the work."""
    broker = MemoryBroker(seed=3)
    links = [broker.connect(f"book-{n}") for n in range(2)]
    for link in links:
        link.subscribe("$share/book/t/+")
    for n in range(20):
        broker.publish(f"t/{n}", b"%d" % n)
    got = [await _drain(link) for link in links]
    assert sorted(got[0] + got[1]) == list(range(20))
    assert got[0]
    assert got[1]


async def test_a_broker_that_is_down_takes_nothing_and_may_forget() -> None:
    """As after a power cut in the computing centre."""
    broker = MemoryBroker()
    broker.publish("t", b"x", retain=True)
    broker.stop(forget=True)
    with pytest.raises(BrokerDownError):
        broker.connect("box")
    broker.start()
    broker.connect("box")
    assert broker.retained == {}


async def test_the_same_seed_gives_the_same_misfortune() -> None:
    """A failing world must fail again."""
    runs = [await _unlucky(seed) for seed in (7, 7, 8)]
    assert runs[0] == runs[1] != runs[2]
    assert len(runs[0]) != 200 or runs[0] != sorted(runs[0])


async def _unlucky(seed: int) -> list[int]:
    broker = MemoryBroker(seed, Faults(lose=0.2, double=0.2, swap=0.2))
    link = broker.connect("book")
    link.subscribe("t")
    for n in range(200):
        broker.publish("t", b"%d" % n)
    return await _drain(link)


async def _drain(link: MemoryLink) -> list[int]:
    got: list[int] = []
    try:
        while True:
            async with asyncio.timeout(0.01):
                got.append(int((await link.receive()).payload))
    except TimeoutError:
        return got
