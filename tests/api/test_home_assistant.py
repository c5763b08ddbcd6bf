"""What a Home Assistant is told of its owner's car, over a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import aiomqtt
import pytest

from brokers import Mosquitto
from packbook.adapters.home_assistant import HomeAssistant
from packbook.app.home_assistant import home_assistant, wanted
from packbook.core.consent import PASSPORT
from packbook.core.history import Doubt
from packbook.core.home_assistant import ENTITIES, Shown, discovery, object_id, state, topics_of
from packbook.settings import Settings
from packbook.testing.lived_in import lived_in
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import BOX, STORE

LEAF: Final = "leaf-24-0001"
KEY: Final = bytes(range(32))
TOPICS: Final = topics_of("homeassistant", KEY)
SECONDS: Final = 10.0  # for anything to arrive; it takes milliseconds

# https://developers.home-assistant.io/docs/core/entity/sensor: which state classes a device class takes, in which unit
FITTING: Final = {
    None: ({"measurement"}, {"%"}),
    "battery": ({"measurement"}, {"%"}),
    "distance": ({"measurement", "total", "total_increasing"}, {"km"}),
    "energy": ({"total", "total_increasing", None}, {"kWh"}),
    "timestamp": ({None}, {None}),
    "connectivity": ({None}, {None}),
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def book() -> MemoryHistories:
    lived = lived_in()
    lived.agreed[LEAF] = {f"{BOX}/{STORE}": (PASSPORT,)}
    return lived


@dataclass
class Ear:
    """Another client of that broker: what is retained there, by topic."""

    kept: dict[str, bytes] = field(default_factory=dict)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, topic: str, payload: bytes | None) -> None:
        async with asyncio.timeout(SECONDS):
            while self.kept.get(topic) != payload:
                self.heard.clear()
                await self.heard.wait()

    async def there(self, topic: str) -> Any:
        async with asyncio.timeout(SECONDS):
            while topic not in self.kept:
                self.heard.clear()
                await self.heard.wait()
        return json.loads(self.kept[topic])


@asynccontextmanager
async def listening(house: Mosquitto) -> AsyncIterator[Ear]:
    ear = Ear()

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = bytes(message.payload) if isinstance(message.payload, (bytes, bytearray)) else b""
            if payload:
                ear.kept[message.topic.value] = payload
            else:
                ear.kept.pop(message.topic.value, None)
            ear.heard.set()

    async with aiomqtt.Client(house.host, house.port) as client:
        await client.subscribe("#", qos=1)
        task = asyncio.create_task(listen(client))
        yield ear
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def settings(house: Mosquitto, *batteries: str) -> Settings:
    return Settings(home_assistant=f"mqtt://{house.host}:{house.port}", home_assistant_batteries=batteries)


@asynccontextmanager
async def telling(house: Mosquitto, book: MemoryHistories, *batteries: str) -> AsyncIterator[None]:
    made = home_assistant(settings(house, *batteries), book, KEY)
    assert made is not None
    made._look_every_s = 0.01
    task = asyncio.create_task(made.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def shown(book: MemoryHistories) -> Shown:
    rows = list(reversed(book.session_rows[LEAF]))
    charge = next(row for row in rows if row.kind == "charge")
    return Shown(book.heads[LEAF], book.totals[LEAF], rows[:20], charge, book.box_rows[:1])


async def test_a_car_appears_with_its_figures_and_follows_them(house: Mosquitto, book: MemoryHistories) -> None:
    """One retained message makes the device, so a restarted house finds it again; states come when they change."""
    async with listening(house) as ear, telling(house, book, LEAF):
        config = await ear.there(TOPICS.config(LEAF))
        told = await ear.there(TOPICS.state(LEAF))
        await ear.until(TOPICS.status, b"online")
        assert config["device"]["name"] == book.heads[LEAF].vehicle
        assert config["components"].keys() == told.keys() == {entity.key for entity in ENTITIES}
        assert (config["state_topic"], config["availability_topic"]) == (TOPICS.state(LEAF), TOPICS.status)
        assert told["box"] == "ON"
        book.box_rows = [replace(row, online=False) for row in book.box_rows]
        await ear.until(TOPICS.state(LEAF), json.dumps(told | {"box": "OFF"}, separators=(",", ":")).encode())


async def test_who_takes_back_consent_disappears_from_the_house(house: Mosquitto, book: MemoryHistories) -> None:
    """Home Assistant removes a device whose retained message is empty, and the broker forgets its figures."""
    async with listening(house) as ear, telling(house, book, LEAF, "imiev-16-0007", "never-seen"):
        await ear.there(TOPICS.state(LEAF))
        assert set(ear.kept) == {TOPICS.status, TOPICS.config(LEAF), TOPICS.state(LEAF)}  # nobody else agreed
        book.agreed[LEAF] = {f"{BOX}/{STORE}": ()}
        await ear.until(TOPICS.config(LEAF), None)
        await ear.until(TOPICS.state(LEAF), None)


async def test_what_is_named_no_longer_is_removed_by_the_next_start(house: Mosquitto, book: MemoryHistories) -> None:
    """Switching it off leaves no ghost in the house; another book's devices are not ours to remove."""
    other = topics_of("homeassistant", bytes(32))
    async with listening(house) as ear:
        async with telling(house, book, LEAF):
            await ear.there(TOPICS.state(LEAF))
        async with aiomqtt.Client(house.host, house.port) as client:
            await client.publish(other.config(LEAF), b"{}", qos=1, retain=True)
        async with telling(house, book):
            await ear.until(TOPICS.config(LEAF), None)
            await ear.until(TOPICS.state(LEAF), None)
        assert ear.kept[other.config(LEAF)] == b"{}"


