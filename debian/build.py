"""Build the Debian package of the box: one file for 64-bit Arm and x86, with all it needs inside.

In:  this checkout; the wheels that requirements.lock names, by their digests, from the index that uv is set up for.
Out: dist/packbox_VERSION_all.deb, the same bytes from the same commit.
Only building needs a network. Which libraries go in is what the `edge` extra asks for, at the lock's versions.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import Parser
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
HERE: Final = Path(__file__).resolve().parent
HOME: Final = Path("usr/lib/packbox")
GLIBC: Final = "manylinux_2_28"  # Debian 12 has 2.36

# What the box never uses, with the megabytes it saves in each target.
LEFT_OUT: Final = (
    "numpy/**/tests/*",  # 8
    "zstandard/_cffi*",  # 12; backend_c does the work on CPython
    "*.pyi",
    "*.a",
    "bin/*",
    "*/direct_url.json",  # names a path of the machine it was built on
)

# Where things of the checkout go.
FILES: Final[Mapping[str, str]] = {
    "debian/packbox": "usr/bin/packbox",
    "can_profiles": "usr/lib/packbox/can_profiles",
    "systemd/packbox.service": "usr/lib/systemd/system/packbox.service",
    "systemd/packbox-poweroff.path": "usr/lib/systemd/system/packbox-poweroff.path",
    "systemd/packbox-poweroff.service": "usr/lib/systemd/system/packbox-poweroff.service",
    "systemd/80-can.network": "usr/lib/systemd/network/80-can.network",
    "systemd/80-can-active.conf": "usr/share/packbox/80-can-active.conf",
    "systemd/packbox.toml": "usr/share/packbox/packbox.toml",
    "systemd/packbox.sysusers": "usr/lib/sysusers.d/packbox.conf",
    "systemd/packbox.tmpfiles": "usr/lib/tmpfiles.d/packbox.conf",
    "systemd/packbox.sysctl": "usr/lib/sysctl.d/60-packbox.conf",
    "systemd/packbox.journald": "usr/lib/systemd/journald.conf.d/packbox.conf",
    "LICENSE": "usr/share/doc/packbox/copyright",
    "docs/box.md": "usr/share/doc/packbox/box.md",
    "docs/operate.md": "usr/share/doc/packbox/operate.md",
}
EXECUTABLE: Final = frozenset({"usr/bin/packbox", "DEBIAN/postinst", "DEBIAN/prerm", "DEBIAN/postrm"})


@dataclass(frozen=True, slots=True)
class Target:
    machine: str  # as `uname -m` says it
    python: str

    @property
    def folder(self) -> str:
        return f"{self.machine}-cp{self.python.replace('.', '')}"


TARGETS: Final = tuple(Target(machine, python) for machine in ("x86_64", "aarch64") for python in ("3.11", "3.13"))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER")
    parser.add_argument(
        "--target",
        action="append",
        choices=[target.folder for target in TARGETS],
        help="only this machine and Python, for a smaller package; may be given several times",
    )
    parser.add_argument("--version", default=None, help="default: that of the software")
    parser.add_argument("--fast", action="store_true", help="compress little")
    args = parser.parse_args(argv)
    targets = [target for target in TARGETS if not args.target or target.folder in args.target]
    package = build(args.out, targets, args.version or software_version(), fast=args.fast)
    print(f"{package}: {package.stat().st_size / 1e6:.1f} MB")
    return 0


def build(out: Path, targets: Sequence[Target], version: str, *, fast: bool = False) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="packbox-deb-") as folder:
        tree = Path(folder) / "tree"
        for target in targets:
            bought = Path(folder) / target.folder
            install(target, bought)
            place(bought, target, tree / HOME)
        for package in ("edge/packbox", "wire/packwire"):
            copy(ROOT / package, tree / HOME / "any" / Path(package).name)
        for source, goal in FILES.items():
            copy(ROOT / source, tree / goal)
        write_control(tree, version)
        return pack(tree, out / f"packbox_{version}_all.deb", fast=fast)


def software_version() -> str:
    found = re.search(r'__version__ = "(.+)"', (ROOT / "wire/packwire/version.py").read_text())
    assert found
    return found[1]


def locked(names: Iterable[str], lock: str) -> str:
    """The lock's own lines for these packages, digests included. Raises KeyError for one it does not know."""
    blocks: dict[str, list[str]] = {}
    for block in re.findall(r"^\w.*(?:\n[ ]+.*)*", lock, re.MULTILINE):
        blocks.setdefault(block.split("==")[0].lower(), []).append(block)
    return "\n".join(block for name in sorted(names) for block in blocks[name.lower()]) + "\n"


