"""Word of changes as they happen: to whom, how much, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from packbook.core.accounts import EVERYWHERE, NOWHERE, Reach
from packbook.core.live import NAMES_MAX, Look, Sight, Topic, change, news
from packbook.ports.trouble import StoreError
from packbook.web import live
from packbook.web.live import CannotListen, Hub, Listener

ALL = tuple(Topic)
Told = dict[str, Any]


def sights(names: dict[str, int], tenant: str = "main") -> dict[str, Sight]:
    return {name: Sight(version, tenant, frozenset({name})) for name, version in names.items()}


@dataclass
class Looks:
    """A book whose next look is what a test says."""

    batteries: dict[str, Sight] = field(default_factory=lambda: sights({"a": 1, "b": 1}))
    boxes: dict[str, Sight] = field(default_factory=dict)
    away: bool = False
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    async def more(self, times: int = 2) -> None:
        """Wait until it was looked at so often again; after two, one of them began and ended meanwhile."""
        for _ in range(times):
            self.looked.clear()
            await self.looked.wait()

    async def look(self) -> Look:
        self.looked.set()
        if self.away:
            raise StoreError("database: locked")
        return {Topic.BATTERIES: dict(self.batteries), Topic.BOXES: dict(self.boxes)}


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


class Ear:
    """Reads one stream, event by event."""

    def __init__(self, hub: Hub, listener: Listener, still: Callable[[], Any] = yes) -> None:
        self._stream = hub.stream(listener, still)

    async def next(self) -> tuple[str, Told | None, str | None]:
        """Event, data, id."""
        async with asyncio.timeout(10):
            return parsed(await anext(self._stream))

    async def ended(self) -> bool:
        async with asyncio.timeout(10):
            return await anext(self._stream, None) is None


def parsed(block: bytes) -> tuple[str, Told | None, str | None]:
    lines = dict(line.partition(": ")[::2] for line in block.decode().strip().splitlines())
    return lines.get("event", "comment"), json.loads(lines["data"]) if "data" in lines else None, lines.get("id")


def a_hub(looks: Looks, **times: float) -> Hub:
    return Hub(looks, **({"look_every_s": 0.001} | times))


async def test_a_change_is_told_to_those_whose_battery_it_is() -> None:
    """An owner hears of his own car, and learns nothing of others by silence or by name."""
    looks = Looks()
    looks.batteries |= sights({"c": 1}, "other")
    hub = a_hub(looks)
    reaches = {"a": Reach("main", frozenset({"a"})), "main": Reach("main"), "other": Reach("other"), "all": EVERYWHERE}
    ears = {name: Ear(hub, await hub.admit(reach, ALL, None)) for name, reach in reaches.items()}
    assert [await ear.next() for ear in ears.values()] == [("ready", {}, f"{hub._name}-0")] * 4
    looks.batteries |= sights({"a": 2}) | sights({"c": 2}, "other")
    heard = {name: await ear.next() for name, ear in ears.items()}
    names = {name: told and told["batteries"] for name, (_, told, _) in heard.items()}
    assert names == {"a": ["a"], "main": ["a"], "other": ["c"], "all": ["a", "c"]}
    await hub.aclose()
    assert [await ear.ended() for ear in ears.values()] == [True] * 4


async def test_who_may_not_read_the_fleet_hears_of_batteries_alone() -> None:
    """Boxes are the operator's."""
    looks = Looks()
    hub = a_hub(looks)
    ear = Ear(hub, await hub.admit(EVERYWHERE, (Topic.BATTERIES,), None))
    await ear.next()
    looks.boxes |= sights({"box": 1})
    looks.batteries |= sights({"a": 2})
    assert (await ear.next())[1] == {"batteries": ["a"]}
    await hub.aclose()


async def test_who_comes_back_is_told_what_he_missed() -> None:
    """A phone that slept, a train in a tunnel: Last-Event-ID goes on where it was."""
    looks = Looks()
    hub = a_hub(looks)
    ear = Ear(hub, await hub.admit(EVERYWHERE, ALL, None))
    await ear.next()
    looks.batteries |= sights({"a": 2})
    _, _, had = await ear.next()
    away = Ear(hub, await hub.admit(EVERYWHERE, ALL, had))
    looks.batteries |= sights({"b": 2})
    await ear.next()
    looks.batteries |= sights({"a": 3})
    await ear.next()
    back = Ear(hub, await hub.admit(EVERYWHERE, ALL, had))
    assert (await back.next())[2] is None  # losing the line here must not skip what follows
    assert (await back.next())[1] == {"batteries": ["a", "b"], "boxes": [], "alerts": []}
    await away.next()
    await hub.aclose()


