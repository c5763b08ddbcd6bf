"""`packbox enrol`: get this box's certificate, with a one-time code; or the next one, with the present one.

In:  an invitation (options, or the boot partition's file), the box's keys.
Out: chain and key in force, the authority's certificates, where the broker is: files of the data folder.
Every step may be repeated: until the certificate is on disk the box asks with the same key, and gets the same answer.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from packbox.adapters.enrolment_file import (
    Enrolment,
    Invitation,
    read_authorities,
    read_enrolment,
    read_invitation,
    write_authorities,
    write_enrolment,
)
from packbox.adapters.key_store import FileKeyStore
from packbox.app.box_key import box_key
from packbox.app.options import add_settings_options, settings_from
from packbox.clock import SystemClock
from packbox.ports import Clock, EnrolDenied, EnrolError, KeyStore, PackboxError, SettingsError
from packbox.settings import Settings
from packwire.enrolment import plain_code, plain_fingerprint
from packwire.errors import WireError
from packwire.ids import box_id_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser)
    parser.add_argument("--url", metavar="URL", help="where to enrol: https://HOST:PORT")
    parser.add_argument("--token", metavar="CODE", help="one-time code, as on the label")
    parser.add_argument("--ca-fingerprint", metavar="HEX", help="of the authority's root, at least its first 32 digits")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="read these from a file (default: setting enrol_file)"
    )
    parser.add_argument("--renew", action="store_true", help="get the next certificate now")


def main(args: argparse.Namespace) -> int:
    try:
        settings = settings_from(args)
        return asyncio.run(_enrol(settings, args))
    except SettingsError as problem:
        print(f"packbox enrol: {problem}", file=sys.stderr)
        return 2
    except PackboxError as problem:
        print(f"packbox enrol: {problem}", file=sys.stderr)
        return 1


async def _enrol(settings: Settings, args: argparse.Namespace) -> int:
    clock = SystemClock(settings.clock_trusted)
    keys = key_store(settings)
    if args.renew:
        await renew(settings.data_dir, keys, clock)
    else:
        await enrol(settings.data_dir, keys, clock, _invitation(settings, args))
    held = keys.held()
    assert held is not None
    print(f"box {box_id_of(keys.records.public_key)} has its certificate; restart packbox if it runs")
    told = read_enrolment(settings.data_dir)
    if told is not None and told.operator_key is not None:
        print(f"it believes what is signed with the operator's key {told.operator_key}")
    return 0


def _invitation(settings: Settings, args: argparse.Namespace) -> Invitation:
    if args.url is None and args.token is None:
        return read_invitation(args.file or settings.enrol_file)
    if args.url is None or args.token is None:
        raise SettingsError("--url and --token go together; or put both into a file")
    return Invitation(args.url, args.token, args.ca_fingerprint)


def key_store(settings: Settings) -> FileKeyStore:
    """The record key is made if this is the first start. Raises KeyFileError."""
    return FileKeyStore(settings.key_file.parent, box_key(settings))


async def enrol(data_dir: Path, keys: KeyStore, clock: Clock, invitation: Invitation) -> Enrolment:
    """Raises EnrolError; EnrolDenied where trying again does not help."""
    from packbox.adapters import est  # brings httpx along: only for this

    try:
        code = plain_code(invitation.code)
        pinned = None if invitation.fingerprint is None else plain_fingerprint(invitation.fingerprint)
    except WireError as problem:
        raise EnrolDenied(str(problem)) from problem
    _need_clock(clock)
    authorities = await est.authorities(invitation.url, pinned)
    trust = est.Trust(authorities if pinned is not None else None)
    box = box_id_of(keys.records.public_key)
    chain = await est.enrol(invitation.url, trust, keys, authorities, box, code)
    told = await est.told_by(invitation.url, trust)
    write_authorities(data_dir, authorities)
    enrolment = Enrolment(
        invitation.url, pinned is not None, told.broker_host, told.broker_port, told.operator_key, told.book_key
    )
    write_enrolment(data_dir, enrolment)
    keys.keep(chain)  # last of all: without a certificate the invitation still stands, also after a power cut
    return enrolment


async def renew(data_dir: Path, keys: KeyStore, clock: Clock) -> None:
    """The next certificate from where the first came. Raises EnrolError, EnrolDenied.

    A certificate that has run out is not shown, no TLS would take it: the record key's statement must do.
    """
    from packbox.adapters import est

    enrolment, held = read_enrolment(data_dir), keys.held()
    if enrolment is None or held is None:
        raise EnrolDenied("this box has not enrolled yet")
    now_ms = _need_clock(clock)
    known = read_authorities(data_dir)
    authorities = await est.authorities(enrolment.url, est.root_fingerprint(known) if enrolment.pinned else None)
    trust = est.Trust(authorities if enrolment.pinned else None, keys.tls_files if now_ms < held.until_ms else None)
    chain = await est.renew(enrolment.url, trust, keys, authorities, box_id_of(keys.records.public_key))
    write_authorities(data_dir, authorities)  # there may be a new issuer
    keys.keep(chain)


def _need_clock(clock: Clock) -> int:
    """Certificates have dates: without knowing the day nobody can be trusted over a network."""
    now_ms = clock.now().wall_ms
    if now_ms is None:
        raise EnrolError("the clock is not set yet: wait for network time, or set clock_trusted if there is a good one")
    return now_ms
