"""The newest lines of the box's own log, kept in memory for an operator whom the owner lets look for a fault.

In:  log records. Out: lines, short enough to travel. What looks like a vehicle's number is struck out, though no line
should hold one.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from packbox.app.logging_setup import FieldFormatter

LINES_KEPT: Final = 200
LINE_CHARS: Final = 200  # of the wire
VIN: Final = re.compile(r"\b(?=[A-HJ-NPR-Z0-9]*[0-9])[A-HJ-NPR-Z0-9]{17}\b")


class LogTail(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(FieldFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            self._lines.append(VIN.sub("[struck out]", line.replace("\0", ""))[:LINE_CHARS])

    def newest(self, count: int) -> list[str]:
        """Oldest first."""
        return list(self._lines)[-count:]


@contextmanager
def kept_tail() -> Iterator[LogTail]:
    """Hears every logger while the block runs."""
    tail = LogTail()
    logging.getLogger().addHandler(tail)
    try:
        yield tail
    finally:
        logging.getLogger().removeHandler(tail)
