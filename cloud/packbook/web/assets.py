"""Static files: read once at start, sent compressed, cached for good under an address that carries their digest.

In:  the folder static/ (style, scripts, icon, and vendor/ made by hatch_build.py).
Out: `url(name)` for templates and an ASGI endpoint for /static/{name}.
Only files that were there at start can be asked for, so no path can lead outside.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import HTTPException, Request, Response

FOLDER: Final = Path(__file__).with_name("static")
SHIPPED: Final = frozenset({".css", ".js", ".svg", ".LICENSE", ".NOTICE"})
FOR_GOOD: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    packed: bytes  # gzip
    digest: str
    media_type: str


class Assets:
    """The files under `folder`, by their path within it."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._assets = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in SHIPPED
        }

    @classmethod
    @cache
    def shipped(cls) -> Assets:
        """Read and packed once for all applications of this process."""
        return cls()

    def __contains__(self, name: str) -> bool:
        return name in self._assets

    def url(self, name: str) -> str:
        return f"/static/{name}?v={self._assets[name].digest[:12]}"

    def answer(self, request: Request, name: str) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no file {name!r}")
        fresh = request.query_params.get("v") == asset.digest[:12]
        headers = {
            "ETag": f'W/"{asset.digest[:24]}"',
            "Cache-Control": FOR_GOOD if fresh else "public, no-cache",
            "Vary": "Accept-Encoding",
        }
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.packed, media_type=asset.media_type, headers=headers | {"Content-Encoding": "gzip"})
        return Response(asset.body, media_type=asset.media_type, headers=headers)


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "text/plain"
    return Asset(body, gzip.compress(body, compresslevel=6, mtime=0), hashlib.sha256(body).hexdigest(), media_type)


async def static_file(request: Request) -> Response:
    assets: Assets = request.app.state.assets
    return assets.answer(request, request.path_params["name"])
