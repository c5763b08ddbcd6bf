"""What the machine says about itself, for health: room on the disk, heat of the processor. Unknown is None."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

CPU_TEMP_FILE: Final = Path("/sys/class/thermal/thermal_zone0/temp")  # in 1/1000 degC; the Pi's only zone


def disk_free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def cpu_temp_degc() -> float | None:
    try:
        return int(CPU_TEMP_FILE.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return None
