"""Get to know the car before the fold begins: named by a person, known from before, or recognised on the bus.

In:  the mind, opened; the inbox, while the listener fills it. Out: the profile, the mind having met it.
What was recognised is kept with the fold's state, so a restart goes on at once; then the first traffic is held against
it, and a car that no longer fits is said: in the log, in health, and as an event in the history.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from packbox.adapters.herald import Herald
from packbox.adapters.profile_dir import Catalogue
from packbox.app.ask import Asking
from packbox.app.carry import Offload
from packbox.app.inbox import Inbox
from packbox.app.listen import Listener
from packbox.app.mind import Mind
from packbox.app.recognise import Doubt, Hearing, recognise_bus
from packbox.core.box import BoxPlan
from packbox.core.decode import Decoder
from packbox.core.profile import Profile
from packbox.core.recognised import Recognised, recognised
from packbox.ports import ProfileError

log = logging.getLogger(__name__)


class Meeting:
    """`trouble`: why the car is not known, or no longer the one it was."""

    def __init__(
        self, mind: Mind, catalogue: Catalogue, plan_of: Callable[[Decoder], BoxPlan], offload: Offload, herald: Herald
    ) -> None:
        self.trouble: str | None = None
        self._mind = mind
        self._catalogue = catalogue
        self._plan_of = plan_of
        self._offload = offload
        self._herald = herald
        self._doubt: Doubt | None = None

    def named(self, profile: Profile, variant: str | None) -> Profile:
        """A person told which car this is."""
        self._mind.meet(self._plan_of(Decoder(profile, variant)), None)
        return profile

    async def meet(self, listener: Listener, inbox: Inbox) -> Profile | None:
        """Raises nothing for a strange car: it waits. None: the inbox ended before the car was recognised."""
        before = self._mind.recognised
        if before is not None:
            try:
                profile = self._catalogue.profile(before.profile)
            except ProfileError as problem:
                log.warning("what was recognised before cannot be used any more: %s", problem)
            else:
                log.info("the car is %s, as recognised before: %s", before.profile, "; ".join(before.evidence))
                self._doubt = Doubt(self._catalogue, before)
                listener.hearers.append(self._doubt.hear)
                self._meet(profile, before)
                return profile
        return await self._recognise(inbox)

    async def watch(self, asking: Asking | None) -> None:
        """Does a car that was recognised before still fit? Only then it is asked anything."""
        if self._doubt is None:
            return
        if asking is not None:
            asking.hold()
        text = await self._doubt.verdict()
        if text is None:
            log.info("the car fits what was recognised")
            if asking is not None:
                asking.release()
            return
        self._say(text)
        await self._offload(partial(self._mind.no_longer_fits, text))

    async def _recognise(self, inbox: Inbox) -> Profile | None:
        hearing = Hearing()
        now_s = asyncio.get_running_loop().time
        finding = await recognise_bus(
            self._catalogue, inbox, hearing, lambda: self._herald.alive(now_s()), self._say_unknown
        )
        if finding is None:
            return None
        self.trouble = None
        known = recognised(finding)
        log.info("the car is %s: %s", finding.profile, "; ".join(finding.evidence), extra={"PROFILE": finding.profile})
        self._herald.status(f"recognised {finding.profile}")
        if hearing.dropped_frames:
            log.warning("%d frames came before the car was recognised and are not used", hearing.dropped_frames)
        profile = self._catalogue.profile(finding.profile)
        self._meet(profile, known)
        await self._offload(partial(self._mind.fold, tuple(hearing.held)))
        return profile

    def _meet(self, profile: Profile, known: Recognised) -> None:
        self._mind.meet(self._plan_of(Decoder(profile, wiring=known.wiring)), known)

    def _say_unknown(self, why: str) -> None:
        self._say(f"not recognised yet: {why}")

    def _say(self, text: str) -> None:
        if self.trouble is None:
            log.warning("the car: %s", text)
        self.trouble = text
        self._herald.status(f"car: {text}")
