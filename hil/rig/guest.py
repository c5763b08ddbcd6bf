"""One emulated computer: QEMU's process, its monitor, and a root shell in it.

In:  disks and kernel (`Disks`), which machine (`Machine`), scripts, QMP commands.
Out: a guest that was booted, or set back in a moment to where its warm snapshot was taken; what scripts said.
Always the slow, portable way of emulation: a KVM node may be there, open, and yet boot nothing.
Its network reaches this machine at one address only, 10.0.2.100, and only the ports named here, each a Unix socket.
"""

from __future__ import annotations

import base64
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .machine import Late, Ran, RigError, ScriptFailed, last_lines
from .talk import Refused, Talk

WARM: Final = "warm"  # the snapshot's name
TICK_SHIFT: Final = (
    1  # an instruction takes 2 ns of the guest's time, however busy this machine is: 500 MIPS, below any Pi
)
MEMORY_MB: Final = 512  # the smallest Pi that is recommended
BOOT_S: Final = 60.0  # before the slow factor. Seen: 15 to 27 s on a quiet machine, minutes on one that five others use
MONITOR_S: Final = 120.0  # QEMU itself is not emulated; saving a snapshot writes half a gigabyte
AGENT_CALL_S: Final = 10.0
LOOK_EVERY_S: Final = 0.05
PUT_CHUNK: Final = 1 << 19  # bytes in one message to the agent
HOT_SLOTS: Final = ("slot0", "slot1", "slot2")  # for disks that come and go
# What an emulated computer need not do: look for a timer that is there, guard against its processor, test its ciphers.
APPEND: Final = (
    "root=/dev/vda rw quiet net.ifnames=0 systemd.getty_auto=no"
    " no_timer_check mitigations=off cryptomgr.notests apparmor=0 audit=0"
)
HOST_PORTS: Final = (1883, 8883, 8443)  # 10.0.2.100:PORT in the guest is FOLDER/PORT.sock here

