"""The box's key at the start of a command: read, or made at the very first start."""

from __future__ import annotations

import logging

from packbox.adapters.identity import FileKey, KeyFileError, make_key, read_key
from packbox.adapters.journal import JOURNAL_FILE
from packbox.settings import Settings
from packwire.ids import box_id_of

log = logging.getLogger(__name__)


def box_key(settings: Settings) -> FileKey:
    """A key that is gone while its journal is here is not made anew. Raises KeyFileError."""
    if settings.key_file.exists():
        return read_key(settings.key_file)
    journal = settings.data_dir / JOURNAL_FILE
    if journal.exists():
        raise KeyFileError(
            f"{settings.key_file}: the key is gone, but its journal is here ({journal}). Bring back a copy of the key; "
            "to begin as a new box, move the journal away"
        )
    key = make_key(settings.key_file)
    log.info("first start: made the key of box %s", box_id_of(key.public_key))
    return key
