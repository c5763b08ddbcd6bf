"""`packbox doctor`: look at everything a box needs, say what is wrong and what to do about it.

In:  settings, and a copy of the journal: the box may be running.
Out: one line per check, OK, WARN or FAIL. FAIL means that history is not being kept or will not be believed.
Changes nothing: makes no key, no journal, and never logs in at the broker under the box's name.
"""

from __future__ import annotations

import argparse
import json
import shutil
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Final

from packbox.adapters.enrolment_file import read_enrolment
from packbox.adapters.identity import read_key
from packbox.adapters.journal import JOURNAL_FILE, open_copy
from packbox.adapters.journal.trouble import is_read_only
from packbox.adapters.machine import supply_trouble
from packbox.adapters.profile_dir import Catalogue
from packbox.app.doctor_bus import bus_findings
from packbox.app.doctor_running import running_findings
from packbox.app.enrolled import with_enrolment
from packbox.app.findings import Finding, Verdict
from packbox.app.mind import BAD_FRAMES, remembered
from packbox.app.options import add_settings_options, settings_from
from packbox.app.recognise import AUTO
from packbox.clock import SystemClock
from packbox.core.recognised import Recognised
from packbox.core.record import SealedRow
from packbox.core.renewal import nears_end
from packbox.core.signals import Refused
from packbox.ports import PackboxError
from packbox.settings import Settings
from packwire.errors import WireError
from packwire.ids import box_id_of
from packwire.seal import NO_PREVIOUS, digest, open_sealed
from packwire.tls import Trouble, client_context, explain, visit

DISK_FREE_WARN_BYTES: Final = 256 * 2**20  # the journal's own budget
DISK_FREE_FAIL_BYTES: Final = 16 * 2**20  # a few days of driving
OUTBOX_WARN_DAYS: Final = 7  # a car parked for a week is normal, one that drives should have met a network
BROKER_WAIT_MAX_S: Final = 10.0
MS_PER_DAY: Final = 86_400_000
REFUSED_WARN: Final = 1000  # of frames that were not as the profile says: real logs of the right car have none
REASONS: Final[Mapping[str, str]] = {
    "wrong_length": "of another length",
    "bad_checksum": "with a wrong checksum",
    "stuck_counter": "with a counter that stands still",
    "unknown_mux": "with an unknown multiplexer value",
    "broken_answers": "answers cut or out of order",
    "foreign_answers": "answers of a unit that was not asked",
    "negative_answers": "answers that refuse",
    "void_values": "values that the car calls void",
    "implausible_values": "impossible values",
    "cells_not_sum": "with cells that do not add up to the pack",
    "error_frames": "error frames",
    "unknown_frames": "of ids that the profile does not know",
}
KEEP_AND_ASK: Final = "keep a copy of the whole data folder and ask; the book will put these records into quarantine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object per check")


def main(args: argparse.Namespace) -> int:
    worst = Verdict.OK
    for finding in examine(lambda: settings_from(args)):
        print(json.dumps(asdict(finding), ensure_ascii=False) if args.json else _line(finding), flush=True)
        worst = Verdict.FAIL if Verdict.FAIL in (worst, finding.verdict) else worst
    if worst is Verdict.FAIL:
        print("packbox doctor: found a problem", file=sys.stderr)
        return 1
    return 0


def examine(load: Callable[[], Settings]) -> Iterator[Finding]:
    """All findings, in the order in which a person should mend them. Without settings nothing else can be judged."""
    try:
        settings = with_enrolment(load())
    except PackboxError as problem:
        yield Finding("settings", Verdict.FAIL, str(problem), "mend the setting; docs/box.md explains each")
        return
    yield Finding("settings", Verdict.OK, "read and checked")
    for name, check in CHECKS.items():
        try:
            yield from check(settings)
        except PackboxError as problem:
            yield Finding(name, Verdict.FAIL, str(problem))


def _profile(settings: Settings) -> Iterator[Finding]:
    if settings.profile in (None, AUTO):
        yield _recognised(settings)
        return
    profile, variant = Catalogue(settings.profiles_dir).find(settings.profile)
    chosen = f"variant {variant}" if variant else "variant found by what the car shows"
    yield Finding("profile", Verdict.OK, f"{profile.id}, {chosen}")


def _recognised(settings: Settings) -> Finding:
    known, _ = _remembered(settings)
    if known is None:
        return Finding(
            "profile",
            Verdict.WARN,
            "no car was recognised yet",
            "wake the car; `packbox inspect --detect` says what is missing; or set profile",
        )
    Catalogue(settings.profiles_dir).profile(known.profile)
    variant = known.variant or "variant not recognised then"
    return Finding("profile", Verdict.OK, f"recognised {known.profile}, {variant}: {'; '.join(known.evidence)}")


def _refused(settings: Settings) -> Iterator[Finding]:
    """What never became a value, by reason, since the store began."""
    _, refused = _remembered(settings)
    counts = {words: getattr(refused, reason) for reason, words in REASONS.items()}
    bad = sum(getattr(refused, reason) for reason in BAD_FRAMES)
    told = ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)
    if bad >= REFUSED_WARN:
        yield Finding(
            "refused", Verdict.WARN, told, "look at wiring and profile; `packbox inspect --detect` tells more"
        )
    else:
        yield Finding("refused", Verdict.OK, told or "nothing was refused")


