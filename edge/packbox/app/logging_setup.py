"""How log lines look: a short sentence, then the fields that came with it, on stderr.

Under systemd they go to the journal, which keeps the fields apart; where its socket is not to be had they go to stderr
with the level as a number in front (sd-daemon(3)), and the journal adds time and unit itself.
"""

from __future__ import annotations

import logging
import os
import sys

from packbox.adapters.journald import SYSLOG_LEVEL, JournaldHandler


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


def set_up_logging(level: str, *, to_journal: bool) -> None:
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if to_journal:
        handler.setFormatter(JournalFormatter("%(name)s: %(message)s"))
        handler = JournaldHandler(behind=handler)
        handler.setFormatter(FieldFormatter())
    else:
        handler.setFormatter(FieldFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def is_journal(journal_stream: str | None) -> bool:
    """Whether stderr is systemd's journal: $JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    stat = os.fstat(2)
    return journal_stream == f"{stat.st_dev}:{stat.st_ino}"
