"""Sees to it that a simulated car meets no real one.

In:  a bus, and what the simulated family is asked on.
Out: `quiet`, over when nobody else spoke for a while; `broken`, raising NotAloneError as soon as somebody does who
     is no tester. A car that slept in the first seconds is found out when it wakes up.
"""

from __future__ import annotations

import asyncio
from typing import Final

from packbox.core.profile import EXTENDED_BIT, FUNCTIONAL_KEYS, Profile, id_text
from packbox.ports import PackboxError
from packbox.sim.mouth import Bus

LISTEN_FIRST_S: Final = 3.0  # a car that is awake says something many times a second
TESTER_11: Final = range(0x700, 0x800)  # where the makers put questions; broadcast stays below
TESTER_29: Final = 0x18DA00F1 | EXTENDED_BIT  # ISO 15765-4: from the tester, to any unit
TESTER_MASK: Final = 0x1FFF00FF | EXTENDED_BIT


class NotAloneError(PackboxError):
    """Somebody else speaks on this bus. Nothing was sent, or nothing more is."""


class Guard:
    """Sees to it that no car is there: at first nobody may speak, then only who asks as a tester does."""

    def __init__(self, bus: Bus, name: str, profile: Profile) -> None:
        self._name = name
        self._asked = frozenset(poll.tx_key for poll in profile.polls) | FUNCTIONAL_KEYS
        self._quiet_asked_for = True
        self._stranger: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        bus.join("guard", self._hear)

    async def quiet(self) -> None:
        await asyncio.sleep(LISTEN_FIRST_S)
        self._quiet_asked_for = False

    async def broken(self) -> None:
        key = await self._stranger
        raise NotAloneError(
            f"{self._name}: somebody else sends {id_text(key & ~EXTENDED_BIT, bool(key & EXTENDED_BIT))}: "
            "this may be a car, and a simulated one must never speak there. On a bench: --share-bus"
        )

    def _hear(self, key: int, _data: bytes) -> None:
        if (self._quiet_asked_for or not self._asks(key)) and not self._stranger.done():
            self._stranger.set_result(key)

    def _asks(self, key: int) -> bool:
        """By ISO 15765-4, and by what this family's units are asked on."""
        if key in self._asked:
            return True
        if key & EXTENDED_BIT:
            return key & TESTER_MASK == TESTER_29
        return key in TESTER_11
