"""How log lines look: a short sentence, then the fields that came with it, on stderr.

Under systemd the journal adds time and unit itself, and takes the level from a number in front (sd-daemon(3)).
"""

from __future__ import annotations

import logging
import sys
from typing import Final

SYSLOG_LEVEL: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class FieldFormatter(logging.Formatter):
    """Adds `extra` fields, which by our convention are in capitals, behind the sentence."""

    def format(self, record: logging.LogRecord) -> str:
        fields = [f"{name.lower()}={value}" for name, value in vars(record).items() if name.isupper()]
        line = super().format(record)
        return f"{line} ({', '.join(fields)})" if fields else line


class JournalFormatter(FieldFormatter):
    """One line for systemd's journal; a trace keeps its lines together by the same number in front of each."""

    def format(self, record: logging.LogRecord) -> str:
        level = SYSLOG_LEVEL.get(record.levelno, 6)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).splitlines())


def set_up_logging(level: str, *, under_systemd: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if under_systemd:
        handler.setFormatter(JournalFormatter("%(name)s: %(message)s"))
    else:
        handler.setFormatter(FieldFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
