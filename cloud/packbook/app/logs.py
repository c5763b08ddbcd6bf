"""Log lines: for people, or as JSON objects for programs (setting `log_format`, docs/run.md).

In:  what modules log. Out: as JSON `time` (UTC), `level`, `logger`, `message`, a trace as `exc_info`, and fields in
capitals where a line has any. No content of a record, no vehicle number and no secret is in a line, in either form.
"""

from __future__ import annotations

import logging
from typing import Final

from pythonjsonlogger.json import JsonFormatter

from packbook.settings import Settings

TEXT: Final = "%(levelname)s %(name)s: %(message)s"
CHATTY: Final = ("aiosqlite", "alembic", "uvicorn", "httpx", "httpcore", "aiokafka")


def set_up_logging(settings: Settings) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(json_formatter() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    quiet_libraries()


def json_formatter() -> logging.Formatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
        json_ensure_ascii=False,
    )


def quiet_libraries() -> None:
    """Some talk much; aiosqlite repeats every value that goes into the database, what boxes say included."""
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