def _remembered(settings: Settings) -> tuple[Recognised | None, Refused]:
    path = settings.data_dir / JOURNAL_FILE
    if not path.exists():
        return None, Refused()
    with open_copy(path) as journal:
        saved = journal.snapshot()
    return (None, Refused()) if saved is None else remembered(saved)


def _key(settings: Settings) -> Iterator[Finding]:
    if not settings.key_file.exists():
        if (settings.data_dir / JOURNAL_FILE).exists():
            yield Finding(
                "key",
                Verdict.FAIL,
                f"{settings.key_file}: the key is gone, but its journal is here",
                "bring back a copy of the key; with a new one this would be another box",
            )
        else:
            yield Finding("key", Verdict.WARN, f"{settings.key_file}: not made yet", "it is made at the first start")
        return
    key = read_key(settings.key_file)
    yield Finding("key", Verdict.OK, f"this is box {box_id_of(key.public_key)}")


def _journal(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir / JOURNAL_FILE
    asides = sorted(settings.data_dir.glob("*.damaged-*.db"))
    for damaged in asides:
        yield Finding(
            "journal",
            Verdict.WARN,
            f"{damaged}: an earlier journal, set aside",
            "copy it to a sound disk (records may be rescued from it), then remove it here",
        )
    if not path.exists():
        yield Finding("journal", Verdict.WARN, f"{path}: not begun yet", "it is begun at the first start")
        return
    with open_copy(path) as journal:
        damage = journal.damage()
        if damage is not None:
            yield Finding(
                "journal",
                Verdict.FAIL,
                f"{path}: damaged: {damage}",
                "replace the card; the next start sets the file aside",
            )
            return
        outbox = journal.outbox()
        if asides and journal.begun_after is not None:
            yield Finding("journal", Verdict.WARN, f"began anew: {journal.begun_after}", "replace a card that forgets")
        yield Finding("journal", Verdict.OK, f"store {journal.store}, {outbox.journal_bytes / 2**20:.1f} MB")
        public_key = read_key(settings.key_file).public_key
        yield _chain(journal.chain(), public_key)
        yield _outbox(outbox.waiting, outbox.oldest_wall_ms, _clock_of(settings).now().wall_ms)


def _chain(rows: Iterator[SealedRow], public_key: bytes) -> Finding:
    """Every record again as the book will see it: signature, number, and the digest of the one before."""
    seq, previous = 0, NO_PREVIOUS
    for row in rows:
        try:
            envelope = open_sealed(row.sealed, public_key).envelope
        except WireError as problem:
            return Finding("chain", Verdict.FAIL, f"record {row.seq}: {problem}", KEEP_AND_ASK)
        if (envelope.seq, row.seq, envelope.previous) != (seq + 1, seq + 1, previous):
            return Finding("chain", Verdict.FAIL, f"record {row.seq} does not follow record {seq}", KEEP_AND_ASK)
        seq, previous = envelope.seq, digest(row.sealed)
    return Finding("chain", Verdict.OK, f"{seq} records, each signed and following the one before")


def _outbox(waiting: int, oldest_wall_ms: int | None, now_wall_ms: int | None) -> Finding:
    if oldest_wall_ms is None or now_wall_ms is None:
        age = ""
    else:
        days = (now_wall_ms - oldest_wall_ms) / MS_PER_DAY
        age = f", the oldest for {days:.1f} days"
        if days > OUTBOX_WARN_DAYS:
            return Finding(
                "outbox", Verdict.WARN, f"{waiting} records wait for the book{age}", "look at the broker line below"
            )
    return Finding("outbox", Verdict.OK, f"{waiting} records wait for the book{age}" if waiting else "the book has all")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = next(place for place in (settings.data_dir, *settings.data_dir.parents) if place.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**20:.0f} MB free at {folder}"
    if is_read_only(folder):
        do = (
            "the box listens in memory only: look at `dmesg`; a card that turned read-only is at its end, so replace it"
        )
        yield Finding("disk", Verdict.FAIL, f"{folder} is read-only", do)
    elif free < DISK_FREE_FAIL_BYTES:
        yield Finding("disk", Verdict.FAIL, text, "make room: what happens now is soon no longer recorded")
    elif free < DISK_FREE_WARN_BYTES:
        yield Finding("disk", Verdict.WARN, text, "make room for the journal")
    else:
        yield Finding("disk", Verdict.OK, text)


def _clock(settings: Settings) -> Iterator[Finding]:
    if _clock_of(settings).now().wall_ms is None:
        yield Finding(
            "clock",
            Verdict.WARN,
            "not synchronized since boot: records get their date later",
            "let the box reach a time server, or set clock_trusted if it has a battery-backed clock",
        )
    else:
        yield Finding("clock", Verdict.OK, f"known (clock_trusted = {settings.clock_trusted})")


def _clock_of(settings: Settings) -> SystemClock:
    return SystemClock(settings.clock_trusted)


def _broker(settings: Settings) -> Iterator[Finding]:
    """As far as trust on both sides: logging in would throw the running box off the broker, as both have one name."""
    broker = settings.broker
    if broker.host is None:
        yield Finding("broker", Verdict.WARN, "none is set: records stay on this box", "set broker.host")
        return
    where = f"{broker.host}:{broker.port}"
    try:
        context = client_context(broker.ca_file, broker.cert_file, broker.key_file) if broker.tls else None
    except OSError as problem:
        files = f"ca_file {broker.ca_file}, cert_file {broker.cert_file}, key_file {broker.key_file}"
        yield Finding("broker", Verdict.FAIL, f"{files}: {problem}", "bring them back, or enrol again")
        return
    try:
        visit(broker.host, broker.port, context, BROKER_WAIT_MAX_S)
    except ssl.SSLError as problem:
        trouble = explain(problem) or Trouble(f"no trust: {problem}", "look at ca_file, cert_file and the clock")
        yield Finding("broker", Verdict.FAIL, f"{where}: {trouble.text}", trouble.do)
    except OSError as problem:
        yield Finding(
            "broker",
            Verdict.WARN,
            f"{where}: cannot be reached: {problem}",
            "records wait here until it can be; look at the network and at broker.host",
        )
    else:
        yield Finding("broker", Verdict.OK, f"{where} answers")


def _operator(settings: Settings) -> Iterator[Finding]:
    told = read_enrolment(settings.data_dir)
    if settings.operator_key is None:
        yield Finding("operator", Verdict.OK, "no operator is believed: configurations and commands are refused")
    else:
        by_enrolment = told is not None and told.operator_key == settings.operator_key
        origin = "since enrolment" if by_enrolment else "by the setting operator_key"
        yield Finding("operator", Verdict.OK, f"believed is who signs with key {settings.operator_key}, {origin}")
    if told is not None and told.book_key is not None:
        yield Finding("operator", Verdict.OK, f"at enrolment the book signed with key {told.book_key}")


def _certificate(settings: Settings) -> Iterator[Finding]:
    file = settings.broker.cert_file
    if file is None:
        if settings.enrol_file.exists():
            do = "it enrols by itself when it has network and time; `packbox enrol` says what is wrong"
            yield Finding("certificate", Verdict.WARN, f"invited by {settings.enrol_file}, but not enrolled yet", do)
        return
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as problem:
        yield Finding("certificate", Verdict.FAIL, f"{file}: cannot be read: {problem}", "enrol again")
        return
    begin, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    text = f"{file}: valid until {until:%Y-%m-%d}"
    wall_ms = _clock_of(settings).now().wall_ms
    if wall_ms is not None and wall_ms < begin.timestamp() * 1000:
        do = "look at this box's clock; if that is right, at the clock of whoever made the certificate"
        yield Finding("certificate", Verdict.FAIL, f"{file}: not valid before {begin:%Y-%m-%d %H:%M} UTC", do)
        return
    begin_ms, until_ms = int(begin.timestamp() * 1000), int(until.timestamp() * 1000)
    if wall_ms is not None and wall_ms >= until_ms:
        yield Finding("certificate", Verdict.FAIL, text, "it has run out: enrol again; records wait here meanwhile")
    elif wall_ms is not None and nears_end(begin_ms, until_ms, wall_ms):
        left_days = (until_ms - wall_ms) // MS_PER_DAY
        yield Finding("certificate", Verdict.WARN, f"{text}, {left_days} days", "renew it: packbox enrol --renew")
    else:
        yield Finding("certificate", Verdict.OK, text)


def _bus(settings: Settings) -> Iterator[Finding]:
    try:
        bitrates = [bus.bitrate for bus in Catalogue(settings.profiles_dir).find(settings.profile or "")[0].buses]
    except PackboxError:
        bitrates = []
    yield from bus_findings(settings, bitrates)


def _running(settings: Settings) -> Iterator[Finding]:
    yield from running_findings(settings, _clock_of(settings).now())


def _supply(_settings: Settings) -> Iterator[Finding]:
    trouble = supply_trouble()
    if trouble is None:
        return
    if trouble:
        do = "a Pi 4 wants 5.1 V and 3 A at its pins: look at converter, cable and heat"
        yield Finding("supply", Verdict.WARN, "; ".join(trouble), do)
    else:
        yield Finding("supply", Verdict.OK, "no under-voltage, no throttling since boot")


CHECKS: Final[Mapping[str, Callable[[Settings], Iterator[Finding]]]] = {
    "profile": _profile,
    "key": _key,
    "journal": _journal,
    "refused": _refused,
    "disk": _disk,
    "clock": _clock,
    "broker": _broker,
    "certificate": _certificate,
    "operator": _operator,
    "bus": _bus,
    "running": _running,
    "supply": _supply,
}


def _line(finding: Finding) -> str:
    advice = f"\n      -> {finding.do}" if finding.do and finding.verdict is not Verdict.OK else ""
    return f"{finding.verdict:<5} {finding.check}: {finding.text}{advice}"
