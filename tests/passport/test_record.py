"""The neutral record of a battery: what enters it, what never does, and what follows from what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields as fields_of
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbook.adapters.rules import RuleBook
from packbook.core.declared import Declared
from packbook.core.derived import BY_PLUG
from packbook.core.formats.neutral import parts
from packbook.core.history import CellsPoint, Doubt, EventRow, Provenance, SessionRow, SohPoint, UsageTotals
from packbook.core.passport import Fact, Histogram, Part, Passport, Source
from packbook.core.passport_of import Life, passport_of
from packbook.core.prospect import DAY_MS, Lacking, forecast_of
from packbook.testing.lived_in import lived_in
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import BOX, STORE, battery_head, session_row, soh_point

FIELDS = RuleBook().fields()
MADE_MS = 1_795_000_123_456
VIN = "JN1AZ0CP8BT012345"
CAR = "Hanako's red Leaf"
LEAF = "leaf-24-0001"


@pytest.fixture(scope="module")
def book() -> MemoryHistories:
    return lived_in()


async def life_of(book: MemoryHistories, battery: str) -> Life:
    head = await book.battery(battery)
    assert head is not None
    points, events = await book.soh_series(battery), await book.events(battery, 500)
    usage, sessions = await book.usage(battery), await book.sessions(battery, limit=50)
    return Life(head, points, usage, sessions, events, forecast_of(points, events))


def record(life: Life, *said: Declared) -> Passport:
    return passport_of(life, FIELDS, said, made_ms=MADE_MS)


def said(name: str, value: float | str, **more: Any) -> Declared:
    return Declared(name, value, "Example Motors", 1_780_000_000_000, **more)


def usage_of(**changes: object) -> UsageTotals:
    zeros: dict[str, Any] = {f.name: 0.0 for f in fields_of(UsageTotals)}
    counts = {"charges_ac": 0, "charges_dc": 0, "drives": 0}
    unknown = dict.fromkeys(("odometer_km", "charge_count_ac_reported", "charge_count_dc_reported"))
    whole: dict[str, Any] = {
        "at_ms": MADE_MS - 5,
        "first_ms": MADE_MS - 40 * DAY_MS,
        "soc_temp_s": (0,) * 90,
        "c_rate_temp_s": (0,) * 180,
        "depth_counts": (0,) * 70,
        "events": {},
        "equivalent_full_cycles": 3.0,
        "provenance": Provenance(BOX, STORE, 9),
    }
    return UsageTotals(**{**zeros, **counts, **unknown, **whole, **changes})


async def test_what_we_measured_what_the_car_says_and_what_a_garage_says_stand_apart(book: MemoryHistories) -> None:
    """Three figures with one name would be the end of trust in any of them."""
    life = await life_of(book, LEAF)
    passport = record(life, said("soh_declared_pct", 91.0, on="2026-05-03", method="workshop OBD"))
    (ours,) = passport.facts["soh_capacity_pct"]
    (reported,) = passport.facts["soh_reported_pct"]
    (foreign,) = passport.facts["soh_declared_pct"]
    assert (ours.source, ours.by, ours.method) == (Source.MEASURED, BOX, "weigh/1")
    assert None not in (ours.lo90, ours.sigma)
    assert ours.evidence
    assert (reported.source, reported.by) == (Source.VEHICLE, "vehicle")
    assert (foreign.source, foreign.by, foreign.method) == (Source.DECLARED, "Example Motors", "workshop OBD")
    assert foreign.conditions["agrees"] == "no"
    assert foreign.conditions["difference_pct"] == pytest.approx(91.0 - float(foreign.conditions["ours_pct"]))


def test_a_figure_that_rests_on_the_cars_own_value_is_the_cars() -> None:
    """Handed through a box it would look like our measurement."""
    passport = record(Life(battery_head(), (soh_point(basis="bms-value"),)))
    assert [fact.source for fact in passport.facts["soh_capacity_pct"]] == [Source.VEHICLE]


async def test_fades_follow_from_what_was_measured_and_what_was_declared(book: MemoryHistories) -> None:
    """A fade is worth as much as the two figures it compares, so it names both."""
    life = await life_of(book, LEAF)
    newest = replace(life.points[-1], resistance_ohm=0.105)
    passport = record(
        replace(life, points=(*life.points[:-1], newest)),
        said("resistance_start_ohm", 0.084),
        said("power_start_w", 80_000.0),
        said("remaining_power_w", 60_000.0, sigma=800.0, conditions={"soc_pct": 80.0}),
    )
    soh, fade = passport.facts["soh_capacity_pct"][0], passport.facts["capacity_fade_pct"][0]
    assert fade.value == pytest.approx(100.0 - float(str(soh.value)))
    assert (fade.source, fade.conditions["reference_ah"]) == (Source.MEASURED, 65.4)
    assert (fade.lo90, fade.hi90) == pytest.approx((100.0 - (soh.hi90 or 0.0), 100.0 - (soh.lo90 or 0.0)))
    (grown,) = passport.facts["resistance_increase_pct"]
    assert (grown.value, grown.conditions["resistance_start_ohm"], grown.source) == (25.0, 0.084, Source.MEASURED)
    (power,) = passport.facts["power_fade_pct"]
    assert (power.value, power.source, power.conditions["soc_pct"]) == (25.0, Source.DECLARED, 80.0)


def test_what_a_fade_lacks_is_said() -> None:
    """An empty place without a reason is taken for a fault."""
    passport = record(Life(battery_head(), (soh_point(resistance_ohm=0.1),)))
    (grown,) = passport.facts["resistance_increase_pct"]
    assert (grown.value, grown.why) == (None, "resistance_start_ohm is not declared")


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        (40.0, 30, None),
        (60.0, 10, None),
        (45.0, None, "the limit 45 degC is no edge of the temperature bands"),
        (None, None, "idle_temp_max_degc is not declared"),
    ],
)
def test_time_in_heat_is_counted_only_where_bands_can_tell(
    limit: float | None, value: int | None, why: str | None
) -> None:
    """A band that the limit cuts through has no known share on either side."""
    hot = tuple(10 if band % 9 in (6, 7, 8) and band < 9 else 0 for band in range(90))
    told = [] if limit is None else [said("idle_temp_max_degc", limit)]
    passport = record(Life(battery_head(), usage=usage_of(soc_temp_s=hot)), *told)
    (fact,) = passport.facts["time_hot_s"]
    assert fact.value == value
    assert (fact.why is None) if why is None else (fact.why or "").startswith(why)
    assert passport.facts["time_hot_charging_s"][0].value == (None if value is None else 0)  # it was never charged


def test_time_in_heat_while_charging_is_told_where_boxes_count_it() -> None:
    """A box of older software knows that there were charges, but not how warm they were: that is no zero."""
    limit = said("idle_temp_max_degc", 40.0)
    counted = record(
        Life(battery_head(), usage=usage_of(charges_ac=3, charging_temp_s=(0, 0, 0, 0, 5, 4, 3, 2, 1))), limit
    )
    (hot,) = counted.facts["time_hot_charging_s"]
    assert (hot.value, hot.source) == (6, Source.MEASURED)
    older = record(Life(battery_head(), usage=usage_of(charges_ac=3)), limit)
    assert [(f.value, f.why) for f in older.facts["time_hot_charging_s"]] == [(None, BY_PLUG)]


def test_the_cell_spread_comes_with_the_conditions_it_was_seen_under() -> None:
    """Twenty millivolts mean one thing at half charge and another near empty."""
    point = CellsPoint(
        MADE_MS - DAY_MS, 21.4, 3.7, 3.7214, 0, None, None, 51.2, -0.4, 17.0, 18.0, 30_600.0, Provenance(BOX, STORE, 4)
    )
    (fact,) = record(Life(battery_head(), cells=(point,))).facts["cell_spread_mv"]
    assert (fact.value, fact.unit, fact.evidence) == (21.0, "mV", (point.provenance,))
    assert (fact.conditions["soc_pct"], fact.conditions["quiet_s"]) == (51.2, 30_600.0)
    assert "cell_spread_mv" not in record(Life(battery_head())).facts


def test_remaining_energy_needs_the_certified_energy() -> None:
    """SOCE is a share; of what, only the type approval says."""
    life = Life(battery_head(), (soh_point(soce_pct=86.0),))
    (without,) = record(life).facts["remaining_energy_kwh"]
    assert (without.value, without.why) == (None, "certified_energy_kwh is not declared")
    (known,) = record(life, said("certified_energy_kwh", 59.5)).facts["remaining_energy_kwh"]
    assert (known.value, known.conditions["certified_energy_kwh"]) == (51.17, 59.5)


def test_half_a_history_makes_half_a_record() -> None:
    """No totals yet, or no figure yet: the rest stands, nothing is zero that is not known."""
    only_soh = record(Life(battery_head(), (soh_point(),)))
    assert only_soh.first("soh_capacity_pct") is not None
    assert "full_cycles" not in only_soh.facts
    only_usage = record(Life(battery_head(), usage=usage_of(equivalent_full_cycles=None)))
    assert "soh_capacity_pct" not in only_usage.facts
    assert (only_usage.facts["full_cycles"][0].why or "").startswith("a box that watched")
    nothing = record(Life(battery_head()))
    assert nothing.coverage is None
    assert {FIELDS.fields[name].part for name in nothing.facts if nothing.first(name)} == {Part.IDENTITY}


def test_a_figure_that_cannot_be_true_is_left_out_and_named() -> None:
    """One bit flipped in a car's message must not become 4000 % in a passport."""
    (fact,) = record(Life(battery_head(), (soh_point(soh_reported_pct=4000.0),))).facts["soh_reported_pct"]
    assert fact.value is None
    assert fact.why == "what was told cannot be true: 4000 is not between 0 and 150 %"


