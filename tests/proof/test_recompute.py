"""A stranger works every number out again from the records, and finds what was changed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fold_day import EVIDENCE_ID, PACK, Day, ScriptDecoder, plan, run, split
from packbox.adapters import snapshot
from packbox.adapters.profile_dir import Catalogue
from packbox.core import box
from packbox.core.box import BoxPlan, BoxState
from packbox.core.decode import Decoder, DecodeState
from packbox.core.frames import FrameBatch
from packbox.core.outcome import Outcome
from packbox.core.record import BatteryId, BoxId, ChainHead
from packbox.core.signals import Decoded
from packbox.core.soh import reading as core_reading
from packbox.core.summary import seal_outcomes
from packbox.sim.source import open_sim
from packproof import soh_again
from packproof.recompute import Finding, Verdict, recompute
from packwire.codec import plan_of
from packwire.ids import StoreId, box_id_of
from packwire.messages import (
    BmsItem,
    Drive,
    Hello,
    LeftItem,
    LegItem,
    Message,
    Reading,
    Rest,
    SeenItem,
    Soh,
    SpanItem,
    SwingItem,
    ToldItem,
    Usage,
)
from packwire.seal import Record, open_sealed

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = KEY.public_key().public_bytes_raw()
BOX = BoxId(box_id_of(PUBLIC_KEY))
LEAF = Catalogue().profile("nissan-leaf")
# Typical of the chemistry (facts/soh.md §4).
SOC = (0.0, 3.0, 6.0, 11.0, 22.0, 33.0, 44.0, 55.0, 67.0, 78.0, 89.0, 95.0, 100.0)
VOLTS = (3.20, 3.43, 3.53, 3.66, 3.78, 3.86, 3.905, 3.945, 3.985, 4.045, 4.085, 4.125, 4.18)
CURVE = tuple(zip(SOC, VOLTS, strict=True))
RESTING_PACK = replace(PACK, ocv=CURVE)
PACKS = {(LEAF.digest, pack.id): pack for pack in LEAF.packs} | {("00" * 32, PACK.id): RESTING_PACK}
DAYS = 20
SWINGS = 6
RESTART_EVERY = 97  # batches


def records_of(outcomes: Sequence[Outcome]) -> list[Record]:
    head = ChainHead(BOX, StoreId("57" * 8), 1, bytes(16))
    return [open_sealed(row.sealed, PUBLIC_KEY) for row in seal_outcomes(outcomes, head, KEY.sign, PUBLIC_KEY)[1]]


@pytest.fixture(scope="module", params=["leaf", "resting"])
def life(request: pytest.FixtureRequest) -> list[Record]:
    return leaf_life() if request.param == "leaf" else resting_life()


def leaf_life() -> list[Record]:
    """Weeks of a simulated Leaf, with a box that is restarted now and then."""
    the_plan = BoxPlan(Decoder(LEAF), BOX, BatteryId("van-7"), "configured", "test")

    async def lived() -> list[Outcome]:
        state, outcomes = box.start(the_plan), []
        batches = 0
        async for item in open_sim(f"leaf-24,seed=5,start=2026-04-01,until=2026-04-{1 + DAYS:02}", None).inputs():
            state, new = box.advance(the_plan, state, item)
            outcomes += new
            batches += 1
            if batches % RESTART_EVERY == 0:
                state = snapshot.load(snapshot.dump(state), BoxState)
        return [*outcomes, *box.finish(the_plan, state)[1]]

    return records_of(asyncio.run(lived()))


def resting_life() -> list[Record]:
    """A car that rests between its charges and drives, so that voltages tell its SoC."""
    day = Day(soc=40)

    def rest() -> None:
        volts = 96.0 * float(np.interp(day.soc, SOC, VOLTS))
        day.idle(1).sleep(12).idle(1, pack_voltage_v=volts, capacity_reported_ah=58.1, soh_reported_pct=96.8)

    for _ in range(SWINGS):
        rest()
        day.charge(20, amps=60.0, kind=2)
        rest()
        for k in range(40):  # a current that never changed would be a broken sensor's
            day.drive(0.5, amps=-60.0 + k % 3)
    frames = day.frames()
    return records_of(run(list(split(frames, range(0, len(frames), 20_000))), plan(RESTING_PACK))[1])


def verdicts(findings: Sequence[Finding]) -> dict[str, Verdict]:
    return {finding.what: finding.verdict for finding in findings}


def of(findings: Sequence[Finding], what: str) -> Finding:
    return next(finding for finding in findings if finding.what == what)


def changed(record: Record, **values: Any) -> Record:
    return replace(record, message=msgspec.structs.replace(record.message, **values))


def put(records: Sequence[Record], record: Record) -> list[Record]:
    return [record if r.envelope.seq == record.envelope.seq else r for r in records]


def holding(records: Sequence[Record], kind: type[Message]) -> list[Record]:
    return [r for r in records if isinstance(r.message, kind)]


def test_everything_a_box_said_follows_from_its_records(life: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for all of it. On one machine to the last digit, over restarts of the box."""
    monkeypatch.setattr(soh_again, "FORGIVEN_STEPS", 0)
    findings = recompute(life, PACKS)
    claimed = {"usage.histograms", "soh.beside"}
    assert {what for what, verdict in verdicts(findings).items() if verdict is Verdict.CLAIMED} == claimed
    assert {verdict for what, verdict in verdicts(findings).items() if what not in claimed} == {Verdict.PROVEN}
    said, taken = len(holding(life, Soh)), len(holding(life, Reading))
    assert of(findings, "soh").words.startswith(f"{said} states of health from {taken} readings")
    readings = [r.message for r in holding(life, Reading) if isinstance(r.message, Reading)]
    read = {name for r in readings for name in ("swings", "legs", "bms", "prior", "told", "seen") if getattr(r, name)}
    assert read in ({"legs", "bms", "seen"}, {"swings", "legs", "bms", "prior", "told", "seen"})


