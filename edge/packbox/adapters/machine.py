"""What the machine says about itself: room on the disk, heat of the processor, its supply. Unknown is None."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

THROTTLED_FILE: Final = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")  # Raspberry Pi's kernel, hex
SUPPLY_BITS: Final = {
    0: "under-voltage now",
    1: "frequency capped now",
    2: "throttled now",
    3: "too hot now",
    16: "under-voltage since boot",
    17: "frequency was capped since boot",
    18: "throttled since boot",
    19: "too hot since boot",
}
CPU_TEMP_FILE: Final = Path("/sys/class/thermal/thermal_zone0/temp")  # in 1/1000 degC; the Pi's only zone


def disk_free_bytes(folder: Path) -> int | None:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def cpu_temp_degc() -> float | None:
    try:
        return int(CPU_TEMP_FILE.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return None


def supply_trouble() -> list[str] | None:
    """What a Raspberry Pi's firmware says of its supply; None on other machines."""
    try:
        bits = int(THROTTLED_FILE.read_text(encoding="ascii"), 16)
    except (OSError, ValueError):
        return None
    return [words for bit, words in SUPPLY_BITS.items() if bits >> bit & 1]
