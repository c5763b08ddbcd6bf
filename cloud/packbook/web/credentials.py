"""What checks the credentials that this book signed: its DID document, status lists, the schema. Public, and no more.

Any page may fetch them (CORS): a verifier in somebody's browser is what they are for.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import HTTPException, Request, Response

from packbook.ports.trust import Credentials

JSON: Final = "application/json"
SCHEMA: Final = "application/schema+json"
VC: Final = "application/vc"
FRESH: Final = {
    "Cache-Control": "public, max-age=300",
    "Access-Control-Allow-Origin": "*",
}  # revocations show in minutes
NO_ADDRESS: Final = "this book has no public address, so it signs by did:key and keeps no status list"


async def did_document(request: Request) -> Response:
    return _answer(_credentials(request).did_document(), JSON, NO_ADDRESS)


async def status_list(request: Request) -> Response:
    data = await _credentials(request).status_list(request.path_params["number"])
    return _answer(data, VC, "there is no such status list")


async def schema(request: Request) -> Response:
    return _answer(_credentials(request).schema(), SCHEMA, "")


def _credentials(request: Request) -> Credentials:
    found: Credentials | None = request.app.state.credentials
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "this book signs no credentials")
    return found


def _answer(data: bytes | None, media_type: str, absent: str) -> Response:
    if data is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, absent)
    return Response(data, media_type=media_type, headers=FRESH)