def test_the_order_in_which_records_come_does_not_matter(life: list[Record]) -> None:
    """A ledger, a journal and a bundle may each hold them in another one."""
    mixed = random.Random(3).sample(life, len(life))
    assert recompute(mixed, PACKS) == recompute(life, PACKS)


def test_a_changed_reading_is_found_and_named(life: list[Record]) -> None:
    """Whoever changes one number of the evidence no longer gets the value that stands beside it."""
    for record in holding(life, Reading):
        assert isinstance(record.message, Reading)
        changes: list[dict[str, Any]] = []
        for field in ("swings", "legs"):
            items = getattr(record.message, field)
            if items:
                charge = "charge_in_ah" if field == "swings" else "charge_ah"
                other = msgspec.structs.replace(items[0], **{charge: round(1.05 * getattr(items[0], charge), 2)})
                changes.append({field: (other, *items[1:])})
        for values in changes:
            soh = of(recompute(put(life, changed(record, **values)), PACKS), "soh")
            assert soh.verdict is Verdict.DIFFERS
            assert record.envelope.seq in soh.seqs


@pytest.mark.parametrize("field", ["soh_pct", "sigma_pct", "lo90_pct", "capacity_ah"])
def test_a_changed_state_of_health_is_found_and_named(life: list[Record], field: str) -> None:
    """Two hundredths of a percent more than the readings give are too much."""
    record = holding(life, Soh)[-2]
    forged = changed(record, **{field: getattr(record.message, field) + 0.02})
    soh = of(recompute(put(life, forged), PACKS), "soh")
    assert (soh.verdict, soh.seqs[0]) == (Verdict.DIFFERS, record.envelope.seq)
    assert field in soh.words


def test_a_changed_count_of_energy_is_found_and_named() -> None:
    """The energy of the full pack rests on its own readings, and is worked out again like the capacity."""
    leaf = leaf_life()
    energies = [r for r in holding(leaf, Soh) if isinstance(r.message, Soh) and r.message.energy is not None]
    assert len(energies) > 0.9 * len(holding(leaf, Soh))
    record = energies[-1]
    assert isinstance(record.message, Soh)
    better = msgspec.structs.replace(record.message.energy, energy_full_kwh=24.5)
    for forged in (changed(record, energy=better), changed(record, energy=None)):
        soh = of(recompute(put(leaf, forged), PACKS), "soh")
        assert (soh.verdict, soh.seqs[0], "energy" in soh.words) == (Verdict.DIFFERS, record.envelope.seq, True)