async def test_the_house_knows_when_the_book_is_gone(house: Mosquitto, book: MemoryHistories) -> None:
    """Figures that nobody keeps current any more must not look current: by farewell, and by will when cut off."""
    async with listening(house) as ear:
        async with telling(house, book, LEAF):
            await ear.until(TOPICS.status, b"online")
        await ear.until(TOPICS.status, b"offline")
        async with telling(house, book, LEAF):
            await ear.until(TOPICS.status, b"online")
            async with aiomqtt.Client(
                house.host, house.port, identifier=TOPICS.node
            ):  # the broker throws the first out
                await ear.until(TOPICS.status, b"offline")
            await ear.until(TOPICS.status, b"online")


async def test_a_broker_that_comes_back_is_told_everything_again(house: Mosquitto, book: MemoryHistories) -> None:
    """It may have forgotten what it retained."""
    async with telling(house, book, LEAF):
        async with listening(house) as ear:
            await ear.there(TOPICS.state(LEAF))
        house.kill()
        house.start()
        async with listening(house) as ear:
            await ear.there(TOPICS.config(LEAF))
            await ear.there(TOPICS.state(LEAF))


def test_units_and_classes_fit_together(book: MemoryHistories) -> None:
    """Home Assistant logs a complaint for a class without its unit, and drops statistics."""
    config: Any = discovery(shown(book), TOPICS, "en", "1", None)
    ids = [component["unique_id"] for component in config["components"].values()]
    assert len(set(ids)) == len(ids)
    for key, component in config["components"].items():
        classes, units = FITTING[component.get("device_class")]
        assert component.get("state_class") in classes, key
        assert component.get("unit_of_measurement") in units, key
        assert component["platform"] == ("binary_sensor" if key == "box" else "sensor")
    assert config["device"]["identifiers"]
    assert config["origin"]["name"]


def test_the_manual_shows_the_messages_as_they_are(book: MemoryHistories, root: Path) -> None:
    """People build automations from what the manual shows."""
    text = (root / "docs/home-assistant.md").read_text(encoding="utf-8")
    config, told = (json.loads(block.partition("```")[0]) for block in text.split("```json")[1:])
    made: Any = discovery(shown(book), TOPICS, "en", "0.1.0", None)
    made["components"] = {"soh_pct": made["components"]["soh_pct"]}
    assert config == made
    assert told == state(shown(book))


def test_unknown_is_null_and_a_disputed_figure_is_not_told(book: MemoryHistories) -> None:
    """Home Assistant would keep a wrong figure in its statistics for good."""
    sure = shown(book)
    doubt = Doubt("two_boxes", BOX, STORE, 1, 3, settled=False)
    told = state(replace(sure, battery=replace(sure.battery, doubts=(doubt,))))
    of_it = ("soh_pct", "lo90_pct", "hi90_pct", "odometer_km", "charged_kwh")
    assert [told[key] for key in of_it] == [None] * 5
    assert state(sure)["soh_pct"] is not None
    silent = Shown(replace(sure.battery, soh=None), None, (), None, ())
    assert set(state(silent).values()) == {None}


def test_names_become_topics_that_mqtt_allows() -> None:
    """Batteries name themselves; + and # would be wildcards, and two names must not become one."""
    names = ["a/b", "a+b", "a#b", "電池", "a_b"]
    made = [object_id(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(part.isascii() and not set(part) & set("/+#") for part in made)


async def test_why_a_battery_is_not_shown_is_said_once(
    house: Mosquitto, book: MemoryHistories, caplog: pytest.LogCaptureFixture
) -> None:
    """Every ten seconds would fill the log."""
    gather = wanted(settings(house, "imiev-16-0007"), book, TOPICS)
    assert [await gather(), await gather()] == [{}, {}]
    assert [record.getMessage().partition(" is not shown")[0] for record in caplog.records] == [
        "home_assistant_batteries: imiev-16-0007"
    ]


def test_nothing_is_told_unless_asked_for(book: MemoryHistories) -> None:
    """Off by default."""
    assert home_assistant(Settings(), book, KEY) is None
    assert isinstance(home_assistant(Settings(home_assistant="mqtt://127.0.0.1"), book, KEY), HomeAssistant)
