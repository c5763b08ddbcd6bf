"""The doctor's look at the box that runs now, by its status file: frames, profile fit, saving, acks, power.

In:  the status file (`app.status`). Out: findings; one that says so when no box runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from packbox.app.findings import Finding, Verdict
from packbox.app.status import read_status
from packbox.core.fit import TRIAL_BAD_SHARE, TRIAL_FRAMES, TRIAL_UNKNOWN_SHARE
from packbox.core.stamp import Stamp
from packbox.settings import Settings

SHIPPED_STATUS: Final = Path("/run/packbox/status.json")  # the unit's own setting, which a person's shell has not
LOST_SHARE_WARN: Final = 0.001
ERRORS: Final[Mapping[str, tuple[str, str]]] = {  # the worst first: what is said, and what to do about it
    "bus_off": ("times off the bus", "wiring, bit rate, or a terminator too many"),
    "overrun": ("controller overruns", "frames are missing: an MCP2518FD has more room than an MCP2515"),
    "passive": ("times error-passive", "wiring or bit rate"),
    "no_ack": ("frames nobody acknowledged", "nobody else is awake on this bus, or the bit rate is wrong"),
    "warning": ("error warnings", "wiring or bit rate"),
    "protocol": ("bit, stuff, form or CRC errors", "noise or a wrong bit rate: look at wiring, oscillator and stubs"),
    "restarted": ("restarts of the controller", "it had left the bus"),
}
ERRORS_SHARE_WARN: Final = 0.001
ERRORS_WARN: Final = 100  # plugging in makes some
SERIOUS: Final = ("bus_off", "overrun", "passive")
ACK_WARN_S: Final = 3600.0


def running_findings(settings: Settings, now: Stamp) -> Iterator[Finding]:
    path = settings.status_file or (SHIPPED_STATUS if SHIPPED_STATUS.exists() else None)
    if path is None:
        do = "set status_file (the shipped unit does) to see what a running box sees"
        yield Finding("running", Verdict.WARN, "unknown: no status_file is set", do)
        return
    said = read_status(path, now)
    if said is None:
        do = "start it: systemctl start packbox; its log: journalctl -u packbox"
        yield Finding("running", Verdict.WARN, "no box runs here", do)
        return
    yield from _alive(said)
    yield _frames(said["health"], said["bus"])
    yield from _errors(said["bus"].get("errors"), said["health"])
    yield _fit(said["health"])
    yield from _raw(said.get("raw"))
    yield from _link(said["link"], said["health"]["outbox_waiting"])


def _alive(said: Mapping[str, Any]) -> Iterator[Finding]:
    up_h = said["health"]["uptime_s"] / 3600
    power = said["power"]["phase"]
    text = f"for {up_h:.1f} h, car {said['car']['state'] or 'unknown'}" + (f", power {power}" if power else "")
    if said["journal"]["trouble"]:
        do = "look at disk and journal above; listening goes on in memory"
        yield Finding("running", Verdict.FAIL, f"cannot save: {said['journal']['trouble']}", do)
    elif said["careful"]:
        do = "look for the trace: journalctl -u packbox -p err; it is tried in full again after an hour"
        yield Finding("running", Verdict.FAIL, f"with the least it needs: {said['careful']}", do)
    else:
        yield Finding("running", Verdict.OK, text)


def _frames(health: Mapping[str, Any], bus: Mapping[str, Any]) -> Finding:
    frames, lost = health["frames"], health["frames_dropped"]
    if bus["down"]:
        return Finding("frames", Verdict.FAIL, f"no bus: {bus['down']}", "look at the bus above")
    if not frames:
        do = "the car may be asleep; if it is on: wrong bus, wrong bit rate, or a gateway that tells the plug nothing"
        return Finding("frames", Verdict.WARN, "not one frame since the start", do)
    quiet_s = bus["quiet_s"] or 0.0
    text = f"{frames}, the newest {quiet_s:.0f} s ago; {lost} lost, {health['frames_sent']} sent"
    if lost > LOST_SHARE_WARN * frames:
        return Finding(
            "frames", Verdict.WARN, text, "is something else busy on this computer, or net.core.rmem_max small?"
        )
    return Finding("frames", Verdict.OK, text)


def _errors(errors: Mapping[str, int] | None, health: Mapping[str, Any]) -> Iterator[Finding]:
    """By class: it tells a sleeping car from a wrong bit rate. Not every interface tells the class."""
    if errors is None:
        return
    told = [f"{errors[name]} {words}" for name, (words, _) in ERRORS.items() if errors.get(name)]
    seen = health.get("bus_errors", 0)
    if not told and not seen:
        yield Finding("bus_errors", Verdict.OK, "none since the start")
        return
    ill = seen > max(ERRORS_WARN, ERRORS_SHARE_WARN * health["frames"]) or any(errors.get(name) for name in SERIOUS)
    worst = next((name for name in ERRORS if errors.get(name)), "protocol")
    text = ", ".join(told) or f"{seen} error frames of an interface that does not tell their kind"
    yield Finding("bus_errors", Verdict.WARN if ill else Verdict.OK, text, ERRORS[worst][1])


def _raw(raw: Mapping[str, Any] | None) -> Iterator[Finding]:
    if raw is None:
        return
    lost = f"{raw['dropped_frames']} raw frames were not kept"
    if raw["trouble"]:
        yield Finding("raw", Verdict.WARN, f"{raw['trouble']}; {lost}", "look at the disk above")
    elif raw["dropped_frames"]:
        yield Finding("raw", Verdict.WARN, lost, "the card is too slow for this bus; the history is not touched by it")
    else:
        yield Finding("raw", Verdict.OK, "every raw frame is kept")


def _fit(health: Mapping[str, Any]) -> Finding:
    frames, bad, unknown = health["frames"], health["frames_bad"], health["frames_unknown"]
    if frames < TRIAL_FRAMES:
        return Finding("profile_fit", Verdict.OK, "too few frames to tell")
    text = (
        f"{100 * bad / frames:.1f} % of the frames contradict the profile, {100 * unknown / frames:.0f} % are not in it"
    )
    if bad > TRIAL_BAD_SHARE * max(1, frames - unknown) or unknown > TRIAL_UNKNOWN_SHARE * frames:
        return Finding("profile_fit", Verdict.FAIL, text, "another car? `packbox inspect --detect` says which")
    return Finding("profile_fit", Verdict.OK, text)


def _link(link: Mapping[str, Any] | None, waiting: int) -> Iterator[Finding]:
    if link is None:
        return
    age_s = link["last_ack_age_s"]
    text = "none since the start" if age_s is None else f"the newest {age_s:.0f} s ago"
    if link["unheard"]:
        do = "the broker takes records and nobody answers: topic rights of this box, or no collector"
        yield Finding("acks", Verdict.WARN, text, do)
    elif link["trouble"]:
        yield Finding("acks", Verdict.WARN, f"no link: {link['trouble']}; {text}", "look at the broker above")
    elif waiting and age_s is not None and age_s > ACK_WARN_S:
        yield Finding("acks", Verdict.WARN, f"{text}, and {waiting} records wait", "ask who runs the book")
    else:
        yield Finding("acks", Verdict.OK, text)
