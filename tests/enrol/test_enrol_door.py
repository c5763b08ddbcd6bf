"""The enrolment door stands open to the whole internet: who is slow, loud or many keeps no box outside."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import pytest

from packbook.adapters.authority import CA_FILE
from packbook.app.serve_est import HEADERS_BYTES_MAX
from packbook.web import est
from packbox.app.enrol import enrol
from packwire.enrolment import CA_CERTS, ENROL

from .conftest import HOST, Book, Box

ELSEWHERE: Final = "127.0.0.2"
WAIT_MAX_S: Final = 20.0
HEAD: Final = f"POST {ENROL} HTTP/1.1\r\nHost: book\r\n".encode()


@asynccontextmanager
async def stranger(
    book: Book, address: str = ELSEWHERE
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = ssl.create_default_context(cafile=book.authority.folder / CA_FILE)
    reader, writer = await asyncio.open_connection(HOST, urlsplit(book.url).port, ssl=context, local_addr=(address, 0))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came until the other side hung up."""
    async with asyncio.timeout(WAIT_MAX_S):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def join(book: Book, box: Box) -> None:
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation())


@pytest.mark.parametrize(
    "sent",
    [b"", HEAD, HEAD + b"Content-Length: 900\r\n\r\nMII", f"GET {CA_CERTS} HTTP/1.1\r\nHost: book\r\n\r\n".encode()],
    ids=["nothing", "half a head", "half a body", "a request, and then nothing"],
)
async def test_who_dawdles_is_cut_off(book: Book, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """One byte a minute costs the sender nothing; without an end two hundred of them would close the door."""
    monkeypatch.setattr(est, "CONNECTION_MAX_S", 0.3)
    async with stranger(book) as (reader, writer):
        writer.write(sent)
        await ended(reader)


async def test_many_connections_of_one_address_keep_no_other_outside(
    book: Book, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single machine must not be able to fill the door."""
    monkeypatch.setattr(est, "ADDRESS_CONNECTIONS_MAX", 3)
    held = [stranger(book) for _ in range(3)]
    for one in held:
        await one.__aenter__()
    async with stranger(book) as (reader, writer):
        writer.write(HEAD)
        assert await ended(reader) == b""
    await join(book, box)
    assert box.keys.held() is not None
    for one in held:
        await one.__aexit__(None, None, None)
    async with stranger(book) as (reader, writer):
        writer.write(f"GET {CA_CERTS} HTTP/1.1\r\nHost: book\r\nConnection: close\r\n\r\n".encode())
        assert (await ended(reader)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"X-Long: " + b"a" * HEADERS_BYTES_MAX + b"\r\n", b"400"),
        (HEAD + b"Content-Length: 1000000\r\n\r\n" + b"A" * 2 * est.REQUEST_BYTES_MAX, b"400"),
        (
            HEAD
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"4000\r\n"
            + b"A" * 0x4000
            + b"\r\n4000\r\n"
            + b"A" * 0x4000,
            b"400",
        ),
    ],
    ids=["head", "body", "chunks"],
)
async def test_what_is_too_big_is_refused_before_it_is_all_there(book: Book, sent: bytes, status: bytes) -> None:
    """Memory is for boxes."""
    async with stranger(book) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(WAIT_MAX_S):
            assert (await reader.readline()).split()[1] == status
