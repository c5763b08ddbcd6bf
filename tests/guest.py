"""A Linux of our own for tests: real CAN sockets, links that may be cut, a clock that may be set, gone when it ends.

In:  a command. Out: its output in `log`, files it wrote: user-mode Linux (Debian's user-mode-linux) runs as one more
program on this machine's file tree, with this user's rights, own devices, own network, own clock and /run, one CPU.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

PROGRAM: Final = "linux.uml"
MODULES: Final = Path("/usr/lib/uml/modules")
# In the order of their needs.
LOADED: Final = ("can", "can-dev", "can-raw", "can-gw", "vcan", "vxcan", "slcan", "sch_netem")
MEMORY_MB: Final = 768
LEAVE_S: Final = 10.0
LIFE_MAX_S: Final = 1200  # then it ends by itself: whoever started it may have been killed
SCRATCH: Final = "/run/scratch"  # the guest's own memory: what is written there never reaches this machine

BOOT: Final = """\
#!/bin/sh
exec >{log} 2>&1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /dev/pts /dev/shm {scratch}
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
for module in {modules}; do insmod "$module" || echo "$module: not loaded"; done
ip link set lo up
(sleep {life}; echo o >/proc/sysrq-trigger) &
cd {folder}
env HOME={scratch} TMPDIR={scratch} {command} </dev/null
sync
echo o >/proc/sysrq-trigger
sleep 60
"""


def missing() -> str | None:
    """What keeps this machine from running a guest."""
    return None if shutil.which(PROGRAM) else f"{PROGRAM} is not installed (tests/needs.sh installs it)"


class Guest:
    """One guest, from `start` until its command ends or `stop`."""

    def __init__(self, scratch: Path, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self.log = scratch / "guest.log"
        self._console = scratch / "console.log"
        self._scratch = scratch
        words = [*(f"{name}={value}" for name, value in environ.items()), *command]
        self._boot = scratch / "boot.sh"
        self._boot.write_text(
            BOOT.format(
                log=shlex.quote(str(self.log)),
                scratch=SCRATCH,
                life=LIFE_MAX_S,
                modules=" ".join(shlex.quote(str(path)) for path in _modules()),
                folder=shlex.quote(str(folder)),
                command=shlex.join(words),
            )
        )
        self._boot.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                [
                    PROGRAM,
                    *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet"),
                    *(f"mem={MEMORY_MB}M", f"init={self._boot}", f"uml_dir={self._scratch}"),
                    *("con=null", "con0=null,fd:1"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(_memory_folder())},
                start_new_session=True,  # it is many processes here, which must go together
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(LEAVE_S if not self.running else 0.0)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(LEAVE_S)
        self._process = None

    def last_words(self) -> str:
        """For a person who must find out why it did not do its work."""
        told = [path.read_text(errors="replace") if path.exists() else "" for path in (self._console, self.log)]
        return "\n".join(text[-4000:] for text in told)


def _modules() -> list[Path]:
    version = subprocess.run([PROGRAM, "--version"], capture_output=True, check=True, text=True).stdout.strip()
    found = {path.stem: path for path in (MODULES / version).rglob("*.ko")}
    return [found[name] for name in LOADED]


def _memory_folder() -> Path:
    """Where its memory may lie as a file: large enough, and programs may run from there, which containers forbid."""
    shm = Path("/dev/shm")
    if shm.is_dir() and shutil.disk_usage(shm).free > MEMORY_MB * 2**20 and not os.statvfs(shm).f_flag & os.ST_NOEXEC:
        return shm
    return Path(tempfile.gettempdir())
