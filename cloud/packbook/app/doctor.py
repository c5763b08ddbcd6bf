"""`packbook doctor`: look for trouble in database, ledger, quarantine and broker, and say what to do.

Exit code 1 when there is a problem. `--json` prints one object with everything that was looked at.
"""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from packbook.adapters.authority import Authority, milliseconds, read_certificate
from packbook.adapters.collector import probe
from packbook.adapters.store import open_reader
from packbook.adapters.store.audit import Audit, audit
from packbook.adapters.store.database import Database, head
from packbook.app.command import DONE, OWN_NAME, PROBLEM, add_settings, broker_address, run, show_progress
from packbook.app.workers import worker_settings
from packbook.clock import now_ms
from packbook.core.enrolment import MS_PER_DAY
from packbook.ports.trouble import AuthorityError, BrokerError, StoreError
from packbook.settings import Settings

DOOR_WARN_DAYS: Final = 60  # a stick has to be fetched
SHARE_CHARS_MIN: Final = 16  # any client may join a shared subscription, and is then given its part (docs/broker.md)


@dataclass(slots=True)
class Findings:
    database: str
    schema: str | None = None
    schema_needed: str = ""
    broker: str = ""
    broker_reachable: bool = False
    ledger: Audit | None = None
    problems: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: doctor(settings, as_json=args.json))


async def doctor(settings: Settings, *, as_json: bool) -> int:
    findings = await examine(settings)
    print(json.dumps(asdict(findings), ensure_ascii=False) if as_json else _told(findings))
    return PROBLEM if findings.problems else DONE


async def examine(settings: Settings) -> Findings:
    findings = Findings(Database(settings.database_url.get_secret_value()).name, schema_needed=head())
    await _examine_database(settings, findings)
    await _examine_broker(settings, findings)
    findings.problems.extend(_authority_problems(settings))
    return findings


async def _examine_database(settings: Settings, findings: Findings) -> None:
    url = settings.database_url.get_secret_value()
    try:
        async with aclosing(Database(url, read_only=True)) as database:
            findings.schema = await database.revision()
        async with open_reader(url) as database:
            findings.ledger = await audit(database, show_progress("doctor"))
    except StoreError as problem:
        findings.problems.append(str(problem))
        return
    findings.problems.extend(_ledger_problems(findings.ledger))


def _ledger_problems(ledger: Audit) -> list[str]:
    problems = []
    if ledger.file_damage is not None:
        problems.append(f"the database file is damaged ({ledger.file_damage}): restore a backup; boxes send the rest")
    if ledger.broken:
        problems.append(f"{ledger.broken} records of the ledger do not verify, first: {ledger.troubles[0]}")
    for store in ledger.stores:
        if store.holes:
            missing = ", ".join(f"{lo}" if lo == hi else f"{lo}-{hi}" for lo, hi in store.holes)
            problems.append(f"box {store.box} store {store.store}: records {missing} have not come; the box has them")
    problems.extend(
        f"box {dispute.box} store {dispute.store}: two histories from record {dispute.from_seq} on, {dispute.held_out} "
        "records are kept out of the history: 'packbook quarantine list' tells more"
        for dispute in ledger.disputes
        if dispute.settled_ms is None
    )
    problems.extend(
        f"box {life.box}: store {life.older} went on after store {life.newer} began: two boxes have one card? "
        "Revoke the box and enrol the right one anew"
        for life in ledger.two_lives
    )
    problems.extend(
        f"{count} messages in quarantine: {reason} ('packbook quarantine list --reason {reason}')"
        for reason, count in ledger.quarantine.items()
    )
    problems.extend(
        f"box {box} offered {count} records, but its hello with the key never came"
        for box, count in ledger.unready.items()
    )
    return problems


def _authority_problems(settings: Settings) -> Iterator[str]:
    """What would keep boxes from enrolling or renewing, soon or already."""
    if settings.ca == "external" or settings.ca_dir is None:
        return
    try:
        issuer = Authority(settings.ca_dir).issuer.certificate
        door = None if settings.enrol_cert_file is None else read_certificate(settings.enrol_cert_file)
    except AuthorityError as problem:
        yield str(problem)
        return
    ends = {"the issuer": (issuer, settings.certificate_days, "packbook ca renew-issuer")}
    if door is not None:
        ends["the enrolment door's certificate"] = (door, DOOR_WARN_DAYS, "packbook ca server-cert")
    for what, (certificate, warn_days, do) in ends.items():
        left_days = (milliseconds(certificate.not_valid_after_utc) - now_ms()) // MS_PER_DAY
        if left_days < warn_days:
            yield f"{what} ends in {left_days} days: run '{do}', with the root at hand"


async def _examine_broker(settings: Settings, findings: Findings) -> None:
    several = OWN_NAME in str(settings.broker_cert_file)
    address = broker_address(worker_settings(settings, 0) if several else settings)
    findings.broker = address.name
    if settings.share is not None and len(settings.share) < SHARE_CHARS_MIN:
        findings.problems.append(
            f"share: a box that guesses this name can hold up records: take {SHARE_CHARS_MIN} random characters or more"
        )
    visitor = replace(address, client_id=f"packbook-doctor-{secrets.token_hex(4)}", session_expiry_s=0)
    try:
        await probe(visitor)
    except BrokerError as problem:
        findings.problems.append(str(problem))
    else:
        findings.broker_reachable = True


def _told(findings: Findings) -> str:
    schema = f"schema {findings.schema or 'none'} (this version: {findings.schema_needed})"
    lines = [f"database  {findings.database}, {schema}"]
    if findings.ledger is not None:
        ledger = findings.ledger
        counts = f"{ledger.records} records in {len(ledger.stores)} stores"
        lines.append(f"ledger    {counts}, {ledger.broken} do not verify")
        lines.extend(
            f"  box {store.box} store {store.store}: {store.records} records, 1-{store.upto} without a hole, "
            f"battery {store.battery or 'unknown'}"
            for store in ledger.stores
        )
    lines.append(f"broker    {findings.broker}, {'answers' if findings.broker_reachable else 'does not answer'}")
    lines.extend(f"PROBLEM   {problem}" for problem in findings.problems)
    if not findings.problems:
        lines.append("no problem found")
    return "\n".join(lines)
