"""The lines are read, the operator's command hears every change, and trouble with either stops nothing."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import pytest

from packbox.adapters.power_lines import LineReader, PowerLines, tell
from packbox.adapters.profile_dir import Catalogue
from packbox.app.watch_power import PowerWatch
from packbox.core import box as folding
from packbox.core.box import BoxPlan
from packbox.core.decode import Decoder
from packbox.core.power import Limits, PowerPhase
from packbox.core.record import BatteryId, BoxId
from packbox.testing.sim_clock import LoopClock


@pytest.mark.parametrize(("said", "on"), [("1\n", True), ("0", False), ('"active"\n', True), ("inactive", False)])
async def test_an_ignition_line_is_a_file_or_a_command(tmp_path: Path, said: str, on: bool) -> None:
    """sysfs, gpiod, evdev and power controllers all end in one of the two."""
    line = tmp_path / "ignition"
    line.write_text(said)
    assert await LineReader(line, None, None, 1).read() == PowerLines(ignition_on=on)
    assert await LineReader(None, f"cat {line}", None, 1).read() == PowerLines(ignition_on=on)


async def test_the_12_volt_side_is_read_in_the_units_of_its_file(tmp_path: Path) -> None:
    """hwmon says millivolts, an ADC behind a divider says steps."""
    rail = tmp_path / "in1_input"
    rail.write_text("12650\n")
    assert (await LineReader(None, None, rail, 0.001).read()).rail_v == pytest.approx(12.65)


@pytest.mark.parametrize("command", ["echo perhaps", "exit 3", "sleep 60"])
async def test_a_line_that_cannot_be_read_is_unknown_and_said_once(
    tmp_path: Path, command: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wire that came off must not fill the log, hang the box or count as ignition off."""
    monkeypatch.setattr("packbox.adapters.power_lines.LINE_WAIT_MAX_S", 0.2)
    reader = LineReader(None, command, tmp_path / "missing", 1)
    for _ in range(3):
        assert await reader.read() == PowerLines()
    assert len(caplog.records) == 2


async def test_a_silly_voltage_is_no_voltage(tmp_path: Path) -> None:
    """A wrong factor would switch the box off, or never."""
    rail = tmp_path / "rail"
    rail.write_text("12650")
    assert (await LineReader(None, None, rail, 1.0).read()).rail_v is None


class Bench:
    """A watch on virtual time, a power controller that notes what it hears, and a car that has said nothing."""

    def __init__(self, root: Path, *, took: bool = True) -> None:
        profile, variant = Catalogue(root / "can_profiles").find("nissan-leaf")
        box = folding.start(
            BoxPlan(Decoder(profile, variant), BoxId("b" * 16), BatteryId("pack"), "configured", "packbox 1")
        )
        self.told: list[tuple[PowerPhase, str]] = []
        self.took = took
        self.watch = PowerWatch(
            LoopClock(),
            LineReader(None, None, None, 1),
            Limits(quiet_s=60),
            self._tell,
            state=lambda: box,
            heard_ns=lambda: None,
            sending=lambda: False,
        )

    async def _tell(self, phase: PowerPhase, why: str) -> bool:
        self.told.append((phase, why))
        return self.took

    async def watch_for(self, seconds: float) -> list[PowerPhase]:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.watch.run()
        return [phase for phase, _ in self.told]


@pytest.mark.looptime
async def test_the_command_hears_every_change_once(root: Path) -> None:
    """A power controller is no friend of chatter."""
    assert await Bench(root).watch_for(300) == [PowerPhase.SETTLING, PowerPhase.READY, PowerPhase.SHUTDOWN]


@pytest.mark.looptime
@pytest.mark.parametrize("took", [True, False])
async def test_a_machine_that_did_not_go_off_goes_on_and_is_told_again(root: Path, took: bool) -> None:
    """A command that fails, or a supply that ignores it, must not leave a box that waits for its end for ever."""
    told = await Bench(root, took=took).watch_for(1200)
    assert told.count(PowerPhase.SHUTDOWN) >= 2
    assert told[:4] == [PowerPhase.SETTLING, PowerPhase.READY, PowerPhase.SHUTDOWN, PowerPhase.SETTLING]


async def test_the_command_gets_phase_and_reason(tmp_path: Path) -> None:
    """$1 and $2 of any shell command, no script needed."""
    heard = tmp_path / "heard"
    assert await tell(f'echo "$1: $2" > {heard}', "shutdown", "12 V low")
    assert heard.read_text() == "shutdown: 12 V low\n"


async def test_a_command_that_fails_or_hangs_is_an_error_and_ends(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box that is not switched off must be seen in the log."""
    monkeypatch.setattr("packbox.adapters.power_lines.COMMAND_WAIT_MAX_S", 0.2)
    assert not await tell("echo no right >&2; exit 4", "shutdown", "12 V low")
    assert not await tell("sleep 60", "shutdown", "12 V low")
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert vars(caplog.records[0])["SAID"] == "no right"