def test_a_health_without_a_capacity_says_so() -> None:
    """The reason for no value must not read `ok`; where there is no health either, the box's own reason stands."""
    point = soh_point(state="ok", capacity_ah=None)
    for told, why in (
        (point, "the box told a state of health without a capacity"),
        (replace(point, soh_pct=None, state="learning"), "learning"),
        (replace(point, soh_pct=None, state="learning", why="2 of 10 segments seen"), "2 of 10 segments seen"),
    ):
        passport = record(Life(battery_head(), (told,)))
        assert [fact.why for fact in passport.facts["remaining_capacity_ah"] if fact.value is None] == [why]


def test_coverage_tells_what_nobody_watched_and_where_the_record_breaks() -> None:
    """A good figure over a tenth of a life is not a good figure."""
    event = EventRow("data_lost", MADE_MS - 3 * DAY_MS, 7200.0, None, "rows 4-90", Provenance(BOX, STORE, 3))
    head = battery_head(first_ms=MADE_MS - 40 * DAY_MS, last_ms=MADE_MS)
    usage = usage_of(observed_s=86_400.0, inferred_s=10 * 86_400.0, unobserved_s=3600.0)
    coverage = record(Life(head, usage=usage, events=(event,))).coverage
    assert coverage is not None
    assert coverage.unwatched_s == 29 * 86_400 - 3600
    assert [(gap.kind, gap.duration_s) for gap in coverage.gaps] == [("data_lost", 7200.0)]


