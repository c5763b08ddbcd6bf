"""What lands on a Raspberry Pi when only the box is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

BOOK_ONLY = {
    "aiosqlite",
    "alembic",
    "amqtt",
    "asyncpg",
    "fastapi",
    "jinja2",
    "mako",
    "sqlalchemy",
    "starlette",
    "uvicorn",
}

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import packbox, packwire
names = [m.name for p in (packbox, packwire) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
names = [n for n in names if not n.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(json.dumps({"imported": names, "book": sorted(m for m in sys.modules if m.split(".")[0] == "packbook")}))
"""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_box_alone_brings_no_cloud_dependency_along(root: Path, tmp_path: Path) -> None:
    """A Pi in a car has little memory and no use for a web framework; every box module must work without one."""
    uv = Path(sys.executable).with_name("uv")
    run(uv, "build", "--wheel", "--no-build-isolation", "--quiet", "--out-dir", tmp_path, cwd=root)
    (wheel,) = tmp_path.glob("*.whl")
    pins = [
        line.removesuffix(" \\")
        for line in (root / "requirements.lock").read_text().splitlines()
        if re.match(r"\w", line)
    ]
    (tmp_path / "pins.txt").write_text("\n".join(pins))
    home = tmp_path / "venv"
    python = home / "bin/python"
    run(uv, "venv", "--quiet", "--python", sys.executable, home)
    run(uv, "pip", "install", "--quiet", "--python", python, "--constraint", tmp_path / "pins.txt", f"{wheel}[edge]")

    installed = {p["name"] for p in json.loads(run(uv, "pip", "list", "--python", python, "--format", "json"))}
    seen = json.loads(run(python, "-W", "error", "-c", IMPORT_ALL, cwd=tmp_path))

    assert installed & BOOK_ONLY == set()
    assert seen["book"] == []
    assert "packbox.core.box" in seen["imported"]
    assert "packbox" in run(home / "bin/packbox", "--version")
    assert "nissan-leaf" in run(home / "bin/packbox", "profiles", "list", cwd=tmp_path)
