"""Check an evidence bundle as a stranger: container, signatures, chains, checkpoints, certificates, then the numbers.

In:  the file's bytes; whom the stranger trusts beforehand; checkpoints that somebody kept apart from the file.
Out: `Report`: what is wrong (with record and byte), what is proven, what is only claimed, what is missing.
Never raises for what a file holds, asks no network, believes nobody: who signed is told, not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from packbox.core.packs import Chemistry, PackFacts
from packproof.chain import CheckedStore, Fault, check_store
from packproof.claims import Sums, compare, sums_of
from packproof.finding import Finding, Verdict
from packproof.recompute import recompute
from packproof.trust import Certified, Trust, certified
from packwire.bundle import Bundle, survey
from packwire.checkpoint import Checkpoint, decode_checkpoint
from packwire.errors import WireError
from packwire.ids import box_id_of
from packwire.messages import Hello, Usage

FAULTS_MAX: Final = 100  # told one by one; a file that was torn to pieces would fill pages


@dataclass(frozen=True, slots=True)
class Report:
    size: int
    bundle: Bundle | None
    stores: tuple[CheckedStore, ...]
    faults: tuple[Fault, ...]
    more_faults: int  # beyond those
    findings: tuple[Finding, ...]  # the numbers
    proven: tuple[str, ...]
    claimed: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def differing(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.verdict is Verdict.DIFFERS)

    @property
    def ok(self) -> bool:
        return not self.faults and not self.differing


@dataclass(slots=True)
class _Notes:
    proven: list[str]
    claimed: list[str]
    missing: list[str]
    faults: list[Fault]


def verify(data: bytes, trust: Trust | None = None, kept: Sequence[bytes] = ()) -> Report:
    trust = trust or Trust()
    found = survey(data)
    notes = _Notes([], [], [], [])
    stores = tuple(check_store(part) for part in found.stores)
    for store in stores:
        notes.faults += store.faults
        _chain_words(store, notes)
    notes.faults += _twice(stores)
    notes.faults += [Fault("file", trouble.reason, trouble.at) for trouble in found.troubles]
    findings: tuple[Finding, ...] = ()
    if found.bundle is not None:
        bundle = found.bundle
        sums = sums_of(bundle.battery, [store.records for store in stores])
        points = list(_checkpoints(bundle, kept, notes))
        _exporter_words(bundle, stores, trust, notes)
        _checkpoint_words(bundle, stores, points, trust, notes)
        _certificate_words(bundle, stores, trust, notes)
        _battery_words(bundle, sums, notes)
        whole = all(store.sound and not store.unread for store in stores)
        findings = (*_recomputed(stores), *compare(bundle.claims, sums, whole=whole))
    return Report(
        size=len(data),
        bundle=found.bundle,
        stores=stores,
        faults=tuple(notes.faults[:FAULTS_MAX]),
        more_faults=max(0, len(notes.faults) - FAULTS_MAX),
        findings=findings,
        proven=tuple(notes.proven),
        claimed=tuple(notes.claimed),
        missing=tuple(notes.missing),
    )


def fingerprint(key: bytes) -> str:
    """A key as people compare it. The first half of a box's is the box's name."""
    return box_id_of(key)


def day(ms: int) -> str:
    """A date that people read; what no calendar has is shown as the number it is."""
    if not ms:
        return "an unknown day"
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def _chain_words(store: CheckedStore, notes: _Notes) -> None:
    named = f"Store {store.store} of box {store.box}"
    if store.sound:
        notes.proven.append(
            f"{named}: records 1 to {store.last}, none missing, none changed. Each is signed by the box's key and "
            "names the one before."
        )
    elif store.links:
        notes.claimed.append(f"{named}: {len(store.links)} of {store.count} records are signed by the box's key.")
    if store.unread:
        notes.missing.append(
            f"{named}: {len(store.unread)} genuine records say what this version cannot read; a newer one may."
        )


def _twice(stores: Sequence[CheckedStore]) -> Iterator[Fault]:
    seen: set[tuple[str, str]] = set()
    for store in stores:
        if (store.box, store.store) in seen:
            yield Fault("twice", f"store {store.store} is there twice", store=store.store)
        seen.add((store.box, store.store))
    if not stores:
        yield Fault("beginning", "there are no records in this file")


def _exporter_words(bundle: Bundle, stores: Sequence[CheckedStore], trust: Trust, notes: _Notes) -> None:
    who = fingerprint(bundle.exporter)
    when = day(bundle.made_ms)
    if who in {store.box for store in stores}:
        notes.proven.append(f"Box {who} itself made this file; by its clock on {when}.")
    elif bundle.exporter in trust.keys:
        notes.proven.append(f"A book that you trust (key {who}) made this file on {when}.")
    elif trust.keys:
        words = f"this file was made and signed with key {who}, which is none of those you trust"
        notes.faults.append(Fault("exporter", words))
    else:
        notes.claimed.append(
            f"This file was made on {when} by the holder of key {who}. Whose that is, the file cannot prove: compare "
            "with what the book publishes, or give --trust."
        )


def _checkpoints(bundle: Bundle, kept: Sequence[bytes], notes: _Notes) -> Iterator[Checkpoint]:
    for where, points in (("in this file", bundle.checkpoints), ("that was kept", kept)):
        for number, point in enumerate(points, 1):
            try:
                yield decode_checkpoint(point)
            except WireError as problem:
                notes.faults.append(Fault("checkpoint", f"checkpoint {number} {where} cannot be believed: {problem}"))


def _checkpoint_words(
    bundle: Bundle, stores: Sequence[CheckedStore], points: Sequence[Checkpoint], trust: Trust, notes: _Notes
) -> None:
    there = {(store.box, store.store): store for store in stores}
    for point in points:
        store = there.get((point.box, point.store))
        if store is not None:
            notes.faults += _against(store, point)
        elif point.battery == bundle.battery:
            words = (
                f"the book had signed records 1 to {point.upto} of store {point.store} for this battery; "
                "the store is not in this file"
            )
            notes.faults.append(Fault("store", words, store=point.store, seq=point.upto))
    for store in stores:
        _head_words(store, [p for p in points if (p.box, p.store) == (store.box, store.store)], trust, notes)


def _against(store: CheckedStore, point: Checkpoint) -> Iterator[Fault]:
    if point.upto > store.last:
        words = f"the book had signed up to {point.upto}, this file ends at {store.last}"
        yield Fault("tail", f"store {store.store}: {words}: its end was cut off", None, store.store, store.last)
        return
    link = store.link(point.upto)
    if link is not None and link.digest != point.digest:
        words = f"the book signed another record {point.upto} than the one here: this history was rewritten"
        yield Fault("fork", words, link.at, store.store, point.upto)


def _head_words(store: CheckedStore, points: Sequence[Checkpoint], trust: Trust, notes: _Notes) -> None:
    held = [p for p in points if (link := store.link(p.upto)) is not None and link.digest == p.digest]
    named = f"store {store.store}"
    if not held:
        notes.missing.append(f"No book signed how far {named} goes: if its end was cut off, this file cannot show it.")
        return
    newest = max(held, key=lambda p: (p.book_key in trust.keys, p.upto))
    book = f"book (key {fingerprint(newest.book_key)})"
    if newest.book_key in trust.keys:
        since = min(p.at_ms for p in held if p.book_key in trust.keys)
        notes.proven.append(
            f"The {book} that you trust held records 1 to {newest.upto} of {named} on {day(newest.at_ms)}; its first "
            f"signature here is of {day(since)}. Nothing up to there was changed or cut off since."
        )
    else:
        notes.claimed.append(
            f"A {book} says that it held records 1 to {newest.upto} of {named} on {day(newest.at_ms)}. If you trust "
            "its key, say so with --trust: then this is a proof."
        )
    if newest.upto < store.last:
        notes.missing.append(
            f"Records {newest.upto + 1} to {store.last} of {named} are newer than any book's signature: others that "
            "followed them could have been cut off."
        )


def _certificate_words(bundle: Bundle, stores: Sequence[CheckedStore], trust: Trust, notes: _Notes) -> None:
    found, troubles = certified(bundle.certificates, trust)
    notes.faults += [Fault("certificate", words) for words in troubles]
    for store_box in sorted({store.box for store in stores}):
        best = max((c for c in found if box_id_of(c.key) == store_box), key=_worth, default=None)
        if trust.enrolled_only and (best is None or best.root is None):
            words = f"no certificate in this file leads from box {store_box} to a root that you gave"
            notes.faults.append(Fault("certificate", words))
        elif best is None:
            notes.claimed.append(
                f"Records of box {store_box} are of one key, and its name follows from that key. No certificate says "
                "who gave the box out."
            )
        elif best.box != store_box:
            notes.faults.append(Fault("certificate", f"a certificate names box {best.box} with the key of {store_box}"))
        elif best.root is not None:
            notes.proven.append(
                f"Box {store_box} was enrolled in fleet '{best.fleet}' by '{best.root}', whose certificate you trust."
            )
        else:
            words = "none of those you trust issued it" if trust.roots else "give --trust to check who issued it"
            notes.claimed.append(f"A certificate says that box {store_box} is of fleet '{best.fleet}'; {words}.")


def _worth(one: Certified) -> tuple[bool, datetime]:
    return one.root is not None, one.until


def _battery_words(bundle: Bundle, sums: Sums, notes: _Notes) -> None:
    if not sums.hellos:
        notes.faults.append(Fault("battery", f"no record here is of battery {bundle.battery}"))
        return
    hello = sums.hellos[-1]
    how = {"read": "the car told its number", "configured": "a person typed it in"}.get(
        hello.battery_source, "the box made the name up, for want of a better one"
    )
    notes.claimed.append(f"That these records are of battery {bundle.battery}: {how}.")
    if sums.wall_ms:
        first, last = sums.wall_ms
        notes.claimed.append(f"The dates, {day(first)} to {day(last)}: by the box's own clock.")
    else:
        notes.missing.append("Dates: the box's clock was never set.")
    for usage in sums.usages.values():
        notes.missing.append(_coverage(usage))


def _coverage(usage: Usage) -> str:
    hours = f"{usage.observed_s / 3600:.0f} h watched, {usage.inferred_s / 3600:.0f} h asleep with the last values held"
    unseen = f"{usage.unobserved_s / 3600:.0f} h awake without a reading"
    driven = f"{usage.distance_km:.0f} km were watched"
    if usage.odometer_km is not None:
        driven += f" of {usage.odometer_km:.0f} km on the odometer"
    return f"Coverage: {driven}; {hours}, {unseen}. What happened without the box is not in this file."


def _recomputed(stores: Sequence[CheckedStore]) -> tuple[Finding, ...]:
    records = [record for store in stores for record in store.records]
    hellos = [record.message for record in records if isinstance(record.message, Hello)]
    packs = {(hello.profile_digest.hex(), hello.pack): _facts(hello, hello.pack) for hello in hellos if hello.pack}
    return recompute(records, packs)


def _facts(hello: Hello, pack: str) -> PackFacts:
    """As the box used them, and signed."""
    chemistry = hello.chemistry if hello.chemistry in set(Chemistry) else Chemistry.UNKNOWN
    return PackFacts(
        id=pack,
        chemistry=Chemistry(chemistry or Chemistry.UNKNOWN),
        cells_in_series=hello.cells_in_series,
        reference_ah=hello.reference_ah,
        reference_source=hello.reference_source,
        rated_ah=hello.rated_ah,
        nominal_kwh=hello.nominal_kwh,
        ocv=hello.ocv,
        current_gain_sigma_pct=hello.current_gain_sigma_pct,
        resistance_slope_k=hello.resistance_slope_k,
        capacity_start_ah=hello.capacity_start_ah,
    )
