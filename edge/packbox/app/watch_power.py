"""Look at the power lines every second, decide by `core.power`, tell the operator's command.

In:  the lines, the newest frame's time, what the fold knows of the car, whether records still go out.
Out: the phase, for status and health; the command, once per change of phase.
Without a command nothing is decided: a box that cannot be switched off stays up and only reads its lines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Never

from packbox.adapters.power_lines import LineReader, PowerLines
from packbox.app.ask import car_sight
from packbox.core import power
from packbox.core import sample as sampling
from packbox.core.box import BoxState
from packbox.core.power import Limits, PowerPhase, PowerState, Sight
from packbox.core.sample import Col
from packbox.ports import Clock

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
GONE_WITHIN_S: Final = 300.0  # a machine that was told to switch off and is still here after that was not

Tell = Callable[[PowerPhase, str], Awaitable[bool]]


class PowerWatch:
    """`heard_ns`: when the newest frame came. `tell` None: nobody switches the power."""

    def __init__(
        self,
        clock: Clock,
        reader: LineReader,
        limits: Limits,
        tell: Tell | None,
        *,
        state: Callable[[], BoxState],
        heard_ns: Callable[[], int | None],
        sending: Callable[[], bool],
    ) -> None:
        self.lines = PowerLines()
        self.power: PowerState | None = None if tell is None else power.start(clock.now().mono_ns)
        self._clock = clock
        self._reader = reader
        self._limits = limits
        self._tell = tell
        self._state = state
        self._heard_ns = heard_ns
        self._sending = sending

    async def run(self) -> Never:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        self.lines = await self._reader.read()
        before = self.power
        if before is None or self._tell is None:
            return
        self.power = after = power.advance(before, self._sight(), self._limits)
        if after.phase is not before.phase:
            log.info("power: %s", after.phase, extra={"WHY": after.why})
            took = await self._tell(after.phase, after.why)
            if after.phase is PowerPhase.SHUTDOWN and took:
                await asyncio.sleep(GONE_WITHIN_S)
                log.error("told to switch off, and still here: going on", extra={"WHY": after.why})
            if after.phase is PowerPhase.SHUTDOWN:
                self.power = power.start(self._clock.now().mono_ns)

    def _sight(self) -> Sight:
        box = self._state()
        plugged = sampling.known(box.sample.held[Col.PLUGGED])
        return Sight(
            self._clock.now().mono_ns,
            self._heard_ns(),
            car_sight(box).state,
            None if plugged is None else plugged > 0,
            self.lines.ignition_on,
            self.lines.rail_v,
            self._sending(),
        )
