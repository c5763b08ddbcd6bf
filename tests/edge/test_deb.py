"""The Debian package: complete, for machines without a network, and never a danger to what was recorded."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from box_records import fill, write_log
from packwire.messages import Health

HERE = f"{os.uname().machine}-cp{sys.version_info.major}{sys.version_info.minor}"


@pytest.fixture(scope="module")
def build(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_deb", root / "debian/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


Package = Callable[[str], Path]


@pytest.fixture(scope="module")
def package(build: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package of a version, for this machine and Python only."""
    targets = [target for target in build.TARGETS if target.folder == HERE]
    if not targets:
        pytest.skip(f"the package is not for {HERE}")
    if not Path("/usr/bin/python3").exists():
        pytest.skip("the package runs on the system's Python, and there is none")
    out = tmp_path_factory.mktemp("deb")

    def of(version: str) -> Path:
        found = out / f"packbox_{version}_all.deb"
        return found if found.exists() else Path(build.build(out, targets, version, fast=True))

    return of


class Machine:
    """A root folder that dpkg installs into, as an image builder would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "usr"):
            (root / folder).mkdir(parents=True)
        for file in ("var/lib/dpkg/status", "etc/passwd", "etc/group"):
            (root / file).touch()

    def dpkg(self, *arguments: str | Path) -> str:
        how = ["--force-script-chrootless", "--force-depends", "--force-not-root", "--log=/dev/null"]
        done = run("dpkg", f"--root={self.root}", *how, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def packbox(self, *arguments: str | Path, offline: bool = True) -> subprocess.CompletedProcess[str]:
        """With nothing of this test's environment, and where the kernel lets us without any network."""
        alone = ["unshare", "-rn"] if offline and run("unshare", "-rn", "true").returncode == 0 else []
        return run(*alone, "env", "-i", "HOME=/nonexistent", self.root / "usr/bin/packbox", *arguments)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PACKBOX"))}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environ, cwd="/")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


@pytest.mark.slow
def test_an_installed_box_works_without_network_and_without_the_book(
    machine: Machine, package: Package, tmp_path: Path
) -> None:
    """A workshop installs from a stick: everything is inside, and nothing of the cloud."""
    machine.dpkg("--install", package("1.0.0"))
    assert machine.packbox("--version").stdout.startswith("packbox ")
    assert "nissan-leaf" in machine.packbox("profiles", "list").stdout
    log = write_log(tmp_path / "car.log", "leaf-24,seed=5,start=2026-05-04,until=2026-05-05")
    replayed = machine.packbox("replay", log, "--json")
    assert replayed.returncode == 0, replayed.stderr
    assert '"kind": "charge"' in replayed.stdout
    inspected = machine.packbox("inspect", log, "--out", tmp_path / "sheets")
    assert list((tmp_path / "sheets").iterdir()), inspected.stderr  # a sealed record: the libraries that sign are in
    looked = machine.packbox("doctor", "--data-dir", tmp_path / "data", "--json")
    assert '"check": "settings", "verdict": "OK"' in looked.stdout, looked.stderr
    home = machine.root / "usr/lib/packbox"
    assert list(home.glob("any/packbox/**/*.pyc"))
    assert [name for name in ("fastapi", "sqlalchemy", "packbook", "uvicorn") if list(home.glob(f"*/{name}"))] == []
    assert "packbox:" in (machine.root / "etc/passwd").read_text()
    assert (machine.root / "etc/systemd/system/multi-user.target.wants/packbox.service").is_symlink()


@pytest.mark.slow
def test_upgrade_rollback_removal_and_purge_keep_the_data(machine: Machine, package: Package) -> None:
    """Journal and key exist nowhere else; the package manager must not be how a battery loses its history."""
    data_dir = machine.root / "var/lib/packbox"
    settings = machine.root / "etc/packbox/packbox.toml"
    machine.dpkg("--install", package("1.0.0"))
    fill(data_dir, [Health()]).close()
    settings.write_text('profile = "nissan-leaf"\n')
    before = held(data_dir)
    machine.dpkg("--install", package("1.0.1"))
    machine.dpkg("--install", package("1.0.0"))
    assert machine.packbox("--version").returncode == 0
    machine.dpkg("--remove", "packbox")
    assert list((machine.root / "usr").glob("lib/packbox*")) == []
    machine.dpkg("--purge", "packbox")
    assert (held(data_dir), settings.exists()) == (before, True)
    machine.dpkg("--install", package("1.0.1"))
    assert held(data_dir) == before


@pytest.mark.slow
def test_the_same_commit_gives_the_same_package(
    build: ModuleType, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever doubts a package builds it again."""
    again = build.build(tmp_path, [t for t in build.TARGETS if t.folder == HERE], "1.0.0", fast=True)
    assert digest_of(again) == digest_of(package("1.0.0"))


def held(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest_of(path) for path in folder.rglob("*") if path.is_file()}


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_what_the_lock_names_goes_in(build: ModuleType) -> None:
    """Digests and markers of the lock, word for word; a library that it does not know stops the build."""
    lock = "a==1 \\\n    --hash=sha256:00\n    # via b\nb==2 ; python_full_version < '3.12' \\\n    --hash=sha256:11\n"
    lock += "b==3 ; python_full_version >= '3.12' \\\n    --hash=sha256:22\nc==4 \\\n    --hash=sha256:33\n"
    assert build.locked(["b"], lock) == "".join(lock.splitlines(keepends=True)[3:7])
    with pytest.raises(KeyError):
        build.locked(["d"], lock)


@pytest.mark.parametrize(
    ("tags", "place"),
    [
        (["py3-none-any"], "any"),
        (["cp311-abi3-manylinux_2_28_aarch64"], "aarch64"),
        (["cp313-cp313-manylinux_2_17_aarch64", "cp313-cp313-manylinux2014_aarch64"], "aarch64-cp313"),
    ],
)
def test_a_library_goes_where_it_can_be_shared(build: ModuleType, tags: list[str], place: str) -> None:
    """Four machines in one package: what they share is there once."""
    wheel = "Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags)
    assert build.place_of(wheel, build.Target("aarch64", "3.13")) == place


def test_every_unit_is_in_the_package(build: ModuleType, root: Path) -> None:
    """A file that nobody installs helps nobody."""
    files = [path.name for path in (root / "systemd").iterdir()]
    units = {f"systemd/{name}" for name in files if not name.startswith("packbook")}  # the book's own are not the box's
    assert units <= set(build.FILES)
    assert [name for name in build.FILES if not (root / name).exists()] == []
