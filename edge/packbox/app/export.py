"""`packbox export`: everything this box recorded, as one file that a stranger can check. No book is needed.

In:  copies of the journal and of older ones that were set aside; the box's key; its certificate, if it has one.
Out: an evidence bundle signed by the box, for the battery that it watches now.
An older journal that cannot be read is told and left out; nothing is changed or sent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from packbox.adapters.durable import write_atomically
from packbox.adapters.identity import FileKey, read_key
from packbox.adapters.journal import JOURNAL_FILE, open_copy
from packbox.app.enrolled import with_enrolment
from packbox.app.options import add_settings_options, settings_from
from packbox.clock import SystemClock
from packbox.ports import JournalError, PackboxError
from packbox.settings import Settings
from packwire.bundle import Bundle, Claims, Piece, StorePart, encode_bundle
from packwire.errors import Malformed, WireError
from packwire.ids import BatteryId, BoxId, StoreId, box_id_of
from packwire.messages import Charge, Drive, Hello, Message, Rest, Soh, Usage
from packwire.seal import peek, read

SUFFIX: Final = ".packbook"
FILE_MODE: Final = 0o644
ASIDE: Final = "*.damaged-*.db"
TOTALS: Final = ("charge_in_ah", "charge_out_ah", "energy_in_wh", "energy_out_wh", "distance_km")


class ExportError(PackboxError):
    """Nothing was exported; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to; '-' is standard output (BATTERY.packbook)")


def main(args: argparse.Namespace) -> int:
    try:
        settings = with_enrolment(settings_from(args))
        battery, data = make(settings)
        _write(data, args.out or Path(battery + SUFFIX))
    except PackboxError as problem:
        print(f"packbox export: {problem}", file=sys.stderr)
        return 1
    return 0


def make(settings: Settings) -> tuple[str, bytes]:
    """The battery that this box watches now, and the bundle. Raises PackboxError."""
    key = read_key(settings.key_file)
    stores = [_store(settings.data_dir / JOURNAL_FILE, key), *_older(settings.data_dir, key)]
    told = [[_message(record.data) for record in part.records] for part in stores]
    battery = next((m.battery for m in reversed(told[0]) if isinstance(m, Hello)), None)
    if battery is None:
        raise ExportError(f"{settings.data_dir}: nothing is recorded yet")
    bundle = Bundle(
        made_ms=SystemClock(settings.clock_trusted).now().wall_ms or 0,  # 0: the clock is not set
        exporter=key.public_key,
        battery=battery,
        stores=tuple(stores),
        certificates=tuple(_certificates(settings.broker.cert_file)),
        claims=_claims(battery, told),
    )
    try:
        return battery, encode_bundle(bundle, key.sign)
    except Malformed as problem:
        raise ExportError(str(problem)) from problem


def _store(path: Path, key: FileKey) -> StorePart:
    with open_copy(path) as journal:
        if str(journal.box) != box_id_of(key.public_key):
            raise ExportError(f"{path}: is of box {journal.box}, not of this one")
        records = tuple(Piece(0, row.sealed) for row in journal.chain())
        return StorePart(BoxId(journal.box), StoreId(journal.store), key.public_key, records)


def _older(folder: Path, key: FileKey) -> Iterator[StorePart]:
    for path in sorted(folder.glob(ASIDE)):
        try:
            part = _store(path, key)
        except (JournalError, ExportError) as problem:
            print(f"packbox export: left out: {problem}", file=sys.stderr)
            continue
        if part.records:
            yield part


def _message(sealed: bytes) -> Message | None:
    try:
        return read(peek(sealed)).message
    except WireError:
        return None


def _certificates(file: Path | None) -> list[bytes]:
    if file is None:
        return []
    try:
        return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(file.read_bytes())]
    except (OSError, ValueError) as problem:
        raise ExportError(f"{file}: the box's certificate cannot be read ({problem})") from problem


def _claims(battery: BatteryId, stores: Sequence[Sequence[Message | None]]) -> Claims:
    """Counts, the newest totals of every installation added up, the newest state of health in the newest journal."""
    runs = [run for messages in stores for run in _runs(battery, messages)]
    usages = [usages[-1] for run in runs if (usages := [m for m in run if isinstance(m, Usage)])]
    soh = next(
        (m for run in reversed(list(_runs(battery, stores[0]))) for m in reversed(run) if isinstance(m, Soh)), None
    )
    return Claims(
        records=sum(len(run) for run in runs),
        charges=_count(Charge, runs),
        drives=_count(Drive, runs),
        rests=_count(Rest, runs),
        **{name: sum(getattr(usage, name) for usage in usages) for name in TOTALS if usages},
        soh_pct=soh.soh_pct if soh else None,
        lo90_pct=soh.lo90_pct if soh else None,
        hi90_pct=soh.hi90_pct if soh else None,
    )


def _runs(battery: BatteryId, messages: Sequence[Message | None]) -> Iterator[list[Message]]:
    """The stretches of a store that are this battery's: from a hello that names it to one that names another."""
    run: list[Message] | None = None
    for message in messages:
        if isinstance(message, Hello) and (message.battery == battery) != (run is not None):
            if run is not None:
                yield run
            run = [] if message.battery == battery else None
        if run is not None and message is not None:
            run.append(message)
    if run is not None:
        yield run


def _count(kind: type[Message], runs: Sequence[Sequence[Message]]) -> int:
    return sum(isinstance(message, kind) for run in runs for message in run)


def _write(data: bytes, out: Path) -> None:
    """Raises ExportError; then an older file of that name is untouched."""
    if str(out) == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        write_atomically(out, data, FILE_MODE)
    except OSError as problem:
        raise ExportError(f"{out}: cannot be written ({problem.strerror})") from problem
    print(f"{out}: {len(data)} bytes", file=sys.stderr)