@pytest.mark.parametrize("last_id", ["another-1", "", "nonsense", "-1", "{name}-99", "{name}-x", "{name}--1"])
async def test_who_comes_with_an_id_of_another_life_is_told_to_ask_for_all(last_id: str) -> None:
    """A restarted book, another worker behind the same address, or somebody's invention."""
    hub = a_hub(Looks())
    ear = Ear(hub, await hub.admit(EVERYWHERE, ALL, last_id.format(name=hub._name)))
    await ear.next()
    assert (await ear.next())[1] == {"batteries": None, "boxes": None, "alerts": None}
    await hub.aclose()


async def test_a_slow_listener_gets_later_news_as_one() -> None:
    """Whoever does not read costs us a few names, not a queue."""
    looks = Looks()
    hub = a_hub(looks)
    listener = await hub.admit(EVERYWHERE, ALL, None)
    for version in range(2, 9):
        looks.batteries |= sights({"a": version, f"new-{version}": 1})
        await looks.more()
    ear = Ear(hub, listener)
    await ear.next()
    told = (await ear.next())[1]
    assert told == {"batteries": ["a", *(f"new-{version}" for version in range(2, 9))], "boxes": [], "alerts": []}
    await hub.aclose()


def test_many_changes_are_not_named() -> None:
    """A fleet that comes back after an outage is one line; the lists say the rest."""
    before = {Topic.BATTERIES: sights({f"b{n}": 1 for n in range(NAMES_MAX + 1)})}
    after = {Topic.BATTERIES: sights({f"b{n}": 2 for n in range(NAMES_MAX + 1)})}
    found = change(before, after)
    assert news(found, EVERYWHERE).told(ALL) == {"batteries": None, "boxes": [], "alerts": []}
    assert news(found, Reach(None, frozenset({"b7"}))).told(ALL) == {"batteries": ["b7"], "boxes": [], "alerts": []}
    assert not news(found, NOWHERE)


def test_what_left_somebodys_reach_is_told_to_both() -> None:
    """The old tenant asks and finds it gone; the new one finds it."""
    found = change({Topic.BATTERIES: sights({"a": 1}, "old")}, {Topic.BATTERIES: sights({"a": 1}, "new")})
    assert news(found, Reach("old")).told(ALL)["batteries"] == ["a"]
    assert news(found, Reach("new")).told(ALL)["batteries"] == ["a"]
    assert news(found, Reach("third")).told(ALL)["batteries"] == []


async def test_a_quiet_line_beats_and_ends_for_who_was_sent_away() -> None:
    """A session that was ended elsewhere hears nothing more after one heartbeat, news that wait included."""
    looks = Looks()
    hub = a_hub(looks, heartbeat_s=0.01)
    first = Ear(hub, await hub.admit(EVERYWHERE, ALL, None))
    second = Ear(hub, await hub.admit(EVERYWHERE, ALL, None), no)
    await first.next()
    await second.next()
    assert await second.ended()
    assert (await first.next())[0] == "comment"
    assert hub.listeners == 1
    await hub.aclose()


async def test_a_stream_has_an_end_so_that_nobody_listens_on_for_ever() -> None:
    """Programs come back by themselves; what was forgotten goes."""
    hub = a_hub(Looks(), life_max_s=0.0)
    ear = Ear(hub, await hub.admit(EVERYWHERE, ALL, None))
    await ear.next()
    assert await ear.ended()
    assert hub.listeners == 0


async def test_nobody_looks_while_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle book does no work."""
    looks = Looks()
    hub = a_hub(looks)
    listener = await hub.admit(EVERYWHERE, ALL, None)
    hub.leave(listener)
    task = hub._looking
    assert task is not None
    await asyncio.wait_for(task, 10)
    again = await hub.admit(EVERYWHERE, ALL, None)
    assert hub._looking is not task
    monkeypatch.setattr(live, "LISTENERS_MAX", 1)
    with pytest.raises(CannotListen, match="1 listen already"):
        await hub.admit(EVERYWHERE, ALL, None)
    hub.leave(again)
    await hub.aclose()
    with pytest.raises(CannotListen, match="being stopped"):
        await hub.admit(EVERYWHERE, ALL, None)


async def test_a_book_that_is_away_is_looked_at_again(caplog: pytest.LogCaptureFixture) -> None:
    """A locked database makes nobody deaf, and fills no log."""
    looks = Looks()
    hub = a_hub(looks)
    ear = Ear(hub, await hub.admit(EVERYWHERE, ALL, None))
    await ear.next()
    looks.away = True
    await looks.more(3)
    looks.away = False
    looks.batteries |= sights({"a": 2})
    assert (await ear.next())[1] == {"batteries": ["a"], "boxes": [], "alerts": []}
    assert [record.getMessage() for record in caplog.records] == [
        "database: locked; listeners hear nothing until it answers"
    ]
    await hub.aclose()