@pytest.mark.parametrize(
    ("field", "less"), [("charges_ac", 1), ("drives", 1), ("distance_km", 30.0), ("charge_in_ah", 5.0)]
)
def test_a_total_made_smaller_is_found_and_named(life: list[Record], field: str, less: float) -> None:
    """A car with fewer kilometres and charges sells better."""
    record = holding(life, Usage)[-1]
    forged = changed(record, **{field: getattr(record.message, field) - less})
    finding = of(recompute(put(life, forged), PACKS), f"usage.{field}")
    assert (finding.verdict, tuple(finding.seqs)) == (Verdict.DIFFERS, (record.envelope.seq,))


def test_a_total_made_larger_than_its_sessions_is_a_claim(life: list[Record]) -> None:
    """Charge may flow between sessions, so this is no proof of a lie; but nobody may read it as proven either."""
    record = holding(life, Usage)[-1]
    assert isinstance(record.message, Usage)
    forged = changed(record, charge_in_ah=2.0 * record.message.charge_in_ah)
    assert of(recompute(put(life, forged), PACKS), "usage.charge_in_ah").verdict is Verdict.CLAIMED


def test_a_histogram_that_falls_is_found(life: list[Record]) -> None:
    """Time spent hot cannot be taken back."""
    record = holding(life, Usage)[-1]
    assert isinstance(record.message, Usage)
    cells = list(record.message.soc_temp_s)
    cells[int(np.argmax(cells))] //= 2
    finding = of(recompute(put(life, changed(record, soc_temp_s=tuple(cells))), PACKS), "usage.histograms")
    assert (finding.verdict, tuple(finding.seqs)) == (Verdict.DIFFERS, (record.envelope.seq,))


def test_a_reading_told_twice_is_found(life: list[Record]) -> None:
    """Good readings must not count double."""
    first, second = holding(life, Reading)[3:5]
    assert isinstance(first.message, Reading)
    doubled = put(life, changed(second, number=first.message.number))
    finding = of(recompute(doubled, PACKS), "soh.readings")
    assert (finding.verdict, tuple(finding.seqs)) == (Verdict.DIFFERS, (second.envelope.seq,))


def test_a_reading_that_no_box_could_take_is_named_and_breaks_nothing(life: list[Record]) -> None:
    """Whoever makes a bundle may write anything into it."""
    record = next(r for r in holding(life, Reading) if isinstance(r.message, Reading) and r.message.legs)
    nothing = LegItem(charge_ah=0.0, soc_change_pct=0.0)
    finding = of(recompute(put(life, changed(record, legs=(nothing,) * 8)), PACKS), "soh.readings")
    assert (finding.verdict, tuple(finding.seqs)) == (Verdict.DIFFERS, (record.envelope.seq,))


@pytest.mark.parametrize("seed", range(40))
def test_lost_records_never_make_a_lie_of_an_honest_number(life: list[Record], seed: int) -> None:
    """Journals evict, links lose, books get part of a life: that is missing, not wrong."""
    dice = random.Random(seed)
    kept = [r for r in life if dice.random() > 0.02 * (1 + seed % 5)]
    if seed % 4 == 0:
        kept = life[dice.randrange(len(life)) :]
    elif seed % 4 == 1:
        kept = life[: dice.randrange(1, len(life))]
    findings = recompute(kept, PACKS)
    assert Verdict.DIFFERS not in verdicts(findings).values(), findings


def test_what_lost_records_take_away_is_said(life: list[Record]) -> None:
    """The owner learns why a number is not proven."""
    gone = holding(life, Reading)[2]
    assert isinstance(gone.message, Reading)
    findings = recompute([r for r in life if r is not gone], PACKS)
    told = [f for f in findings if f.what == "soh" and f.verdict is Verdict.MISSING]
    assert any(f"readings {gone.message.number} to {gone.message.number} are not here" in f.words for f in told)
    drive = holding(life, Drive)[0]
    findings = recompute([r for r in life if r is not drive], PACKS)
    assert of(findings, "usage.drives").verdict is Verdict.MISSING
    assert of(findings, "usage.charges_ac").verdict is Verdict.PROVEN  # a drive is no charge


