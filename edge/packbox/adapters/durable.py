"""Files that survive a power cut: a name on disk holds either all of its bytes or was never there."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make renames and new names in this folder last: ext4 may forget a name whose file is safely on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes, mode: int) -> None:
    """Write beside, sync, rename, sync the folder. Raises OSError; then the old file, if any, is untouched."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)  # left by a power cut; never trusted
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
