"""Recognise the car behind a log, or behind frames already heard.

In:  a catalogue of profiles, a log's path or frames. Out: `Detection`.
Raises LogFormatError for what is no log. A profile that cannot be read is passed over: it must not stop the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from packbox.adapters.logs import read_log
from packbox.adapters.profile_dir import Catalogue
from packbox.core.detect import Detection, detect
from packbox.core.frames import FrameBatch, empty_batch, join
from packbox.core.profile import Profile
from packbox.core.stamp import BootId
from packbox.ports import PackboxError, ProfileError

ENOUGH_FRAMES: Final = 120_000  # half a minute of a full bus; the rarest typical frame comes every 3 s


class UnknownCarError(PackboxError):
    """No profile fits what was heard. The text says what is missing; nothing was guessed."""


def profiles_of(catalogue: Catalogue) -> list[Profile]:
    profiles = []
    for profile_id in catalogue.ids:
        try:
            profiles.append(catalogue.profile(profile_id))
        except ProfileError:
            continue
    return profiles


def beginning(batches: Iterable[FrameBatch]) -> FrameBatch:
    """As many frames as detection needs, of one boot."""
    taken: list[FrameBatch] = []
    count = 0
    for batch in batches:
        if taken and batch.boot != taken[0].boot:
            break
        taken.append(batch)
        count += len(batch)
        if count >= ENOUGH_FRAMES:
            break
    return join(taken) if taken else empty_batch(BootId("0" * 16))


def recognise_log(path: Path, profiles: Iterable[Profile]) -> Detection:
    with read_log(path) as reading:
        return detect(list(profiles), beginning(reading))
