"""Word of changes as they happen, for pages and programs that would otherwise ask every few seconds (SSE).

In:  a `Watch`; how far each listener's eyes reach.
Out: server-sent events: `ready`, then `changed` with the names of what changed, each with an id to go on from.
One task looks for all listeners, and only while there are any. A slow listener gets later news as one; nobody can
make us keep more than a few names for him. Refuses more than LISTENERS_MAX listeners; a stream ends when the book
stops, when its reader may no longer read, and after LIFE_MAX_S: programs come back with `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.types import Receive, Scope, Send

from packbook.core.accounts import EVERYWHERE, FIRST_TENANT, May, Reach, Who
from packbook.core.live import ANYTHING, NOTHING, Change, Look, News, Sight, Topic, change, news
from packbook.ports.histories import Histories, Watch
from packbook.ports.trouble import PackbookError
from packbook.web.access import histories, note_history, note_list, who_of
from packbook.web.api import BATTERY_MAX, NO_CONTROLS
from packbook.web.door import who_comes
from packbook.web.guard import ASKED_BY_HEAD

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would gather it up
LOOK_EVERY_S: Final = 1.0
LOOK_SHARE_MAX: Final = 0.05  # of the time: a large book is looked at more rarely
HEARTBEAT_S: Final = 15.0  # below the idle limits of usual proxies; how long a reader who was sent away may listen on
LIFE_MAX_S: Final = 3600.0
LISTENERS_MAX: Final = 1000  # of one process
REMEMBERED_MAX: Final = 256  # changes that a listener who was away can be told of

log = logging.getLogger(__name__)


class CannotListen(PackbookError):
    """Not now, or not here. Ask for what is wanted now and then instead, or come again."""


class Listener:
    """What one of them is still to be told."""

    def __init__(self, reach: Reach, topics: Collection[Topic], first: News) -> None:
        self.reach = reach
        self.topics = topics
        self._waiting = first
        self._news = asyncio.Event()
        if first:
            self._news.set()

    def tell(self, found: News) -> None:
        found = found.of(self.topics)
        if found:
            self._waiting += found
            self._news.set()

    def wake(self) -> None:
        self._news.set()

    @property
    def owed(self) -> bool:
        return bool(self._waiting)

    async def hear(self, wait_max_s: float) -> News:
        """Nothing, if nothing came meanwhile."""
        try:
            async with asyncio.timeout(wait_max_s):
                await self._news.wait()
        except TimeoutError:
            return NOTHING
        self._news.clear()
        heard, self._waiting = self._waiting, NOTHING
        return heard


class LookThrough:
    """A `Watch` over any histories, where there is none of its own: it reads all heads, as only a small book can."""

    def __init__(self, histories: Histories) -> None:
        self._histories = histories

    async def look(self) -> Look:
        heads, boxes = await self._histories.batteries(), await self._histories.boxes()
        watched = {box.box: frozenset(head.battery for head in heads if box.box in head.boxes) for box in boxes}
        return {
            Topic.BATTERIES: {
                head.battery: Sight((head.records, head.last_ms, head.doubts), FIRST_TENANT, frozenset((head.battery,)))
                for head in heads
            },
            Topic.BOXES: {
                box.box: Sight((box.last_seen_ms, box.online), FIRST_TENANT, watched[box.box]) for box in boxes
            },
        }


class Hub:
    """One for each process. It needs no starting: its task lives while somebody listens."""

    def __init__(
        self,
        watch: Watch,
        *,
        look_every_s: float = LOOK_EVERY_S,
        heartbeat_s: float = HEARTBEAT_S,
        life_max_s: float = LIFE_MAX_S,
    ) -> None:
        self._watch = watch
        self._look_every_s = look_every_s
        self._heartbeat_s = heartbeat_s
        self._life_max_s = life_max_s
        self._name = secrets.token_hex(4)  # ids of an earlier process, or another, say nothing about our changes
        self._number = 0
        self._remembered: deque[Change] = deque(maxlen=REMEMBERED_MAX)
        self._last: Look | None = None
        self._listeners: set[Listener] = set()
        self._looking: asyncio.Task[None] | None = None
        self._resting = asyncio.Event()  # nobody listens
        self._closed = False

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    async def aclose(self) -> None:
        """Every stream ends at once, and none begins."""
        self._closed = True
        for listener in self._listeners:
            listener.wake()
        self._resting.set()
        if self._looking is not None:
            await self._looking

    async def admit(self, reach: Reach, topics: Collection[Topic], last_id: str | None) -> Listener:
        """Raises CannotListen, or StoreError when the book cannot be looked at."""
        if self._last is None:
            self._last = await self._watch.look()
        if self._closed or len(self._listeners) >= LISTENERS_MAX:
            raise CannotListen("this book is being stopped" if self._closed else f"{LISTENERS_MAX} listen already")
        listener = Listener(reach, topics, self._missed(reach, last_id).of(topics))
        self._listeners.add(listener)
        self._resting.clear()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_on(), name="live")
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        if not self._listeners:
            self._resting.set()

    async def stream(self, listener: Listener, still: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        """Events for one of them. `still`: may he listen on? Asked at every heartbeat."""
        loop = asyncio.get_running_loop()
        asked_at_s = loop.time()
        ends_at_s = asked_at_s + self._life_max_s
        try:
            yield self._event("ready", {}, None if listener.owed else self._number)
            while not self._closed and (left_s := ends_at_s - loop.time()) > 0:
                heard = await listener.hear(min(self._heartbeat_s, left_s))
                event = (
                    self._event("changed", heard.told(listener.topics), self._number) if heard else KEEPALIVE_COMMENT
                )
                if loop.time() - asked_at_s >= self._heartbeat_s:
                    asked_at_s = loop.time()
                    if not await still():
                        return
                if not self._closed:
                    yield event
        finally:
            self.leave(listener)

    def _event(self, event: str, data: object, number: int | None) -> bytes:
        """`number` None: no id, so that who loses the connection now asks again from the id he had."""
        place = None if number is None else f"{self._name}-{number}"
        return format_sse_event(event=event, data_str=json.dumps(data), id=place)

    def _missed(self, reach: Reach, last_id: str | None) -> News:
        """What happened since an id. Without one: nothing; the listener has just read what he watches."""
        if last_id is None:
            return NOTHING
        name, _, digits = last_id.partition("-")
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else -1
        ago = self._number - number
        if name != self._name or number < 0 or not 0 <= ago <= len(self._remembered):
            return ANYTHING
        missed = NOTHING
        for found in list(self._remembered)[len(self._remembered) - ago :]:
            missed += news(found, reach)
        return missed

    async def _look_on(self) -> None:
        """While somebody listens. A look under way comes to its end."""
        loop = asyncio.get_running_loop()
        trouble, pause_s = False, self._look_every_s
        while await self._pause(pause_s):
            began_s = loop.time()
            try:
                now = await self._watch.look()
            except PackbookError as problem:
                if not trouble:
                    log.warning("%s; listeners hear nothing until it answers", problem)
                trouble = True
                continue
            trouble = False
            self._compare(now)
            pause_s = max(self._look_every_s, (loop.time() - began_s) / LOOK_SHARE_MAX)

    async def _pause(self, pause_s: float) -> bool:
        """False: nobody listens any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._resting.wait()
        return not self._resting.is_set()

    def _compare(self, now: Look) -> None:
        found = change(self._last or now, now)
        self._last = now
        if not found:
            return
        self._number += 1
        self._remembered.append(found)
        told: dict[Reach, News] = {}  # many listeners, few reaches
        for listener in self._listeners:
            if listener.reach not in told:
                told[listener.reach] = news(found, listener.reach)
            listener.tell(told[listener.reach])


