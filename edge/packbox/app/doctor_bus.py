"""The doctor's look at CAN interfaces: up, bit rate, listen-only, state of the controller, errors.

In:  the kernel's figures (`ip -details -json link`, /sys/class/net), the settings, the profile's bit rates.
Out: findings. Changes nothing, and sends nothing onto a bus.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from packbox.app.findings import Finding, Verdict
from packbox.core.courtesy import Consent
from packbox.settings import Settings

NETWORK_DEVICES: Final = Path("/sys/class/net")
DEVICE_UP: Final = 0x1  # IFF_UP, linux/if.h
CAN_DEVICE: Final = 280  # ARPHRD_CAN, linux/if_arp.h
IP_WAIT_MAX_S: Final = 5.0


def bus_findings(settings: Settings, bitrates: Sequence[int]) -> Iterator[Finding]:
    """`bitrates`: of the profile's buses, in order; empty when the profile cannot be read."""
    kind, _, rest = settings.source.partition(":")
    if kind == "log" and not Path(rest).is_file():
        yield Finding("bus", Verdict.FAIL, f"{rest}: there is no such log", "look at the setting source")
    elif kind == "socketcan":
        for place, name in enumerate(rest.split(",")):
            wanted = bitrates[place] if place < len(bitrates) else None
            yield from interface_findings(name, wanted, may_ask=place == 0 and settings.polling is not Consent.NEVER)
    else:
        yield Finding("bus", Verdict.OK, f"{settings.source} (not looked into)")


def interface_findings(name: str, bitrate: int | None, *, may_ask: bool) -> Iterator[Finding]:
    device = NETWORK_DEVICES / name
    try:
        kind = int((device / "type").read_text())
        up = int((device / "flags").read_text(), 16) & DEVICE_UP
        errors, frames = (int((device / "statistics" / item).read_text()) for item in ("rx_errors", "rx_packets"))
    except OSError:
        do = "look at the HAT, its overlay and setting source"
        yield Finding("bus", Verdict.FAIL, f"{name}: there is no such interface", do)
        return
    if kind != CAN_DEVICE:
        yield Finding("bus", Verdict.FAIL, f"{name}: is no CAN interface", "look at the setting source")
        return
    if not up:
        do = f"install systemd/80-can.network, or: ip link set {name} up"
        yield Finding("bus", Verdict.FAIL, f"{name}: is down", do)
        return
    text = f"{name}: up, {frames} frames and {errors} errors since boot"
    if errors and not frames:
        do = "errors and no frames: wrong bit rate, wrong oscillator in the overlay, or a swapped pair of wires"
        yield Finding("bus", Verdict.WARN, text, do)
    else:
        yield Finding("bus", Verdict.OK, text)
    yield from controller_findings(name, controller_of(name), bitrate, may_ask=may_ask)


def controller_of(name: str) -> Mapping[str, Any] | None:
    """What the kernel says of the controller; None for one that has none (vcan) or when `ip` cannot be asked."""
    command = ["ip", "-details", "-json", "link", "show", name]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=IP_WAIT_MAX_S, check=True).stdout
        found = json.loads(said)[0]["linkinfo"]["info_data"]
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, Mapping) and "bittiming" in found else None


def controller_findings(
    name: str, controller: Mapping[str, Any] | None, bitrate: int | None, *, may_ask: bool
) -> Iterator[Finding]:
    if controller is None:
        return
    has = controller["bittiming"].get("bitrate")
    if bitrate is not None and has != bitrate:
        yield Finding(
            "bitrate",
            Verdict.FAIL,
            f"{name}: {has} bit/s, but this bus of the profile has {bitrate}",
            f"set BitRate={bitrate} in a drop-in of 80-can.network, or mend the order in the setting source",
        )
    else:
        yield Finding("bitrate", Verdict.OK, f"{name}: {has} bit/s")
    yield _listen_only(name, "LISTEN-ONLY" in controller.get("ctrlmode", []), may_ask=may_ask)
    state = str(controller.get("state", "unknown"))
    if state == "BUS-OFF":
        do = "the controller gave up: wiring, bit rate, a terminator too many; RestartSec=100ms brings it back"
        yield Finding("controller", Verdict.FAIL, f"{name}: {state}", do)
    elif state in ("ERROR-PASSIVE", "STOPPED"):
        do = "many errors: wiring, bit rate, or nobody else on this bus"
        yield Finding("controller", Verdict.WARN, f"{name}: {state}", do)
    else:
        yield Finding("controller", Verdict.OK, f"{name}: {state}")


def _listen_only(name: str, listen_only: bool, *, may_ask: bool) -> Finding:
    if listen_only and may_ask:
        do = "setting polling needs the active variant: /usr/share/packbox/80-can-active.conf; or set polling = never"
        return Finding("listen_only", Verdict.FAIL, f"{name}: listen-only, so the car cannot be asked", do)
    if not listen_only and not may_ask:
        do = "nothing is asked here: ListenOnly=yes makes sure that the controller cannot disturb the car"
        return Finding("listen_only", Verdict.WARN, f"{name}: takes part in the bus", do)
    return Finding("listen_only", Verdict.OK, f"{name}: {'listen-only' if listen_only else 'active, as polling needs'}")
