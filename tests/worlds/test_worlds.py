"""Months alone in a car, in minutes: whatever happens, the book equals the truth that the fold computes.

The seeds are fixed: what fails here fails everywhere. `make worlds` runs as many others as asked.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from packbook.adapters.store import ledger
from packbook.core import intake
from packbox.adapters.journal import SqliteJournal
from packbox.app.carry import _Carrier
from packbox.core.frames import IntArray
from packbox.core.record import SealedRow
from packbox.core.stamp import NS_PER_MS
from packbox.sim.car import IMIEV_16
from packbox.testing.sim_bus import Pieces
from packbox.testing.sim_clock import SimMachine
from packwire.testing import Faults
from worlds.__main__ import told
from worlds.card import CardJournal
from worlds.plan import DAY_S, Blow, Event, Plan, Spell
from worlds.runs import check_plan, run_all, run_one
from worlds.verdict import WrongError

SEEDS = 30
DAYS = 3
HOUR_S = 3600.0


@pytest.mark.slow
def test_the_book_equals_the_truth_in_every_world() -> None:
    """Power cuts, lying clocks, full disks, lost acks, swapped boxes: one seed each, judged from outside."""
    outcomes = list(run_all(range(SEEDS), DAYS, jobs=2))
    wrong = [told(outcome) for outcome in outcomes if outcome.wrong]
    assert not wrong, "\n".join(wrong)
    assert sum(outcome.figures["records"] for outcome in outcomes) > 10 * SEEDS


def test_the_same_seed_is_the_same_world() -> None:
    """A failing seed can be run again."""
    first = run_one(5, 1)
    assert not first.wrong, told(first)
    assert run_one(5, 1) == first


@pytest.mark.slow
def test_half_a_year_without_a_network_arrives_in_order_and_once() -> None:
    """A car on its way to another continent, and months on a dealer's lot there. In coarse pieces: it is the weeks
    that matter here. A power cut every ten days takes the clock along, which nobody sets again until the end."""
    away_days = 180
    cuts = tuple(Event(day * DAY_S, Blow.CUT, HOUR_S) for day in range(4, away_days, 10))
    away = Spell(DAY_S / 2, (away_days + 0.5) * DAY_S, "no network")
    coarse = Pieces(3600.0, 7200.0, 7200.0)
    plan = Plan(7, away_days + 1, IMIEV_16, coarse, 600.0, clock_trusted=False, events=cuts, offline=(away,))
    assert check_plan(plan)["records"] > 5 * away_days


# -- the worlds bite: mistakes planted on purpose must be found ------------------------------------------------------


@pytest.fixture
def quiet() -> Plan:
    """One day of a small car to which nothing happens."""
    return Plan(2, 1, IMIEV_16, Pieces(), 60.0, clock_trusted=False, events=())


def test_a_quiet_world_is_right(quiet: Plan) -> None:
    """What the planted mistakes are measured against."""
    assert check_plan(quiet)["records"] > 3


@pytest.mark.parametrize("trouble", ["disk full", "disk read-only"])
def test_a_box_that_starts_while_its_disk_refuses_loses_nothing_that_it_hears(quiet: Plan, trouble: str) -> None:
    """The power comes back to a full card. What is heard from then on is on the card as soon as there is room."""
    cuts = (Event(8 * HOUR_S, Blow.CUT, 60.0), Event(9 * HOUR_S, Blow.CUT, 60.0))
    full = Spell(8.8 * HOUR_S, 12 * HOUR_S, trouble)
    figures = check_plan(replace(quiet, events=cuts, disks=(full,)))
    assert figures["records"] > 3
    assert figures["started_without_disk"] == 1


def test_a_record_that_leaves_on_the_brokers_word_is_missed(quiet: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers lose what they acknowledged. The box throws away what it sent: else the book would ask for it again."""
    honest = _Carrier._publish

    async def trusting(self: _Carrier, uplink: object, row: SealedRow) -> None:
        await honest(self, uplink, row)  # type: ignore[arg-type]
        await self.offload(lambda: self.journal.release(row.seq, ()))

    monkeypatch.setattr(_Carrier, "_publish", trusting)
    monkeypatch.setattr(CardJournal, "take_back", lambda *_told: 0)
    with pytest.raises(WrongError, match="are not in the book"):
        check_plan(replace(quiet, faults=Faults(lose=0.5)))


def test_state_and_records_in_two_transactions_are_found(quiet: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut between the two: the state says that a record was made which nobody ever sees."""
    cuts = iter([True])

    def twice(self: CardJournal, state: bytes, rows: tuple[SealedRow, ...]) -> None:
        self._may_write()
        SqliteJournal.commit(self, state, ())
        self._wrote(())
        if rows:
            self._card.cut_after_write = next(cuts, False)
            self._written()
            SqliteJournal.commit(self, state, rows)
            self._wrote(rows)

    monkeypatch.setattr(CardJournal, "commit", twice)
    with pytest.raises(WrongError, match="twin"):
        check_plan(quiet)


def test_durations_by_the_wall_clock_are_found(quiet: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock is set while the car is awake."""

    def by_wall(self: SimMachine, true_ns: IntArray) -> IntArray:
        now_ns = round(self._true_ms() * NS_PER_MS)
        mono_ns: IntArray = true_ns - now_ns + self.realtime_ns() - round(self.booted_ms * NS_PER_MS)
        return mono_ns

    monkeypatch.setattr(SimMachine, "mono_ns_at", by_wall)
    steps = tuple(Event(hour * HOUR_S, Blow.CLOCK_STEP, amount=3 * HOUR_S) for hour in range(3, 20, 2))
    with pytest.raises(WrongError, match=r"sessions hold|dated"):
        check_plan(replace(quiet, events=steps))


def test_duplicates_told_without_their_store_are_found(quiet: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new card begins at 1 again."""
    honest = intake.place
    seen: dict[tuple[str, int], str] = {}

    def careless(entry: intake.Entry, tip: intake.Tip, present: intake.Link | None) -> object:
        at = entry.place
        if seen.setdefault((at.box, at.seq), at.store) != at.store:
            return intake.Duplicate(at)
        return honest(entry, tip, present)

    monkeypatch.setattr(ledger.intake, "place", careless)
    with pytest.raises(WrongError, match="are not in the book"):
        check_plan(replace(quiet, events=(Event(10 * HOUR_S, Blow.NEW_CARD, 60.0),)))