def test_bands_of_load_rise_along_their_axis() -> None:
    """The wire counts charge before discharge; a histogram's axis runs one way."""
    cells = [0] * 180
    cells[0], cells[9 * 10] = 5, 7  # gentlest charge; gentlest discharge; both coldest
    passport = record(Life(battery_head(), usage=usage_of(c_rate_temp_s=tuple(cells))))
    histogram = passport.facts["c_rate_temp_time_s"][0].value
    assert isinstance(histogram, Histogram)
    edges = histogram.axes[0].edges
    assert list(edges[1:-1]) == sorted(edge for edge in edges if edge is not None)
    assert (edges[9:12], histogram.counts[9 * 9], histogram.counts[9 * 10]) == ((-0.1, 0.0, 0.1), 7, 5)


def test_another_version_of_the_fields_changes_the_record_not_the_code(tmp_path: Path) -> None:
    """A new delegated act is a new file."""
    shipped = Path(FIELDS_FILE).read_text()
    changed = shipped.replace('version = "1"', 'version = "2"', 1)
    changed = "\n".join(line for line in changed.splitlines() if not line.startswith("charges_dc "))
    changed = changed.replace("decimals = 2, low = 0, high = 100000,", "decimals = 0, low = 0, high = 100000,")
    (tmp_path / "fields-2.toml").write_text(changed)
    life = Life(battery_head(), usage=usage_of(equivalent_full_cycles=61.44))
    newer = passport_of(life, RuleBook({"fields": "2"}, [tmp_path]).fields(), made_ms=MADE_MS)
    older = record(life)
    assert (older.rules["fields"], older.facts["full_cycles"][0].value) == ("1", 61.44)
    assert (newer.rules["fields"], newer.facts["full_cycles"][0].value) == ("2", 61.0)
    assert older.facts.keys() - newer.facts.keys() == {"charges_dc"}


FIELDS_FILE = Path(__file__).parents[2] / "cloud/packbook/rules/fields-1.toml"

