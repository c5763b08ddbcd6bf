"""Run by a test in the box's place, inside its sandbox: tries what a break-in would try, and writes down what happened.

Standard library only. Out: attempts.json in the data folder: "done", or how the kernel refused, by attempt.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

DATA = Path(os.environ["STATE_DIRECTORY"])
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER = 0x10000000
PTRACE_ATTACH = 16


def call(name: str, *arguments: object) -> None:
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path: str) -> None:
    with Path(path).open("ab") as file:
        file.write(b"")


def listen() -> None:
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as can:
        can.bind(("can0",))


def reach() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.bind(("127.0.0.1", 0))


def raise_time_limit() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))


def set_the_clock() -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.time() + 3600)


def look_at_the_clock() -> None:
    room = (ctypes.c_long * 64)()
    if LIBC.adjtimex(room) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


ATTEMPTS: dict[str, Callable[[], object]] = {
    "listen to CAN": listen,
    "write to the data folder": lambda: write(str(DATA / "attempt")),
    "reach the network": reach,
    "ask whether the clock is set": look_at_the_clock,
    "write to /usr": lambda: write("/usr/attempt"),
    "write to /etc": lambda: write("/etc/attempt"),
    "write to its own settings": lambda: write("/etc/packbox/packbox.toml"),
    "write to its own program": lambda: write("/usr/lib/packbox/any/packbox/__main__.py"),
    "write to /boot": lambda: write("/boot/attempt"),
    "read root's home": lambda: list(Path("/root").iterdir()),
    "read the shadow file": lambda: Path("/etc/shadow").read_bytes(),
    "see other processes": lambda: Path("/proc/1/cmdline").read_bytes(),
    "read the kernel's log": lambda: Path("/dev/kmsg").open("rb").close(),
    "open the disk": lambda: Path("/dev/vda").open("rb").close(),
    "open the memory": lambda: Path("/dev/mem").open("rb").close(),
    "become root": lambda: os.setuid(0),
    "make a name space": lambda: call("unshare", CLONE_NEWUSER),
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "read packets of the network": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
    "run in real time": raise_time_limit,
    "set the clock": set_the_clock,
    "set the host name": lambda: socket.sethostname("attempt"),
    "make memory that is written and run": lambda: mmap.mmap(
        -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    ),
    "trace a process": lambda: call("ptrace", PTRACE_ATTACH, 1, None, None),
    "end the first process": lambda: os.kill(1, 9),
    "change the kernel's settings": lambda: Path("/proc/sys/kernel/panic").write_text("1"),
    "reboot": lambda: call("reboot", 0x4321FEDC),
    "make a file that runs as root": lambda: (DATA / "attempt").chmod(0o4700),
}


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as refusal:
        return refusal.strerror or repr(refusal)
    return "done"


(DATA / "attempts.json").write_text(json.dumps({name: outcome(attempt) for name, attempt in ATTEMPTS.items()}))