def needed(target: Target) -> list[str]:
    """Names of what the box needs there."""
    said = _uv(
        "pip",
        "compile",
        "pyproject.toml",
        "--extra",
        "edge",
        "--constraint",
        "requirements.lock",
        *_platform(target),
        "--no-header",
        "--no-annotate",
        "--quiet",
    )
    return [line.split("==")[0] for line in said.splitlines() if "==" in line]


def install(target: Target, folder: Path) -> None:
    """The wheels of one target, unpacked."""
    folder.mkdir(parents=True)
    wanted = folder.with_suffix(".txt")
    wanted.write_text(locked(needed(target), (ROOT / "requirements.lock").read_text()))
    _uv(
        "pip",
        "install",
        "--target",
        str(folder),
        *_platform(target),
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--requirement",
        str(wanted),
        "--quiet",
    )


def place(bought: Path, target: Target, home: Path) -> None:
    """Pure libraries once, stable-ABI ones once a machine, the rest for each Python: one library is never split."""
    for info in sorted(bought.glob("*.dist-info")):
        goal = home / place_of((info / "WHEEL").read_text(), target)
        for name in recorded((info / "RECORD").read_text()):
            if not any(fnmatch(name, pattern) for pattern in LEFT_OUT) and (bought / name).is_file():
                _copy_once(bought / name, goal / name)


def place_of(wheel: str, target: Target) -> str:
    tags = Parser().parsestr(wheel).get_all("Tag", [])
    assert tags, "a wheel has tags (PEP 427)"
    if all(tag.endswith("-none-any") for tag in tags):
        return "any"
    return target.machine if all("-abi3-" in tag for tag in tags) else target.folder


def recorded(record: str) -> Iterator[str]:
    for line in record.splitlines():
        name = line.rsplit(",", 2)[0].strip('"')
        if not name.startswith("..") and "__pycache__" not in name:
            yield name


def _copy_once(source: Path, goal: Path) -> None:
    if goal.exists() and source.parent.suffix != ".dist-info":
        assert goal.read_bytes() == source.read_bytes(), f"{goal}: targets disagree"
        return
    goal.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, goal)


def copy(source: Path, goal: Path) -> None:
    goal.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, goal, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, goal)


def write_control(tree: Path, version: str) -> None:
    control = tree / "DEBIAN"
    control.mkdir()
    size_kib = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file()) // 1024
    text = (HERE / "control").read_text().replace("@VERSION@", version).replace("@INSTALLED_KIB@", str(size_kib))
    (control / "control").write_text(text)
    for script in ("postinst", "prerm", "postrm"):
        shutil.copyfile(HERE / script, control / script)


def pack(tree: Path, package: Path, *, fast: bool) -> Path:
    """Owner, modes, times and order follow from the commit alone."""
    epoch = _epoch()
    for path in sorted(tree.rglob("*"), reverse=True):
        is_open = path.is_dir() or str(path.relative_to(tree)) in EXECUTABLE
        path.chmod(0o755 if is_open else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    tree.chmod(0o755)
    how = ["-Zzstd", "-z1"] if fast else ["-Zxz", "-z6"]
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", *how, "--build", tree, package],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return package


def _epoch() -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None:
        return int(given)
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


def _platform(target: Target) -> list[str]:
    return ["--python-platform", f"{target.machine}-{GLIBC}", "--python-version", target.python]


def _uv(*arguments: str) -> str:
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run([uv, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"uv {arguments[0]} {arguments[1]} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
