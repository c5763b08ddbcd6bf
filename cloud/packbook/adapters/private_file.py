"""Files that hold keys or that others read while we replace them: a name has all of its bytes, or the old ones."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

SECRET_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644


def write_atomically(path: Path, data: bytes, mode: int = SECRET_MODE) -> None:
    """Write beside, sync, rename, sync the folder. Raises OSError; then the old file, if any, is untouched.

    A folder or a device (/dev/null) is refused: the rename would put a file in its place.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "there is something that is no file", str(path))
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # left by a crash; never trusted
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as out:
            os.fchmod(out.fileno(), mode)  # whatever the umask says: a broker of another user reads the public ones
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
