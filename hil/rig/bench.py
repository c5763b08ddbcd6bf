"""A real rig: packbox on a Pi behind ssh, the car an adapter at this computer, a relay in the Pi's supply.

In:  `BenchSettings`. Out: a `Rig`.
Whatever is missing is said at once, before any test. What the box held before is set aside at the first `renew` and
put back by `close`, also in a later run if this one is killed.
The host's key must be known beforehand: a rig never asks, and never trusts whoever answers.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .machine import Ability, Fault, Late, Ran, RigError, ScriptFailed, Shell
from .settings import BenchSettings, BoxSettings, GpioSettings, PowerSettings

CONNECT_S: Final = 10
LOOK_EVERY_S: Final = 1.0
FILE_S: Final = 30.0  # to copy one, before the slow factor
GRACE_S: Final = 10.0  # to carry a script there and its words back
TIMED_OUT: Final = 124  # of timeout(1)
CAR_TOOLS: Final = ("packbox", "candump", "cansend", "canplayer", "cangen", "isotpsend", "isotprecv")
SBIN: Final = "PATH=$PATH:/usr/sbin:/sbin; "  # sshd gives them to nobody, Debian not to everybody
BOOT_ID: Final = "cat /proc/sys/kernel/random/boot_id"
BOX_TOOLS: Final = ("packbox", "candump", "python3", "ip", "journalctl", "timeout")
ENDED: Final = re.compile(r"\n?rig-status=(\d+)\n?\Z")

NETWORK: Final = "/etc/systemd/network/80-can.network.d"  # here a test lets the controller send
KEPT: Final = f"/etc/packbox /var/lib/packbox {NETWORK}"
SCRATCH: Final = Path("/run/hil")  # where tests put what they play
# Each folder moves as a whole, so a power cut leaves it in one place or the other; an empty mark says there was none.
SET_ASIDE: Final = """\
set -e
systemctl stop packbox.service packbox-poweroff.path 2>/dev/null || true
for folder in {kept}; do
    aside=$folder.before-hil
    if [ ! -e "$aside" ]; then
        if [ -e "$folder" ]; then mv -T "$folder" "$aside"; else mkdir "$aside"; touch "$aside/.none"; fi
    fi
    rm -rf "$folder"
done
systemd-tmpfiles --create packbox.conf
systemctl restart systemd-networkd
systemctl reset-failed packbox.service 2>/dev/null || true
ip link show up dev {can} | grep -q . || ip link set {can} up
"""
PUT_BACK: Final = """\
set -e
systemctl stop packbox.service 2>/dev/null || true
for folder in {kept}; do
    aside=$folder.before-hil
    [ -e "$aside" ] || continue
    rm -rf "$folder"
    if [ -e "$aside/.none" ]; then rm -rf "$aside"; else mv -T "$aside" "$folder"; fi
