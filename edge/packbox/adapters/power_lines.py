"""Ignition line and 12 V side, as far as this machine is told; and the word to whoever switches the power.

In:  a file, or a shell command's output, that says 1 or 0; a file with a voltage. What makes them is the operator's
     choice: gpiod, evdev, hwmon, an IIO converter, a power controller's own tool (docs/operate.md has recipes).
Out: `PowerLines`; whether the operator's command took the word.
A line that cannot be read is None, warned of once: the box then decides by what is left.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

LINE_WAIT_MAX_S: Final = 2.0  # reading a pin takes milliseconds
COMMAND_WAIT_MAX_S: Final = 30.0  # a power controller on a slow serial line
_WORDS: Final = {"1": True, "on": True, "active": True, "0": False, "off": False, "inactive": False}


@dataclass(frozen=True, slots=True)
class PowerLines:
    """Unknown is None."""

    ignition_on: bool | None = None
    rail_v: float | None = None


class LineReader:
    """Without file and command every line is unknown."""

    def __init__(
        self,
        ignition_file: Path | None,
        ignition_command: str | None,
        rail_file: Path | None,
        rail_v_per_unit: float,
    ) -> None:
        self._ignition_file = ignition_file
        self._ignition_command = ignition_command
        self._rail_file = rail_file
        self._rail_v_per_unit = rail_v_per_unit
        self._warned: set[str] = set()

    async def read(self) -> PowerLines:
        return PowerLines(await self._ignition(), self._rail())

    async def _ignition(self) -> bool | None:
        try:
            if self._ignition_file is not None:
                said = self._ignition_file.read_text(encoding="utf-8")
            elif self._ignition_command is not None:
                said = await _output_of(self._ignition_command)
            else:
                return None
            found = _WORDS[said.strip().strip('"').lower()]
        except (OSError, ValueError, KeyError) as problem:
            self._warn("ignition", problem)
            return None
        self._mended("ignition")
        return found

    def _rail(self) -> float | None:
        if self._rail_file is None:
            return None
        try:
            volts = float(self._rail_file.read_text(encoding="utf-8")) * self._rail_v_per_unit
            if not 0 <= volts <= 60:
                raise ValueError(f"{volts:g} V: look at power.rail_v_per_unit")
        except (OSError, ValueError) as problem:
            self._warn("12 V side", problem)
            return None
        self._mended("12 V side")
        return volts

    def _warn(self, what: str, problem: Exception) -> None:
        if what not in self._warned:
            log.warning("%s cannot be read: %r", what, problem)
            self._warned.add(what)

    def _mended(self, what: str) -> None:
        if what in self._warned:
            log.info("%s can be read again", what)
            self._warned.discard(what)


async def tell(command: str, phase: str, why: str) -> bool:
    """Run the operator's command with the phase as $1 and the reason as $2. Whether it took the word."""
    try:
        code, said = await _run(command, phase, why, wait_max_s=COMMAND_WAIT_MAX_S)
    except OSError as problem:
        code, said = -1, str(problem)
    if code != 0:
        log.error("the power command failed", extra={"PHASE": phase, "EXIT_CODE": code, "SAID": said[-200:]})
    return code == 0


async def _output_of(command: str) -> str:
    code, said = await _run(command, wait_max_s=LINE_WAIT_MAX_S)
    if code != 0:
        raise ValueError(f"exit code {code}: {said[-200:]}")
    return said


async def _run(command: str, *arguments: str, wait_max_s: float) -> tuple[int, str]:
    """The command in a shell of its own group, so that whatever hangs in it goes as a whole. OSError."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        command,
        "packbox",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(wait_max_s):
            said, _ = await process.communicate()
    except TimeoutError:
        raise OSError(f"no end within {wait_max_s:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace").strip()
