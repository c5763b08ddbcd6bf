"""Ask over plain CAN frames: our own ISO-TP on any `FrameLink`.

In:  a poll. Out: its `Reply`.
Sends nothing but what `core.exchange` makes, and counts every frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from packbox.core import exchange
from packbox.core.exchange import Ending, OutFrame, Reply
from packbox.core.profile import Poll
from packbox.core.stamp import NS_PER_S
from packbox.ports import FrameLink, Tester


class FrameTester:
    """`ports.Tester` that does its flow control itself."""

    def __init__(self, link: FrameLink) -> None:
        self.frames_sent = 0
        self._link = link

    async def ask(self, poll: Poll) -> Reply:
        frames: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        with self._link.overhear(poll.rx_keys, lambda key, data: frames.put_nowait((key, data))):
            asking = exchange.begin_round(poll, _now_ns())
            await self._send(exchange.question(poll))
            while True:
                try:
                    async with asyncio.timeout_at(asking.deadline_ns / NS_PER_S):
                        key, frame = await frames.get()
                except TimeoutError:
                    return exchange.round_over(asking)
                turn = exchange.hear_round(asking, key, frame, _now_ns())
                asking = turn.round
                if turn.reply is not None:
                    return turn.reply
                if turn.send is not None:
                    await self._send(turn.send)

    async def _send(self, frame: OutFrame) -> None:
        await self._link.send(frame)
        self.frames_sent += 1


class ManyTester:
    """`ports.Tester` over several interfaces, in the order of the profile's buses."""

    def __init__(self, testers: Sequence[Tester]) -> None:
        self._testers = tuple(testers)

    @property
    def frames_sent(self) -> int:
        return sum(tester.frames_sent for tester in self._testers)

    async def ask(self, poll: Poll) -> Reply:
        """On the poll's own bus; one that no interface is on is not asked on another."""
        place = poll.bus or 0
        return await self._testers[place].ask(poll) if place < len(self._testers) else Reply(Ending.SILENT)


def _now_ns() -> int:
    return round(asyncio.get_running_loop().time() * NS_PER_S)
