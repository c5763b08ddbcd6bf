"""What operators do to a book, also while it runs: a SQLite database has one writer, so the writer does it for them.

In:  the name of an act and its arguments (JSON values).
Out: the act's answer (a JSON value).
A running `serve` or `collect` listens on a socket beside its database file that only its own user may open; without
one, and on PostgreSQL, the command opens the database itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from packbook.adapters.store import open_writer
from packbook.adapters.store.database import Database, database_url
from packbook.ports.trouble import PackbookError, StoreError
from packbook.settings import Settings

SUFFIX: Final = ".operate"
SOCKET_MODE: Final = 0o600
ANSWER_WAIT_MAX_S: Final = 60.0
LINE_BYTES_MAX: Final = 4_194_304  # thousands of new codes at once

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Office:
    """What an act works with."""

    database: Database
    settings: Settings


Act = Callable[[Office, Mapping[str, Any]], Awaitable[object]]
Do = Callable[[str, Mapping[str, Any]], Awaitable[Any]]  # an act by its name


class OperateError(PackbookError):
    """The act was not done; the text says why."""


async def operate(
    settings: Settings,
    acts: Mapping[str, Act],
    act: str,
    arguments: Mapping[str, Any],
    *,
    wait_max_s: float = ANSWER_WAIT_MAX_S,
) -> Any:  # noqa: ANN401 - JSON
    """Do it here, or let the running book do it and wait so long for its answer. Raises PackbookError."""
    place = _place(settings)
    if place is not None:
        try:
            reader, writer = await asyncio.open_unix_connection(place, limit=LINE_BYTES_MAX)
        except (FileNotFoundError, ConnectionRefusedError):
            pass  # nobody runs here
        except OSError as problem:
            raise OperateError(f"{place}: the running book cannot be asked: {problem.strerror}") from problem
        else:
            return await _ask(reader, writer, {"act": act, "arguments": arguments}, wait_max_s)
    async with open_writer(settings.database_url.get_secret_value(), f"operator-{os.getpid()}") as database:
        return await acts[act](Office(database, settings), arguments)


def doing(office: Office, acts: Mapping[str, Act], *, own: bool) -> Do:
    """How acts are done. `own`: this process may write the database; else the one that writes it is asked to."""
    if not own and office.database.is_sqlite:
        return partial(operate, office.settings, acts)

    async def do(act: str, wish: Mapping[str, Any]) -> object:
        return await acts[act](office, wish)

    return do


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wish: Mapping[str, Any], wait_max_s: float
) -> Any:  # noqa: ANN401 - JSON
    try:
        async with asyncio.timeout(wait_max_s):
            writer.write(json.dumps(wish).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
    except (TimeoutError, OSError) as problem:
        raise OperateError(
            "the running book does not answer; look whether it was done before trying again"
        ) from problem
    finally:
        writer.close()
    if not line:
        raise OperateError("the running book hung up; look whether it was done before trying again")
    answer = json.loads(line)
    if "problem" in answer:
        raise OperateError(answer["problem"])
    return answer["answer"]


@asynccontextmanager
async def operators_door(office: Office, acts: Mapping[str, Act]) -> AsyncIterator[None]:
    """While open, other processes of our user may have acts done. Only the writer of a SQLite file needs it."""
    place = _place(office.settings)
    if place is None:
        yield
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            writer.write(json.dumps(await _answer(office, acts, line)).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError) as problem:
            log.debug("an operator left early", extra={"REASON": str(problem)})
        finally:
            writer.close()

    place.unlink(missing_ok=True)  # of a book that was killed: we are the writer now
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.bind(str(place))
            place.chmod(SOCKET_MODE)  # nobody can connect before somebody listens
        except OSError as problem:
            raise StoreError(f"{place}: operators' socket cannot be made: {problem}") from problem
        try:
            async with await asyncio.start_unix_server(serve, sock=door, limit=LINE_BYTES_MAX):
                yield
        finally:
            place.unlink(missing_ok=True)


async def _answer(office: Office, acts: Mapping[str, Act], line: bytes) -> dict[str, Any]:
    try:
        wish = json.loads(line)
        act = acts[wish["act"]]
    except (ValueError, KeyError, TypeError):
        return {"problem": "the running book does not know this act: it is of another version"}
    try:
        return {"answer": await act(office, wish["arguments"])}
    except PackbookError as problem:
        return {"problem": str(problem)}


def _place(settings: Settings) -> Path | None:
    url = database_url(settings.database_url.get_secret_value())
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    file = Path(str(url.database))
    return file.with_name(file.name + SUFFIX)
