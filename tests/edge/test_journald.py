"""Log lines reach systemd's journal with their fields, and stderr when there is no journal."""

from __future__ import annotations

import io
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from packbox.adapters.journald import JournaldHandler, entry
from packbox.app.logging_setup import FieldFormatter, JournalFormatter, is_journal


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(1)
        yield journal


def said(handler: logging.Handler, message: str, **fields: object) -> None:
    record = logging.LogRecord("packbox.app.run", logging.WARNING, __file__, 1, message, (), None)
    vars(record).update(fields)
    handler.handle(record)


def test_fields_are_fields(tmp_path: Path, heard: socket.socket) -> None:
    """`journalctl STORE=...` finds what belongs to one store; the sentence still reads alone."""
    handler = JournaldHandler(logging.NullHandler(), tmp_path / "socket")
    handler.setFormatter(FieldFormatter())
    said(handler, "no link to the broker", REASON="timed out", SEQ=7)
    handler.close()
    assert heard.recv(4096).decode().splitlines() == [
        "MESSAGE=no link to the broker (reason=timed out, seq=7)",
        "PRIORITY=4",
        "SYSLOG_IDENTIFIER=packbox",
        "LOGGER=packbox.app.run",
        "REASON=timed out",
        "SEQ=7",
    ]


def test_a_trace_stays_one_entry() -> None:
    """Lines inside a value need its length in front (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    assert entry({"MESSAGE": "a\nb", "SEQ": "1"}) == b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nSEQ=1\n"


def test_without_a_journal_the_line_goes_to_stderr(tmp_path: Path) -> None:
    """A sandbox that hides the socket must not silence the box."""
    stderr = io.StringIO()
    behind = logging.StreamHandler(stderr)
    behind.setFormatter(JournalFormatter("%(name)s: %(message)s"))
    handler = JournaldHandler(behind, tmp_path / "nobody")
    said(handler, "first\nsecond", SEQ=1)
    handler.close()
    assert stderr.getvalue() == "<4>packbox.app.run: first\n<4>second (seq=1)\n"


def test_an_inherited_variable_is_not_believed() -> None:
    """A shell inside a service has the variable, but not its stderr."""
    assert not is_journal("1:2")
    assert not is_journal(None)
