"""Load a profile in a child process: what reading takes (cantools, python-can, pydantic's models) ends with the child.

In:  a name as `Catalogue.find` takes it. Out: the profile, plain values. It saves a running box about 15 MB.
Call it before there are threads: the child is a fork. Raises ProfileError as `Catalogue.find` does.
"""

from __future__ import annotations

import os
import pickle
import traceback
from pathlib import Path
from typing import Never

from packbox.core.profile import Profile
from packbox.ports import ProfileError


def find_apart(name: str, folder: Path | None) -> tuple[Profile, str | None]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(writing, name, folder)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    assert said, "the child told its trouble on stderr"
    found: tuple[Profile, str | None] | str = pickle.loads(said)  # noqa: S301  our own child wrote it
    if isinstance(found, str):
        raise ProfileError(found)
    return found


def _answer(writing: int, name: str, folder: Path | None) -> Never:
    """Ends the child without the parent's clean-up."""
    try:
        with os.fdopen(writing, "wb") as answer:
            pickle.dump(_found(name, folder), answer)
    except BaseException:  # nothing of the parent may run here
        traceback.print_exc()
    finally:
        os._exit(0)


def _found(name: str, folder: Path | None) -> tuple[Profile, str | None] | str:
    from packbox.adapters.profile_dir import Catalogue

    try:
        return Catalogue(folder).find(name)
    except ProfileError as problem:
        return str(problem)
