"""Hundreds who read at once wait for each other, not for a connection that never comes."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from packbook.web.admission import Admission


class Slow:
    """Answers when it is let, and tells how many it had at once."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.order: list[str] = []
        self.at_work = 0
        self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.order.append(scope["path"])
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await self.go.wait()
        await asyncio.sleep(0)
        self.at_work -= 1
        if scope["path"] == "/wrong":
            raise RuntimeError("a mistake of ours")
        await Response("read")(scope, receive, send)


async def refuse(_request: Request) -> Response:
    return Response(status_code=503, headers={"Retry-After": "5"})


@pytest.fixture
def book() -> Slow:
    return Slow()


def readers_of(book: Slow, *, at_work_max: int = 3, waiting_max: int = 1000) -> httpx.AsyncClient:
    app = Admission(book, refuse, at_work_max, waiting_max)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://book.test")


async def turns(count: int = 100) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_many_readers_wait_in_turn_and_all_are_answered(book: Slow) -> None:
    """Three at work, two hundred and fifty there: no error, and first come, first served."""
    paths = [f"/{number}" for number in range(250)]
    async with readers_of(book) as client:
        asked = [asyncio.create_task(client.get(path)) for path in paths]
        await turns()
        assert book.order == paths[:3]
        book.go.set()
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200}
    assert book.order == paths
    assert book.most == 3


async def test_beyond_the_queue_one_is_asked_to_come_again(book: Slow) -> None:
    """At once, rather than after half a minute; those in the queue lose nothing by it."""
    async with readers_of(book, waiting_max=2) as client:
        asked = [asyncio.create_task(client.get(f"/{number}")) for number in range(5)]
        await turns()
        late = await client.get("/late")
        assert (late.status_code, late.headers["retry-after"]) == (503, "5")
        book.go.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}


async def test_a_mistake_or_a_reader_who_left_gives_the_place_back(book: Slow) -> None:
    """Else the book would stand still after a few of them."""
    async with readers_of(book, at_work_max=1) as client:
        wrong = asyncio.create_task(client.get("/wrong"))
        await turns()
        left = asyncio.create_task(client.get("/left"))
        await turns()
        left.cancel()
        book.go.set()
        with pytest.raises(RuntimeError):
            await wrong
        assert (await client.get("/next")).status_code == 200


async def test_whoever_takes_an_answer_slowly_holds_no_place(book: Slow) -> None:
    """Else eight phones in a tunnel would stop the book for all."""
    app = Admission(book, refuse, 1)
    stuck = asyncio.Event()

    async def takes_slowly(_message: object) -> None:
        await stuck.wait()

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    book.go.set()
    scope = {"type": "http", "method": "GET", "path": "/slow", "headers": []}
    slow = asyncio.create_task(app(scope, receive, takes_slowly))
    await turns()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://book.test") as client:
        assert (await client.get("/quick")).status_code == 200
    stuck.set()
    await slow


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/static/style.css", "/api/v1/live"])
async def test_some_never_wait(book: Slow, path: str) -> None:
    """A busy book is not a dead one, and must not be restarted for it; streams would hold their places for an hour."""
    async with readers_of(book, at_work_max=1) as client:
        asked = [asyncio.create_task(client.get(each)) for each in ("/first", path)]
        await turns()
        assert book.order == ["/first", path]
        book.go.set()
        await asyncio.gather(*asked)