def test_without_the_facts_of_the_pack_nothing_is_judged(life: list[Record]) -> None:
    """Another pack's facts would make an honest box a liar."""
    soh = of(recompute(life, {}), "soh")
    assert (soh.verdict, "the facts of pack" in soh.words) == (Verdict.MISSING, True)


def test_a_box_that_took_readings_before_it_told_them_is_not_accused(life: list[Record]) -> None:
    """Software is brought up to date in the middle of a life."""
    later = [changed(r, number=r.message.number + 1) if isinstance(r.message, Reading) else r for r in life]
    soh = of(recompute(later, PACKS), "soh")
    assert (soh.verdict, "older software" in soh.words) == (Verdict.MISSING, True)


class SwapDecoder(ScriptDecoder):
    """A frame of evidence: the pack tells another serial number."""

    def decode(self, state: DecodeState, batch: FrameBatch) -> tuple[DecodeState, Decoded]:
        after, decoded = super().decode(state, batch)
        changes = int(np.count_nonzero(batch.can_id == EVIDENCE_ID))
        return replace(after, serials=state.serials + changes, swap_text="another number"), decoded


def test_another_pack_begins_from_nothing() -> None:
    """What one pack moved must never be added to another one's, by the box or by a stranger."""
    day = Day(soc=60)
    for turn in range(4):
        day = day.drive(10, amps=-90).idle(1).sleep(3)
        if turn == 1:
            day = day.frame(EVIDENCE_ID)
        day = day.charge(15, amps=60).idle(1).sleep(3)
    the_plan = replace(plan(), decoder=SwapDecoder())
    frames = day.frames()
    batches = list(split(frames, range(0, len(frames), 500)))
    records = records_of(run(batches, the_plan)[1])
    assert [r.message.packs_before for r in records if isinstance(r.message, Hello)] == [0, 1]
    second = [r.message for r in holding(records, Usage)][-1]
    assert isinstance(second, Usage)
    assert second.charge_in_ah < 50.0  # three charges of 15 Ah, not four
    findings = recompute(records, PACKS | {("00" * 32, PACK.id): PACK})
    assert [f.verdict for f in findings if f.what == "soh"] == [Verdict.PROVEN, Verdict.PROVEN]
    assert Verdict.DIFFERS not in verdicts(findings).values(), findings


def test_two_stores_are_judged_apart(life: list[Record]) -> None:
    """A battery may have been watched by two boxes, or by one that lost its card."""
    other = StoreId("58" * 8)
    twin = [replace(r, envelope=replace(r.envelope, store=other)) for r in life]
    findings = recompute([*life, *twin], PACKS)
    assert {f.store for f in findings} == {life[0].envelope.store, other}
    assert len(findings) == 2 * len(recompute(life, PACKS))


def test_readings_are_rounded_to_the_steps_of_the_wire() -> None:
    """A number used with more digits than were sent could not be worked out again."""
    items = {
        core_reading.RestSwing: SwingItem,
        core_reading.RestsSeen: SeenItem,
        core_reading.CapacityTold: ToldItem,
        core_reading.SocLeg: LegItem,
        core_reading.SpanCharged: SpanItem,
        core_reading.BmsSaid: BmsItem,
        core_reading.EnergyLeft: LeftItem,
    }
    for inner, outer in items.items():
        wire = {p.name: p.wire.per for p in plan_of(outer)}
        assert wire == {f.name: core_reading.STEPS.get(f.name) for f in fields(inner)}
    assert core_reading.STEPS["soh_reported_pct"] == next(
        p.wire.per for p in plan_of(Soh) if p.name == "soh_reported_pct"
    )


def test_a_record_a_session_at_most(life: list[Record]) -> None:
    """Mobile data is paid for: readings of a session travel together."""
    sessions = [r.message.session for r in holding(life, Reading) if isinstance(r.message, Reading)]
    assert len(sessions) == len(set(sessions)) <= len(holding(life, Drive)) + len(holding(life, Rest)) + 20
    assert sum(len(r.sealed) for r in holding(life, Reading)) / DAYS < 2_500