done
systemd-tmpfiles --create packbox.conf
systemctl restart systemd-networkd
if systemctl is-enabled --quiet packbox.service; then systemctl start packbox.service; fi
"""


class RigMissing(RigError):
    """The rig is not complete; the text names each thing that is missing."""


class LocalShell:
    """`Shell` on this computer, as whoever runs the tests, with the `packbox` that is tested."""

    def __init__(self, slow_factor: float) -> None:
        self._slow_factor = slow_factor
        self._environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(self, script: str, *, within_s: float = 30.0, check: bool = True) -> Ran:
        limit_s = within_s * self._slow_factor
        try:
            done = subprocess.run(
                ["bash", "-c", script], env=self._environment, capture_output=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired as problem:
            raise Late(f"after {limit_s:g} s on this computer: {script.strip()}") from problem
        return _checked(script, Ran(done.returncode, _text(done.stdout), _text(done.stderr)), check=check)

    def put(self, path: str, data: bytes) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)

    def get(self, path: str) -> bytes:
        return Path(path).read_bytes()


class RemoteShell:
    """`Shell` of root behind ssh. One connection is kept open; after a power cut `forget` it."""

    def __init__(self, box: BoxSettings, slow_factor: float, folder: Path) -> None:
        self._box = box
        self._slow_factor = slow_factor
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(box.known_hosts_file),
            "IdentitiesOnly": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ControlMaster": "auto",
            "ControlPath": str(folder / "ssh-%C"),
            "ControlPersist": "60",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        self._ssh = ["ssh", "-i", str(box.key_file), "-p", str(box.port), *words]
        self._host = f"{box.user}@{box.host}"

    def run(self, script: str, *, within_s: float = 30.0, check: bool = True) -> Ran:
        limit_s = within_s * self._slow_factor
        # The script comes by stdin and runs without it, so that nothing in it can eat the rest of itself.
        inner = f'script=$(cat); timeout --kill-after=5 {limit_s:g} bash -c "$script" </dev/null'
        ran = self._ended(self._spoken(inner, script.encode(), limit_s))
        if ran.status == TIMED_OUT:
            raise Late(f"after {limit_s:g} s on {self._box.host}: {script.strip()}\n{ran.out}\n{ran.err}")
        return _checked(script, ran, check=check)

    def put(self, path: str, data: bytes) -> None:
        place = shlex.quote(path)
        self._file(f'mkdir -p "$(dirname {place})" && cat > {place}', data)

    def get(self, path: str) -> bytes:
        return self._file(f"cat {shlex.quote(path)}", b"")

    def forget(self) -> None:
        """The other end lost its power: the kept connection is dead, whatever ssh believes."""
        subprocess.run([*self._ssh, "-O", "exit", self._host], capture_output=True, check=False)

    def _file(self, command: str, data: bytes) -> bytes:
        done = self._spoken(command, data, FILE_S * self._slow_factor)
        ran = self._ended(done)
        if ran.status:
            raise ScriptFailed(command, ran)
        return done.stdout

    def _spoken(self, command: str, data: bytes, limit_s: float) -> subprocess.CompletedProcess[bytes]:
        as_root = "" if self._box.user == "root" else "sudo -n "
        told = shlex.quote(f"{SBIN}{command}; echo rig-status=$? >&2")
        try:
            return subprocess.run(
                [*self._ssh, self._host, "--", f"{as_root}bash -c {told}"],
                input=data,
                capture_output=True,
                timeout=limit_s + CONNECT_S + GRACE_S,
                check=False,
            )
        except FileNotFoundError as problem:
            raise RigError("ssh is not installed on this computer") from problem
        except subprocess.TimeoutExpired as problem:
            raise Late(f"{self._host} said nothing for {problem.timeout:g} s") from problem

    def _ended(self, done: subprocess.CompletedProcess[bytes]) -> Ran:
        """What the script did, if it came to its end; else it was the connection, or sudo, that failed."""
        said = _text(done.stderr)
        ended = ENDED.search(said)
        if ended is None:
            raise RigError(f"{self._host}: {said.strip() or f'ssh ended with {done.returncode}'}")
        return Ran(int(ended[1]), _text(done.stdout), said[: ended.start()])


class Relay:
    """The box's supply."""

    def __init__(self, power: PowerSettings, here: LocalShell) -> None:
        self._power = power
        self._here = here
        self._holding: subprocess.Popen[bytes] | None = None

    def off(self) -> None:
        if self._power.gpio is not None:
            self._holding = subprocess.Popen(hold_command(self._power.gpio, gpioset_version()))
            time.sleep(self._power.off_for_s)
            if self._holding.poll() is not None:
                raise RigError(f"gpioset ended with {self._holding.returncode}: the line is not held")
            return
        assert self._power.off is not None
        self._here.run(self._power.off)
        time.sleep(self._power.off_for_s)

    def on(self) -> None:
        if self._holding is not None:
            self._holding.terminate()
            self._holding.wait()
            self._holding = None
        elif self._power.on is not None:
            self._here.run(self._power.on)


