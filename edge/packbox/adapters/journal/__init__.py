"""The box's durable memory in one SQLite file: fold state, records, outbox."""

from packbox.adapters.journal.copy import HeldRow, JournalCopy, open_copy
from packbox.adapters.journal.files import JOURNAL_FILE
from packbox.adapters.journal.journal import SqliteJournal

__all__ = ["JOURNAL_FILE", "HeldRow", "JournalCopy", "SqliteJournal", "open_copy"]