class _Stream(StreamingResponse):
    """Its listener leaves with it, also when it never began."""

    media_type = MEDIA_TYPE

    def __init__(self, hub: Hub, listener: Listener, still: Callable[[], Awaitable[bool]]) -> None:
        super().__init__(hub.stream(listener, still), headers=HEADERS)
        self._leave = partial(hub.leave, listener)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def live(
    request: Request,
    battery: Annotated[
        str | None, Query(description="Only of this battery", max_length=BATTERY_MAX, pattern=NO_CONTROLS)
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event heard: what came since is told first")
    ] = None,
) -> Response:
    """Reading on is put on record once, when it begins."""
    who, hub = who_of(request), hub_in(request.app)
    if battery is not None:
        if await histories(request).battery(battery) is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no battery {battery!r} is in this book")
        await note_history(request, battery, "api", "live")
    else:
        await note_list(request, sorted(who.reach.batteries or ()), "api", "live")
    if request.scope.get(ASKED_BY_HEAD):
        return Response(media_type=MEDIA_TYPE, headers=HEADERS)
    reach = who.reach.narrowed(EVERYWHERE if battery is None else Reach(None, frozenset((battery,))))
    topics = tuple(Topic) if May.READ_FLEET in who.may else (Topic.BATTERIES,)
    listener = await hub.admit(reach, topics, last_event_id)
    return _Stream(hub, listener, partial(_still, request, who))


async def _still(request: Request, who: Who) -> bool:
    """Signed out, revoked, or allowed something else meanwhile: he has to come again."""
    try:
        return await who_comes(request) == who
    except (HTTPException, PackbookError):
        return False


def hub_in(app: FastAPI) -> Hub:
    hub: Hub = app.state.live
    return hub