class BenchRig:
    """Raises RigMissing when it is made and something is not there."""

    def __init__(self, settings: BenchSettings, *, slow_factor: float | None = None) -> None:
        self.settings = settings
        self.name = settings.name
        self.slow_factor = settings.slow_factor if slow_factor is None else slow_factor
        self.expected: set[Fault] = set()
        self._folder = Path(tempfile.mkdtemp(prefix="rig-"))  # short: a socket's path has at most 107 bytes
        self._here = LocalShell(self.slow_factor)
        self._there = RemoteShell(settings.box, self.slow_factor, self._folder)
        self._relay = None if settings.power is None else Relay(settings.power, self._here)
        self._set_aside = False
        self._boot: str | None = None  # before the cut, while power is off
        missing = self._missing()
        if missing:
            self.close()
            raise RigMissing("\n".join(missing))

    @property
    def abilities(self) -> frozenset[Ability]:
        able = {
            Ability.POWER_CUT: self._relay is not None,
            Ability.UPGRADE: self.settings.box.may_install,
            Ability.CLOCK: self.settings.box.may_set_clock,
        }
        return frozenset(ability for ability, there in able.items() if there)

    @property
    def box(self) -> Shell:
        return self._there

    @property
    def car(self) -> Shell:
        return self._here

    @property
    def box_can(self) -> str:
        return self.settings.box.can

    @property
    def car_can(self) -> str:
        return self.settings.car.can

    def renew(self) -> None:
        self._set_aside = True
        self._there.run(SET_ASIDE.format(kept=KEPT, can=self.box_can), within_s=60)

    def expects(self, *faults: Fault) -> None:
        self.expected.update(faults)

    def cut_power(self) -> None:
        assert self._relay is not None, "a test asks for POWER_CUT first"
        self._boot = self._there.run(BOOT_ID).out
        self._relay.off()
        self._there.forget()

    def power_on(self) -> None:
        assert self._relay is not None, "a test asks for POWER_CUT first"
        self._relay.on()
        before, self._boot = self._boot, None
        self._answers(self.settings.box.boot_within_s * self.slow_factor)
        if self._there.run(BOOT_ID).out == before:
            raise RigError("the box never lost its power: relay, its command, or a second supply by the USB plug?")

    def close(self) -> None:
        """Raises RigError when what was set aside could not be put back: it is still beside its place then."""
        try:
            if self._relay is not None and self._boot is not None:
                self.power_on()
            if self._set_aside:
                self._there.run(PUT_BACK.format(kept=KEPT), within_s=60)
        finally:
            self._there.forget()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self, within_s: float) -> None:
        end_s = time.monotonic() + within_s
        while True:
            try:
                self._there.run("systemctl is-system-running --wait >/dev/null || true", within_s=within_s)
                return
            except RigError as problem:
                if time.monotonic() > end_s:
                    raise Late(f"{self.settings.box.host} is not back after {within_s:g} s: {problem}") from problem
            time.sleep(LOOK_EVERY_S)

    def _missing(self) -> list[str]:
        car, box = self.settings.car, self.settings.box
        missing = [f"this computer: {name} is not installed" for name in _not_found(self._here, CAR_TOOLS)]
        if not os.access(SCRATCH, os.W_OK):
            missing.append(f"this computer: no folder {SCRATCH} of yours: sudo install -d -o $USER {SCRATCH}")
        if not _is_up(self._here, car.can) and car.up is not None:
            ran = self._here.run(car.up, check=False)
            if ran.status:
                missing.append(f"this computer: car.up ended with {ran.status}: {ran.err.strip()}")
        if not _is_up(self._here, car.can):
            missing.append(f"this computer: {car.can} (car.can) is not there, or not up")
        if self.settings.power is not None and self.settings.power.gpio is not None and not shutil.which("gpioset"):
            missing.append("this computer: gpioset (Debian package gpiod) is not installed, and power.gpio needs it")
        try:
            missing += [f"{box.host}: {name} is not installed" for name in _not_found(self._there, BOX_TOOLS)]
            if not _is_up(self._there, box.can, whole=False):
                missing.append(f"{box.host}: {box.can} (box.can) is not there: overlay, crystal, wiring of the HAT?")
        except RigError as problem:
            missing.append(f"the box: {problem}")
        return missing


def hold_command(gpio: GpioSettings, version: int) -> Sequence[str]:
    """Drives the line for as long as it runs."""
    line = f"{gpio.line}=1"
    active_low = ["--active-low"] if gpio.active_low else []
    if version >= 2:
        return ["gpioset", *active_low, "--chip", gpio.chip, line]
    return ["gpioset", *active_low, "--mode=signal", gpio.chip, line]


def gpioset_version() -> int:
    said = subprocess.run(["gpioset", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v?(\d+)\.", said)
    return int(found[1]) if found else 1


def _not_found(shell: Shell, names: Sequence[str]) -> list[str]:
    return shell.run(
        f"{SBIN}for name in {shlex.join(names)}; do command -v $name >/dev/null || echo $name; done"
    ).out.split()


def _is_up(shell: Shell, interface: str, *, whole: bool = True) -> bool:
    """`whole` False: there is enough."""
    up = "up" if whole else ""
    return bool(shell.run(f"{SBIN}ip link show {up} dev {interface}", check=False).out.strip())


def _checked(script: str, ran: Ran, *, check: bool) -> Ran:
    if check and ran.status:
        raise ScriptFailed(script, ran)
    return ran


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