moments = st.none() | st.integers(1_700_000_000_000, 1_790_000_000_000)
percent = st.none() | st.floats(-10, 200)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Any mixture of what may and may not be known; the vehicle's name and number wherever a box may tell text."""
    head = battery_head(vehicle=draw(st.sampled_from([VIN, CAR])), first_ms=draw(moments), last_ms=draw(moments))
    points: Sequence[SohPoint] = [
        soh_point(
            at_ms=draw(moments),
            soh_pct=draw(percent),
            soh_reported_pct=draw(percent),
            soce_pct=draw(percent),
            basis=draw(st.sampled_from([None, "ocv", "bms-value"])),
            resistance_ohm=draw(st.none() | st.floats(0, 1)),
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    sessions: Sequence[SessionRow] = [
        session_row(start_ms=draw(moments), soc_end_pct=draw(percent), temp_mean_degc=draw(percent))
        for _ in range(draw(st.integers(0, 2)))
    ]
    kinds = ("cell_low", "pack_hot", "crash", "data_lost", "config_applied")
    events = [
        EventRow(draw(st.sampled_from(kinds)), draw(moments), draw(percent), None, VIN, Provenance(BOX, STORE, 3))
        for _ in range(draw(st.integers(0, 3)))
    ]
    usage = draw(st.none() | st.builds(usage_of, at_ms=moments, energy_in_wh=st.floats(0, 1e9)))
    if usage is not None:
        usage = replace(usage, events=dict.fromkeys(kinds, 2))
    return Life(head, points, usage, sessions, events, forecast_of(points, events))


declarations = st.lists(
    st.builds(
        Declared,
        st.sampled_from([name for name, rule in FIELDS.fields.items() if rule.declare]),
        st.none() | st.floats(-10, 1e6) | st.integers(-5, 10**6) | st.sampled_from(["original", "car", "2021-05", "x"]),
        st.just("Example Motors"),
        st.integers(1_700_000_000_000, 1_790_000_000_000),
        on=st.none() | st.just("2026-05-03"),
    ),
    max_size=6,
)


@settings(max_examples=40)
@given(lives(), declarations)
def test_no_record_tells_a_vehicle_or_a_time_of_day_and_units_are_the_fields(
    life: Life, told: Sequence[Declared]
) -> None:
    """Whatever boxes say: a passport names the battery, tells days, and speaks in the units of its fields."""
    passport = passport_of(life, FIELDS, told, made_ms=MADE_MS)
    assert VIN not in repr(passport)
    assert CAR not in repr(passport)
    times = [passport.made_ms, *(fact.at_ms for _, fact in every(passport))]
    if passport.coverage is not None:
        times += [passport.coverage.since_ms, passport.coverage.until_ms, *(g.at_ms for g in passport.coverage.gaps)]
    assert [ms for ms in times if ms is not None and ms % DAY_MS] == []
    assert [name for name, fact in every(passport) if fact.unit != FIELDS.fields[name].unit] == []
    assert [name for name, fact in every(passport) if fact.value is None and not fact.why] == []
    for name, fact in every(passport):
        assert fact.value is None or FIELDS.fields[name].objection(fact.value) is None
    for canonical in parts(passport, FIELDS).values():
        assert json.loads(canonical)["battery"] == passport.battery


def every(passport: Passport) -> Sequence[tuple[str, Fact]]:
    return [(name, fact) for name, facts in passport.facts.items() for fact in facts]


def test_a_record_of_a_disputed_history_says_so_and_tells_no_future() -> None:
    """Every figure may be another battery's: whoever gets the record gets the doubt, signed with the values."""
    doubts = tuple(Doubt("two_histories", "box-1", store, 1, 0, settled=False) for store in ("a", "b"))
    head = replace(battery_head(), doubts=doubts)
    passport = record(Life(head, (soh_point(),), prospect=Lacking.DISPUTED))
    assert passport.doubts == ("two_histories",)
    (ahead,) = passport.facts["forecast_soh_pct"]
    assert (ahead.value, ahead.why) == (None, "the history is in dispute")
    told = {part: json.loads(data) for part, data in parts(passport, FIELDS).items()}
    assert told[Part.VALUE]["doubts"] == ["two_histories"]
    assert "doubts" not in told[Part.IDENTITY]


def test_a_figure_tells_how_many_readings_are_behind_it() -> None:
    """Two charges and two hundred are not the same evidence."""
    (soh,) = record(Life(battery_head(), (soh_point(),))).facts["soh_capacity_pct"]
    given = [one.n for one in soh_point().estimates if one.capacity_ah is not None]
    assert soh.conditions.get("readings") == (float(sum(given)) if given else None)
