"""The rig of a run: one for all tests of a process, renewed before each, and looked over after each.

`--rig qemu-x86` (default), `qemu-arm64`, or the file of a real one. A real one takes the tests in the order of their
files' numbers, harmless ones first; emulated ones share them. A test that needs what the rig has not is skipped on a
bench and fails on an emulated machine, which has everything. Figures stand at the end of the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rig import faults
from rig.bench import BenchRig, RigMissing
from rig.emulated import EmulatedRig
from rig.figures import FIGURES
from rig.guest import ARM64, X86
from rig.machine import Rig
from rig.settings import SettingsTrouble, read_settings

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

MACHINES = {"qemu-x86": X86, "qemu-arm64": ARM64}
INCOMPLETE = pytest.StashKey[str]()  # what a bench lacks: nothing was tested, and the run must not look well


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rig", default="qemu-x86", help="qemu-x86, qemu-arm64, or a real rig's file (rig.example.toml)")
    parser.addoption("--slow-factor", type=float, default=None, help="all limits of time are multiplied by it")
    parser.addoption("--cuts", type=int, default=50, help="how often test_6 cuts the power")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*abilities): what the rig must be able to do")
    config.addinivalue_line("markers", "x86_only: long, and the processor makes no difference to it")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    if INCOMPLETE in terminalreporter.config.stash:
        terminalreporter.section("NOTHING WAS TESTED: the rig is not complete", red=True)
        terminalreporter.write_line(terminalreporter.config.stash[INCOMPLETE])
    if FIGURES.lines():
        terminalreporter.section("figures")
        for line in FIGURES.lines():
            terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One of several processes ended (`-n`)."""
    FIGURES.join(getattr(node, "workeroutput", {}).get("figures", ()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    handed = getattr(session.config, "workeroutput", None)  # there in one of several processes
    if handed is not None:
        handed["figures"] = FIGURES.packed()
    if INCOMPLETE in session.config.stash:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    made = _made(request.config)
    try:
        yield made
    finally:
        made.close()


def _made(config: pytest.Config) -> EmulatedRig | BenchRig:
    name, slow_factor = config.getoption("--rig"), config.getoption("--slow-factor")
    if name in MACHINES:
        return EmulatedRig(MACHINES[name], slow_factor=slow_factor)
    try:
        return BenchRig(read_settings(Path(name)), slow_factor=slow_factor)
    except SettingsTrouble as trouble:
        pytest.exit(str(trouble), returncode=pytest.ExitCode.USAGE_ERROR)
    except RigMissing as missing:
        config.stash[INCOMPLETE] = str(missing)
        pytest.skip(f"{name}: {missing}")


@pytest.fixture(autouse=True)
def renewed(rig: Rig, request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test starts from the same machine, and answers for what it left behind."""
    needed = {ability for mark in request.node.iter_markers("needs") for ability in mark.args}
    lacking = ", ".join(sorted(ability.value for ability in needed - rig.abilities))
    if lacking:
        say = pytest.fail if isinstance(rig, EmulatedRig) else pytest.skip
        say(f"{rig.name} lacks: {lacking}")
    rig.expected.clear()
    rig.renew()
    interfaces = (rig.box_can,)
    before = faults.look(rig.box, interfaces)
    yield
    left = faults.found(before, faults.look(rig.box, interfaces, before))
    unasked = {fault: shown for fault, shown in left.items() if fault not in rig.expected}
    assert not unasked, "the test left faults that it did not ask for:\n" + "\n".join(
        f"{fault.value}: {shown}" for fault, shown in unasked.items()
    )
