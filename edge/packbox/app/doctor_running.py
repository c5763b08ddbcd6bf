"""The doctor's look at the box that runs now, by its status file: frames, profile fit, saving, acks, power.

In:  the status file (`app.status`). Out: findings; one that says so when no box runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from packbox.app.findings import Finding, Verdict
from packbox.app.status import read_status
from packbox.core.box import TRIAL_BAD_SHARE, TRIAL_FRAMES, TRIAL_UNKNOWN_SHARE
from packbox.core.stamp import Stamp
from packbox.settings import Settings

LOST_SHARE_WARN: Final = 0.001
ACK_WARN_S: Final = 3600.0


def running_findings(settings: Settings, now: Stamp) -> Iterator[Finding]:
    if settings.status_file is None:
        do = "set status_file (the shipped unit does) to see what a running box sees"
        yield Finding("running", Verdict.WARN, "unknown: no status_file is set", do)
        return
    said = read_status(settings.status_file, now)
    if said is None:
        do = "start it: systemctl start packbox; its log: journalctl -u packbox"
        yield Finding("running", Verdict.WARN, "no box runs here", do)
        return
    yield from _alive(said)
    yield _frames(said["health"], said["bus"])
    yield _fit(said["health"])
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
