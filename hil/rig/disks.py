"""The box's card, as bad as cards are: one that loses what was not flushed, that lies about flushing, that stalls.

In:  a disk image made by `make_disk`.
Out: `Card`, a server for that image which loses or stalls; nodes for QEMU's `blockdev-add`.
The server (nbdkit) keeps written blocks in its cache until a flush reaches it. `cut` kills it, and the cache is gone:
what QEMU and the guest believed to be written lies on no medium. Kill QEMU as well, or the guest sees errors instead.
Refuses nothing about what is on the disk: that is for the tests.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rig.emulated import EmulatedRig
from rig.guest import HOT_SLOTS
from rig.machine import Late, RigError

BLOCK_BYTES: Final = 4096
LABEL: Final = "packbox"
BEGIN_MAX_S: Final = 10.0  # nbdkit takes some milliseconds
LOOK_EVERY_S: Final = 0.01


class Card:
    """One nbdkit on one image. `lies`: says that it flushed, and did not."""

    def __init__(self, image: Path, socket: Path, *, lies: bool = False) -> None:
        self.socket = socket
        self._image = image
        self._lies = lies
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        nbdkit = shutil.which("nbdkit")
        if nbdkit is None:
            raise RigError("nbdkit is not installed (hil/needs.sh installs it)")
        assert self._process is None
        self.socket.unlink(missing_ok=True)
        trust = "unsafe" if self._lies else "writeback"
        self._process = subprocess.Popen(
            [nbdkit, "--foreground", "--unix", self.socket, "--filter=cache", "file", self._image, f"cache={trust}"],
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + BEGIN_MAX_S
        while not self.socket.exists():
            if self._process.poll() is not None:
                raise RigError(f"nbdkit ended at once with status {self._process.returncode}")
            if time.monotonic() > deadline:
                self.cut()
                raise Late(f"nbdkit makes no socket {self.socket}")
            time.sleep(LOOK_EVERY_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    def cut(self) -> None:
        """The power is gone, and with it what was not flushed."""
        if self._process is not None:
            self._process.kill()  # ends a stopped process too
            self._process.wait()
            self._process = None
            with suppress(FileNotFoundError):
                self.socket.unlink()

    def stall(self) -> None:
        """Answers nothing until `resume`: as a card does that moves its blocks about."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "no power"
        self._process.send_signal(number)


def make_disk(image: Path, mib: int = 64) -> None:
    """An empty ext4 as a Pi's data partition has it, all its tables written now and not in the background later."""
    with image.open("wb") as file:
        file.truncate(mib * 2**20)
    now = "lazy_itable_init=0,lazy_journal_init=0"
    made = _e2fs("mke2fs", "-q", "-t", "ext4", "-F", "-L", LABEL, "-b", str(BLOCK_BYTES), "-E", now, image)
    if made.returncode:
        raise RigError(f"mke2fs: status {made.returncode}\n{made.stderr}")


def card_node(name: str, socket: Path) -> dict[str, object]:
    """A node that writes through to a `Card`: QEMU itself caches nothing of it."""
    return {"driver": "nbd", "node-name": name, "server": {"type": "unix", "path": str(socket)}}


def logged_node(name: str, image: Path, log: Path) -> dict[str, object]:
    """A node that writes to `image` and keeps in `log` what it wrote, in order (`rig.crash_states` reads it)."""
    log.touch()
    return {
        "driver": "blklogwrites",
        "node-name": name,
        "file": {"driver": "file", "filename": str(image)},
        "log": {"driver": "file", "filename": str(log)},
        "log-sector-size": 512,
    }


def plug(rig: EmulatedRig, node: Mapping[str, object]) -> None:
    """Put the card into the running guest: its third disk. Out again only with the power."""
    rig.altered = True
    rig.guest.qmp("blockdev-add", **node)
    rig.guest.qmp("device_add", driver="virtio-blk-pci", drive=node["node-name"], bus=HOT_SLOTS[0], id="card")


def files_on(image: Path, folder: Path) -> None:
    """Mount without a kernel: replay the file system's log in the image, then copy all its files to `folder`.

    Works without loop devices and mounts, which containers rarely have. Raises BrokenDiskError for a file system that
    a start of the box would not mount either: what its own log does not mend.
    """
    checked = _e2fs("e2fsck", "-p", "-f", image)
    if checked.returncode & ~1:  # 1: mended, as each start mends
        raise BrokenDiskError(f"e2fsck: status {checked.returncode}\n{checked.stdout}{checked.stderr}")
    folder.mkdir(parents=True, exist_ok=True)
    copied = _e2fs("debugfs", "-R", f"rdump / {folder}", image)
    if copied.returncode:
        raise BrokenDiskError(f"debugfs: status {copied.returncode}\n{copied.stderr}")


def forget_block(image: Path, file: str, number: int) -> None:
    """What a card has that never wrote one block of a file, although it said so: zeros. The image must be mended."""
    found = _e2fs("debugfs", "-R", f"bmap /{file} {number}", image)
    if found.returncode or not found.stdout.strip().isdigit():
        raise RigError(f"debugfs: no block {number} of {file}\n{found.stdout}{found.stderr}")
    with image.open("r+b") as disk:
        disk.seek(int(found.stdout) * BLOCK_BYTES)
        disk.write(bytes(BLOCK_BYTES))


class BrokenDiskError(Exception):
    """The file system did not survive."""


def _e2fs(program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    found = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise RigError(f"{program} is not installed (hil/needs.sh installs e2fsprogs)")
    return subprocess.run([found, *words], capture_output=True, text=True, check=False)
