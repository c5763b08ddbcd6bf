"""Disks of guests, made once and kept outside the clone, each under a digest of all that went into it.

In:  the recipe (`hil/recipe`), which machine, this checkout's package of the box.
Out: `Disks` whose root holds a warm snapshot: started, settled, waiting. Never written to again: rigs copy it.
Three layers, each renewed only when its inputs change: Debian; our package on it; the snapshot. How long each took is
kept beside it, and told as a figure on the day that it was made.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .figures import FIGURES
from .guest import Disks, Guest, Machine, hardware
from .machine import RigError, last_lines

ROOT: Final = Path(__file__).resolve().parents[2]
RECIPE: Final = ROOT / "hil/recipe"
# All that ends up in the package, or decides how.
PACKAGE_INPUTS: Final = ("debian", "edge/packbox", "wire/packwire", "can_profiles", "systemd", "requirements.lock")
PROGRAMS: Final = ("qemu-img", "mmdebstrap", "mkfs.ext4", "depmod", "cpio", "unshare", "socat")
BUILT_AT: Final = "1767225600"  # 2026: the same tree is the same package, whichever commit it stands in
NEXT_VERSION: Final = "9999"  # of the same tree: what an upgrade installs
KEPT_LAYERS: Final = 4  # of each kind: branches that somebody goes back and forth between
IN_USE_S: Final = 86_400.0  # a rig in another clone may still read what it began with
SETTLE: Final = """\
systemctl is-system-running --wait >/dev/null
for name in can0 can1 vcan0; do until ip link show $name | grep -q LOWER_UP; do sleep 0.2; done; done
journalctl --rotate --vacuum-time=1s --quiet; sync; fstrim / || true
"""


def cache() -> Path:
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "packbox-hil"


def disks(machine: Machine, *, slow_factor: float | None = None) -> Disks:
    """Takes seconds when all is there, minutes when Debian has to be fetched. RigError says what cannot be had."""
    where = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if lacking := [name for name in (machine.program, *PROGRAMS) if shutil.which(name, path=where) is None]:
        raise RigError(f"{machine.name}: not installed: {', '.join(lacking)} (hil/needs.sh installs them)")
    base = _layer(
        "base", machine, [RECIPE / "base.sh", RECIPE / "packages.txt", RECIPE / "tree"], lambda out: _base(machine, out)
    )
    inputs = [base, RECIPE / "box.sh", *(ROOT / name for name in PACKAGE_INPUTS)]
    box = _layer("box", machine, inputs, lambda out: _box(machine, base, out))
    warm = _layer(
        "warm", machine, [box, SETTLE, hardware(machine)], lambda out: _warm(machine, base, box, out, slow_factor)
    )
    return Disks(base / "vmlinuz", base / "initrd", warm / "root.qcow2", box / "packages.img")


def _base(machine: Machine, out: Path) -> None:
    _run("bash", str(RECIPE / "base.sh"), machine.architecture, str(out))


def _box(machine: Machine, base: Path, out: Path) -> None:
    for version in ((), ("--version", NEXT_VERSION)):
        command = (
            sys.executable,
            "debian/build.py",
            "--fast",
            "--target",
            machine.deb_target,
            "--out",
            str(out),
            *version,
        )
        _run(*command, SOURCE_DATE_EPOCH=BUILT_AT)
    packages = sorted(out.glob("*.deb"))
    _run("bash", str(RECIPE / "box.sh"), str(base / "base.tar"), str(out), *(str(package) for package in packages))


def _warm(machine: Machine, base: Path, box: Path, out: Path, slow_factor: float | None) -> None:
    root = out / "root.qcow2"
    copy(box / "root.qcow2", root)
    with tempfile.TemporaryDirectory(prefix="packbox-hil-") as folder:
        made = Disks(base / "vmlinuz", base / "initrd", root, box / "packages.img")
        guest = Guest(machine, made, Path(folder), slow_factor=slow_factor)
        try:
            FIGURES.tell(f"{machine.name}: boot until the shell answers", guest.start(warm=False), "s")
            guest.run(SETTLE, within_s=60)
            guest.save_warm()
        finally:
            guest.kill()


def copy(source: Path, goal: Path) -> None:
    """Holes stay holes; file systems that can share blocks do."""
    _run("cp", "--reflink=auto", "--sparse=always", str(source), str(goal))


def _layer(kind: str, machine: Machine, inputs: Iterable[Path | str], make: Callable[[Path], None]) -> Path:
    goal = cache() / f"{kind}-{machine.architecture}-{_digest(inputs)[:16]}"
    with _alone(goal.name):
        if goal.exists():
            os.utime(goal)
            return goal
        began = time.monotonic()
        half = Path(tempfile.mkdtemp(prefix="half-", dir=cache()))
        try:
            make(half)
            half.rename(goal)
        except BaseException:
            shutil.rmtree(half)
            raise
        FIGURES.tell(f"{machine.name}: layer '{kind}' built", time.monotonic() - began, "s")
        _forget(kind, machine)
        return goal


def _forget(kind: str, machine: Machine) -> None:
    """Old layers of this kind, and what a build that was killed left behind."""
    layers = sorted(cache().glob(f"{kind}-{machine.architecture}-*"), key=lambda path: path.stat().st_mtime)
    for old in (*layers[:-KEPT_LAYERS], *cache().glob("half-*")):
        if time.time() - old.stat().st_mtime > IN_USE_S:
            shutil.rmtree(old)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Two clones may want the same layer at once: one makes it."""
    locks = cache() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(inputs: Iterable[Path | str]) -> str:
    """Of texts, and of names and contents of files; a layer below stands for itself by its name."""
    digest = hashlib.sha256()
    for given in inputs:
        if isinstance(given, str):
            digest.update(given.encode())
            continue
        files = [given] if given.is_file() else sorted(path for path in given.rglob("*") if path.is_file())
        if given.is_relative_to(cache()):
            files = []
        digest.update(f"{given.name}\n".encode())
        for path in files:
            if "__pycache__" not in path.parts:
                digest.update(
                    f"{path.relative_to(given.parent)}\n".encode() + hashlib.sha256(path.read_bytes()).digest()
                )
    return digest.hexdigest()


def _run(*command: str, **environ: str) -> None:
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RigError(
            f"{' '.join(command)}: status {done.returncode}\n{last_lines(done.stdout)}\n{last_lines(done.stderr)}"
        )
