"""Register batteries as parts with the Ouranos Ecosystem's data-transaction system (API 3.0.0 of its version 1.2).

In:  a `PartEntry`. Out: the trace id. Fills `ports.PartsRegister`.
Raises `OuranosError` with what the platform said; keys and tokens are in no message. Asking again is harmless.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final

import httpx

from packbook.core.ouranos import NotAPart, PartEntry, parts_model, trace_id
from packbook.ports.trouble import PackbookError

PATH: Final = "/api/v1/datatransport"
TARGET: Final = {"dataTarget": "parts"}
ANSWER_WAIT_MAX_S: Final = 30.0
SAID_CHARS_MAX: Final = 300


class OuranosError(PackbookError):
    """The platform did not register the part, or its answer cannot be believed. Nothing was kept; ask again."""


class Ouranos:
    def __init__(
        self, url: str, *, api_key: str, token: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`url`: https://HOST of the platform."""
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"apiKey": api_key, "Authorization": f"Bearer {token}"},
            timeout=ANSWER_WAIT_MAX_S,
            transport=transport,
        )

    async def __aenter__(self) -> Ouranos:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def register(self, entry: PartEntry) -> str:
        """The trace id. Raises OuranosError."""
        try:
            asked = parts_model(entry)
            answer = await self._client.put(PATH, params=TARGET, json=asked)
            if answer.status_code != httpx.codes.CREATED:
                raise OuranosError(f"ouranos: the platform answered {answer.status_code}: {_said(answer)}")
            return trace_id(answer.json(), asked)
        except httpx.HTTPError as problem:
            raise OuranosError(f"ouranos: the platform cannot be reached ({type(problem).__name__})") from problem
        except (NotAPart, ValueError) as problem:
            raise OuranosError(f"ouranos: {problem}") from problem


def _said(answer: httpx.Response) -> str:
    try:
        told: Any = answer.json()
        said = f"{told['code']} {told['message']}"
    except (ValueError, KeyError, TypeError):
        return "nothing that can be read"
    return "".join(letter for letter in said if letter.isprintable())[:SAID_CHARS_MAX]
