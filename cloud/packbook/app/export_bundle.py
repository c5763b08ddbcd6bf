"""The format `bundle`: signed records with everything that a stranger needs to check them."""

from __future__ import annotations

from typing import Final

from packbook.adapters.store import open_reader
from packbook.app.evidence import ExportError, book_evidence
from packbook.settings import Settings

SUFFIX: Final = ".packbook"


async def make(settings: Settings, battery: str) -> bytes:
    async with open_reader(settings.database_url.get_secret_value()) as database:
        data = await book_evidence(settings, database).bundle(battery)
    if data is None:
        raise ExportError(f"no battery {battery!r} is in this book")
    return data