ENVIRONMENT: Final = (
    "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8\n"
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What differs between the computers that are emulated."""

    name: str
    architecture: str  # Debian's word
    deb_target: str  # debian/build.py's
    program: str
    options: tuple[str, ...]
    console: str
    slow_factor: float


X86: Final = Machine(
    name="QEMU x86-64",
    architecture="amd64",
    deb_target="x86_64-cp311",
    program="qemu-system-x86_64",
    options=("-M", "q35", "-cpu", "max"),
    console="ttyS0",
    slow_factor=6.0,
)
# A Pi 4's processor; no firmware, no devices of a Pi.
ARM64: Final = Machine(
    name="QEMU arm64",
    architecture="arm64",
    deb_target="aarch64-cp311",
    program="qemu-system-aarch64",
    options=("-M", "virt,gic-version=3", "-cpu", "cortex-a72"),
    console="ttyAMA0",
    slow_factor=20.0,
)


@dataclass(frozen=True, slots=True)
class Disks:
    """`root` is written to; whoever wants the original unharmed copies it first."""

    kernel: Path
    initrd: Path
    root: Path
    packages: Path


class Guest:
    """Its `folder` holds sockets and logs: agent.sock, qmp.sock, adapter.sock, report.sock, console.log."""

    def __init__(self, machine: Machine, disks: Disks, folder: Path, *, slow_factor: float | None = None) -> None:
        self.machine = machine
        self.disks = disks
        self.folder = folder
        self.slow_factor = machine.slow_factor if slow_factor is None else slow_factor
        self._process: subprocess.Popen[bytes] | None = None
        self._monitor: Talk | None = None
        self._agent: Talk | None = None

    def start(self, *, warm: bool, rtc: str = "utc", extra: Sequence[str] = ()) -> float:
        """Returns after how many seconds the shell answered. `extra` devices must be those of the snapshot if warm."""
        assert self._process is None, "runs already"
        began = time.monotonic()
        for old in self.folder.glob("*.sock"):
            if not old.stem.isdigit():  # those are servers of this machine
                old.unlink()
        with (self.folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                [*self.command(rtc), *(("-loadvm", WARM) if warm else ()), *extra],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._monitor = Talk(self.folder / "qmp.sock", within_s=MONITOR_S)
        self._monitor.greet(within_s=MONITOR_S)
        self._agent = Talk(self.folder / "agent.sock", within_s=MONITOR_S)
        self._meet_agent(BOOT_S * self.slow_factor)
        return time.monotonic() - began

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """As a power cut: what QEMU had not written is lost, what it had written is in this machine's hands."""
        for line in (self._monitor, self._agent):
            if line is not None:
                line.close()
        self._monitor = self._agent = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wait_until_off(self, *, within_s: float) -> None:
        """The guest switched itself off."""
        assert self._process is not None
        try:
            self._process.wait(within_s * self.slow_factor)
        except subprocess.TimeoutExpired as error:
            raise Late("the guest did not switch itself off") from error
        self.kill()

    def qmp(self, command: str, /, **arguments: object) -> Any:
        assert self._monitor is not None, "does not run"
        return self._monitor.ask(command, within_s=MONITOR_S, **arguments)

    def monitor(self, line: str) -> str:
        """A command of the monitor for people. It tells errors as text only."""
        said = str(self.qmp("human-monitor-command", command_line=line))
        if said.strip():
            raise Refused(f"{line}: {said.strip()}")
        return said

    def save_warm(self) -> None:
        self.monitor(f"savevm {WARM}")

    def back_to_warm(self) -> float:
        """Disk, memory, devices and clock as they were; returns the seconds it took. Hot-plugged devices forbid it."""
        began = time.monotonic()
        self.monitor(f"loadvm {WARM}")
        self.qmp("cont")
        self._meet_agent(BOOT_S)
        return time.monotonic() - began

    def reboot_awaited(self) -> None:
        """After the guest went down by itself: back when the shell answers again."""
        self._meet_agent(BOOT_S * self.slow_factor)

    # --- the shell -----------------------------------------------------------------------------------------------

    def run(self, script: str, *, within_s: float = 30.0, check: bool = True) -> Ran:
        deadline = time.monotonic() + within_s * self.slow_factor
        started = self._ask_agent(
            "guest-exec",
            path="/bin/bash",
            arg=["-s"],
            input_data=base64.b64encode((ENVIRONMENT + script).encode()).decode(),
            capture_output=True,
        )
        pause_s = LOOK_EVERY_S
        while not (status := self._ask_agent("guest-exec-status", pid=started["pid"]))["exited"]:
            if time.monotonic() > deadline:
                raise Late(f"no end after {within_s * self.slow_factor:.0f} s: {last_lines(script)}")
            time.sleep(pause_s)
            pause_s = min(1.0, pause_s * 1.5)
        ran = Ran(
            128 + status["signal"] if "signal" in status else status["exitcode"],
            base64.b64decode(status.get("out-data", "")).decode(errors="replace"),
            base64.b64decode(status.get("err-data", "")).decode(errors="replace"),
        )
        if check and ran.status != 0:
            raise ScriptFailed(script, ran)
        return ran

    def put(self, path: str, data: bytes) -> None:
        self.run(f"mkdir -p {shlex.quote(str(Path(path).parent))}")
        handle = self._ask_agent("guest-file-open", path=path, mode="w")
        for begin in range(0, len(data), PUT_CHUNK):
            part = base64.b64encode(data[begin : begin + PUT_CHUNK]).decode()
            self._ask_agent("guest-file-write", handle=handle, buf_b64=part)
        self._ask_agent("guest-file-close", handle=handle)

    def get(self, path: str) -> bytes:
        handle = self._ask_agent("guest-file-open", path=path, mode="r")
        found = bytearray()
        while not (part := self._ask_agent("guest-file-read", handle=handle, count=PUT_CHUNK))["eof"] or part["count"]:
            found += base64.b64decode(part["buf-b64"])
        self._ask_agent("guest-file-close", handle=handle)
        return bytes(found)

    def _ask_agent(self, command: str, **arguments: object) -> Any:
        assert self._agent is not None, "does not run"
        try:
            return self._agent.ask(command, within_s=AGENT_CALL_S * self.slow_factor, **arguments)
        except Late as error:
            raise Late(f"{error}; {self.last_words()}") from error

    def _meet_agent(self, within_s: float) -> None:
        assert self._agent is not None
        deadline = time.monotonic() + within_s
        while True:
            try:
                return self._agent.sync(within_s=2.0)
            except Late as error:
                if not self.running:
                    raise RigError(f"QEMU ended; {self.last_words()}") from error
                if time.monotonic() > deadline:
                    raise Late(f"no shell after {within_s:.0f} s; {self.last_words()}") from error

    def last_words(self) -> str:
        """For a person who must find out why it does not answer."""
        return f"console:\n{last_lines((self.folder / 'console.log').read_text(errors='replace'))}"

    # --- the hardware --------------------------------------------------------------------------------------------

    def command(self, rtc: str = "utc") -> list[str]:
        return [
            self.machine.program,
            *(
                "-accel",
                "tcg",
                "-icount",
                f"shift={TICK_SHIFT},sleep=on",
                "-nodefaults",
                "-no-user-config",
                "-nographic",
                *self.machine.options,
            ),
            *("-m", str(MEMORY_MB), "-rtc", f"base={rtc},clock=vm"),
            *("-kernel", str(self.disks.kernel), "-initrd", str(self.disks.initrd)),
            *("-append", f"{APPEND} console={self.machine.console}"),
            *("-serial", "stdio", "-qmp", f"unix:{self.folder}/qmp.sock,server=on,wait=off"),
            *("-blockdev", f"qcow2,node-name=root,file.driver=file,file.filename={self.disks.root}"),
            *("-device", "virtio-blk-pci,drive=root"),
            *("-blockdev", f"raw,node-name=packages,read-only=on,file.driver=file,file.filename={self.disks.packages}"),
            *("-device", "virtio-blk-pci,drive=packages"),
            *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
            *self._port("agent", "virtserialport,name=org.qemu.guest_agent.0"),
            *self._port("adapter", "virtconsole"),  # an slcan adapter's wire: /dev/hvc0
            *self._port("report", "virtserialport,name=report"),  # what a test in the guest tells at once
            *("-object", "can-bus,id=canbus0"),
            *("-device", "kvaser_pci,canbus=canbus0,addr=0x10", "-device", "kvaser_pci,canbus=canbus0,addr=0x11"),
            *(
                "-netdev",
                f"user,id=net0,restrict=on{self._forwarded()}",
                "-device",
                "virtio-net-pci,netdev=net0,id=nic0,romfile=",
            ),
            *("-device", "virtio-keyboard-pci"),  # its key is the ignition line
            *("-device", "i6300esb", "-action", "watchdog=reset"),
            *(
                word
                for number, name in enumerate(HOT_SLOTS, 1)
                for word in ("-device", f"pcie-root-port,id={name},chassis={number},slot={number}")
            ),
        ]

    def _port(self, name: str, device: str) -> tuple[str, ...]:
        return (
            *("-chardev", f"socket,id={name},path={self.folder}/{name}.sock,server=on,wait=off"),
            *("-device", f"{device},chardev={name}"),
        )

    def _forwarded(self) -> str:
        return "".join(
            f",guestfwd=tcp:10.0.2.100:{port}-cmd:socat STDIO UNIX-CONNECT:{self.folder}/{port}.sock"
            for port in HOST_PORTS
        )


def hardware(machine: Machine) -> str:
    """What a warm snapshot depends on beside its disk."""
    nowhere = Path("nowhere")
    return "\n".join(Guest(machine, Disks(nowhere, nowhere, nowhere, nowhere), nowhere).command())
