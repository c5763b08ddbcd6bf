"""What the list may be asked, how figures are spread, what troubles a box, and a lease's end: plain arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packbook.core.fleet_boxes import BoxLine, Trouble, troubles
from packbook.core.fleet_papers import AuditQuery, Trail, read_audit_query, read_message_query
from packbook.core.fleet_reports import Lease, Life, Term, Verdict, expected_cost, lease_return, spread
from packbook.core.fleet_row import Judged, Promise, as_json, from_json, judged
from packbook.core.fleet_table import USUAL, Column, FleetQuery, FleetRow, Link, address_of, read_query
from packbook.core.guarantee import Condition, Failed
from packbook.core.history import EventRow, Provenance
from packbook.core.intake import Fate, Reason
from packbook.core.prospect import Lacking, forecast_of
from packbook.core.triage import Use
from packbook.testing.lived_in import lived_in
from packbook.testing.rows import soh_point

DAY_MS = 86_400_000
LEAF = "leaf-24-0001"
HALVES = st.integers(0, 200).map(lambda n: n / 2)


def pairs(address: str) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl

    return parse_qsl(address)


QUERIES = st.builds(
    FleetQuery,
    q=st.text("abc 7%_+&", max_size=8).map(str.strip),
    state=st.sampled_from((None, "ok", "stale")),
    family=st.sampled_from((None, "nissan-leaf")),
    fleet=st.sampled_from((None, "vans & co")),
    link=st.sampled_from((None, *Link)),
    next_use=st.sampled_from((None, *Use)),
    soh_min=st.none() | HALVES,
    soh_max=st.none() | HALVES,
    coverage_max=st.none() | st.integers(0, 100).map(float),
    silent_days=st.none() | HALVES,
    promised=st.booleans(),
    alerted=st.booleans(),
    sort=st.sampled_from(Column),
    falling=st.booleans(),
    page=st.integers(1, 999),
    columns=st.sets(st.sampled_from(Column)).map(
        lambda chosen: tuple(column for column in Column if column in chosen | {Column.BATTERY})
    ),
)


@given(QUERIES)
def test_the_address_says_all_that_was_asked(query: FleetQuery) -> None:
    """A link sent to a colleague must show him the same batteries in the same order."""
    assert read_query(pairs(address_of(query, page=query.page))) == query


def test_the_usual_list_has_a_short_address() -> None:
    """What is as usual need not be said."""
    assert address_of(FleetQuery()) == ""
    assert address_of(FleetQuery(page=7), sort=Column.SOH) == "sort=soh"
    assert FleetQuery().columns == USUAL


@pytest.mark.parametrize("text", ["abc", "-1", "1e3", "9" * 30, "٣", "1.2.3", "nan", "201"])
def test_a_bound_that_is_no_number_in_range_is_named(text: str) -> None:
    """It narrows nothing, so the page has to say so."""
    query = read_query([("soh_min", text)])
    assert (query.soh_min, query.unread) == (None, ("soh_min",))


def test_queries_of_papers_are_read_from_addresses() -> None:
    """Days include their end; what is no reason, trail or day is not asked for."""
    query = read_audit_query([("trail", "enrol"), ("from", "2026-03-01"), ("until", "2026-03-01"), ("page", "x")])
    assert query == AuditQuery(Trail.ENROL, from_ms=1_772_323_200_000, until_ms=1_772_323_200_000 + DAY_MS - 1)
    assert read_audit_query([("trail", "no"), ("from", "2026-13-01")]) == AuditQuery()
    message = read_message_query([("reason", "fork"), ("fate", "all")])
    assert (message.reason, message.fate) == (Reason.FORK, None)
    assert read_message_query([("fate", "?")]).fate is Fate.OPEN


@given(st.lists(st.none() | st.floats(-50, 250), max_size=60))
def test_every_battery_is_in_one_band_or_unknown(values: list[float | None]) -> None:
    """A histogram that loses batteries at its edges tells of another fleet."""
    found = spread(values, 10.0, 0.0, 100.0)
    assert found.known + found.unknown == len(values)
    assert len(found.edges) == (len(found.counts) + 1 if found.counts else 0)


def test_the_middle_of_a_spread_is_its_median() -> None:
    """One outlier must not move what stands for the fleet."""
    assert spread([80.0, 81.0, 200.0], 2.0, 0.0, 130.0).median == 81.0


HEALTH = {
    "frames": 1_000_000,
    "frames_dropped": 0,
    "oldest_waiting_s": 10.0,
    "disk_free_bytes": 10**10,
    "clock": "set",
    "cells_not_sum": 0,
}
NOW = 1_800_000_000_000
WELL = BoxLine(
    "ab" * 8, "b", None, "p", "k", "f", "active", NOW - 1, online=True, unready=0, health=HEALTH, until_ms=None
)


@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        ({"seen_ms": NOW - 8 * DAY_MS}, Trouble.SILENT),
        ({"seen_ms": None}, Trouble.SILENT),
        ({"unready": 3}, Trouble.NO_KEY),
        ({"health": HEALTH | {"oldest_waiting_s": 90_000.0}}, Trouble.WAITING),
        ({"health": HEALTH | {"frames_dropped": 500}}, Trouble.DROPPED),
        ({"health": HEALTH | {"disk_free_bytes": 1000}}, Trouble.DISK),
        ({"health": HEALTH | {"clock": "unset"}}, Trouble.CLOCK),
        ({"until_ms": NOW + 13 * DAY_MS}, Trouble.CERTIFICATE),
        ({"health": HEALTH | {"cells_not_sum": 5}}, Trouble.PROFILE),
    ],
)
def test_a_box_in_trouble_is_named_with_it(change: dict[str, object], trouble: Trouble) -> None:
    """Each has its own remedy, so each has its own name; a box that may say no more troubles nobody."""
    assert troubles(WELL, NOW) == ()
    assert troubles(replace(WELL, **change), NOW) == (trouble,)  # type: ignore[arg-type]  # the test's own fields
    assert troubles(replace(WELL, **change, state="retired"), NOW) == ()  # type: ignore[arg-type]


def test_what_was_judged_comes_back_from_the_store_as_it_was() -> None:
    """The list is made from the stored form; a knee out of nothing has no JSON number."""
    book = lived_in()
    told = judged(forecast_of(book.points[LEAF], book.event_rows[LEAF]))
    assert told.promises
    assert from_json(as_json(told)) == told
    knee = Judged(promises=(Promise(80.0, 1.0, None, 0.5, (Failed(Condition.KNEE, float("inf"), 2.0),), ()),))
    assert from_json(as_json(knee)).promises == knee.promises
    assert judged(Lacking.TOO_FEW) == Judged(lacking="too_few")


def life(events: tuple[EventRow, ...] = ()) -> Life:
    book = lived_in()
    return Life(FleetRow(LEAF), book.points[LEAF], events, [book.totals[LEAF]])


def test_a_lease_is_judged_only_where_its_interval_lies_on_one_side() -> None:
    """85.6 +- 2.5: at least 80 was kept, at least 90 was not, at least 86 cannot be told."""
    verdicts = [lease_return(life(), Lease(None, None, ((Term.SOH, limit),))).verdict for limit in (80.0, 90.0, 86.0)]
    assert verdicts == [Verdict.KEPT, Verdict.BROKEN, Verdict.UNSURE]


def test_what_was_not_seen_is_not_counted_as_kept() -> None:
    """A lessee with an unplugged box would otherwise return the best car of all."""
    unseen = Life(FleetRow("x"), (), (), ())
    found = lease_return(unseen, Lease(None, None, ((Term.SOH, 80.0), (Term.KM, 1000.0))))
    assert found.verdict is Verdict.NOT_SEEN
    assert found.at_start is None


def test_a_harmful_event_counts_within_the_lease_and_in_doubt_without_a_date() -> None:
    """What happened before the lease is not the lessee's; what has no date may be."""
    points = life().readings
    begin = points[10].at_ms
    assert begin is not None

    def event(at_ms: int | None) -> EventRow:
        return EventRow("pack_hot", at_ms, 60.0, 58.0, None, Provenance("b", "s", 1))

    terms = Lease(begin, None, ((Term.HARM, 0.0),))
    assert lease_return(life((event(begin - 1),)), terms).verdict is Verdict.KEPT
    assert lease_return(life((event(begin + 1),)), terms).verdict is Verdict.BROKEN
    assert lease_return(life((event(None),)), terms).verdict is Verdict.UNSURE


def test_the_lease_begins_with_the_last_figure_before_it() -> None:
    """The condition at the start is what was known then, not what was learnt later."""
    points = [soh_point(n, at_ms=n * DAY_MS, soh_pct=90.0 - n, odometer_km=100.0 * n) for n in range(1, 9)]
    found = lease_return(Life(FleetRow("x"), points, (), ()), Lease(4 * DAY_MS + 1, 7 * DAY_MS, ()))
    assert found.at_start == points[3]
    assert found.at_return == points[6]
    assert found.km == pytest.approx(300.0)


def test_no_promise_is_so_sure_that_nothing_is_set_aside() -> None:
    """The model does not know what it does not know."""
    assert expected_cost(Promise(70.0, 1.0, None, 0.9, (), ()), 1000.0) == pytest.approx(100.0)
    assert expected_cost(Promise(70.0, 1.0, None, 1.0, (), ()), 1000.0) == pytest.approx(10.0)
