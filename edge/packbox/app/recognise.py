"""Recognise the car behind a log, behind frames already heard, or on a bus that the box listens to.

In:  a catalogue of profiles, a log's path, frames, or the inbox. Out: `Detection`.
Raises LogFormatError for what is no log. A profile that cannot be read is passed over: it must not stop the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from packbox.adapters.profile_dir import Catalogue
from packbox.app.inbox import Inbox
from packbox.core.detect import Detection, Finding, detect
from packbox.core.frames import FrameBatch, empty_batch, join
from packbox.core.profile import Profile
from packbox.core.recognised import Recognised, doubt, fits_still
from packbox.core.stamp import NS_PER_S, BootId, Tick
from packbox.ports import PackboxError, ProfileError

log = logging.getLogger(__name__)

AUTO: Final = "auto"  # as the setting `profile`; the same as none
ENOUGH_FRAMES: Final = 120_000  # half a minute of a full bus; the rarest typical frame comes every 3 s
LOOK_AFTER_S: Final = 15.0  # of traffic: the rarest typical frame comes every 3 s
LOOK_SELDOM_S: Final = 240.0  # a car that was not recognised after a minute wants a person, not more computing
TAKE_S: Final = 1.0


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
    from packbox.adapters.logs import read_log  # python-can's reader, that a box on a bus does not need

    with read_log(path) as reading:
        return detect(list(profiles), beginning(reading))


class Hearing:
    """The newest frames of a bus, as many as detection needs, and when it is worth looking at them."""

    def __init__(self) -> None:
        self.held: deque[FrameBatch | Tick] = deque()
        self.dropped_frames = 0
        self._frames = 0
        self._since_ns: int | None = None
        self._look_after_s = LOOK_AFTER_S
        self._fresh = 0

    def hear(self, item: FrameBatch | Tick) -> None:
        self.held.append(item)
        if not isinstance(item, FrameBatch) or not len(item):
            return
        self._frames += len(item)
        self._fresh += len(item)
        if self._since_ns is None:
            self._since_ns = int(item.mono_ns[0])
        while self._frames > ENOUGH_FRAMES and len(self.held) > 1:
            oldest = self.held.popleft()
            if isinstance(oldest, FrameBatch):
                self._frames -= len(oldest)
                self.dropped_frames += len(oldest)

    @property
    def is_enough(self) -> bool:
        """Worth a look: so much traffic came since the last one."""
        if self._since_ns is None:
            return False
        newest = next((i for i in reversed(self.held) if isinstance(i, FrameBatch) and len(i)), None)
        span_ns = 0 if newest is None else int(newest.mono_ns[-1]) - self._since_ns
        return self._fresh >= ENOUGH_FRAMES or not 0 <= span_ns < self._look_after_s * NS_PER_S

    def looked(self) -> None:
        """Nothing was found: look again after twice as much traffic."""
        self._since_ns, self._fresh = None, 0
        self._look_after_s = min(self._look_after_s * 2, LOOK_SELDOM_S)

    def newest(self) -> FrameBatch:
        """Of the newest boot."""
        batches = [item for item in self.held if isinstance(item, FrameBatch) and len(item)]
        same = [batch for batch in batches if batch.boot == batches[-1].boot]
        return join(same) if same else empty_batch(BootId("0" * 16))


async def recognise_bus(
    catalogue: Catalogue, inbox: Inbox, hearing: Hearing, alive: Callable[[], object], say: Callable[[str], object]
) -> Finding | None:
    """The family on the bus, however long that takes; None when the inbox ended before.

    Everything heard stays in `hearing` for the fold, as far as it fits. `say`: told why not, each time we looked.
    """
    profiles = await asyncio.to_thread(profiles_of, catalogue)
    while True:
        for item in await inbox.take(TAKE_S):
            hearing.hear(item)
        alive()
        if not hearing.is_enough and not inbox.ended:
            continue
        detection = await asyncio.to_thread(detect, profiles, hearing.newest())
        if detection.found is not None:
            return detection.found
        say(detection.why_not)
        if inbox.ended:
            return None
        hearing.looked()


class Doubt:
    """Whether the car is still the one that was recognised: once, by what is heard after a start."""

    def __init__(self, catalogue: Catalogue, known: Recognised) -> None:
        self._catalogue = catalogue
        self._known = known
        self._hearing: Hearing | None = Hearing()
        self._enough = asyncio.Event()

    def hear(self, batch: FrameBatch) -> None:
        if self._hearing is not None:
            self._hearing.hear(batch)
            if self._hearing.is_enough:
                self._enough.set()

    async def verdict(self) -> str | None:
        """Waits for enough traffic. Why the car no longer fits, or None."""
        while True:
            await self._enough.wait()
            self._enough.clear()
            assert self._hearing is not None
            frames = self._hearing.newest()
            fits, text = await asyncio.to_thread(self._weigh, frames)
            if fits or text is not None:
                self._hearing = None
                return text
            self._hearing.looked()

    def _weigh(self, frames: FrameBatch) -> tuple[bool, str | None]:
        """The family alone first: the others need not even be loaded as long as it fits."""
        try:
            own = [self._catalogue.profile(self._known.profile)]
        except ProfileError as problem:
            return False, str(problem)
        if fits_still(detect(own, frames), self._known):
            return True, None
        return False, doubt(detect(profiles_of(self._catalogue), frames), self._known)
