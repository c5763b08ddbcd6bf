"""Who may see what: by the table, in every role, and never more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbook.adapters.rules import OWN_FOLDER, RuleBook
from packbook.app.access import BookExports, access_rules
from packbook.app.evidence import ExportError
from packbook.app.formats import FORMATS, make
from packbook.core.access import (
    COVERAGE,
    DAY_MS,
    NO_CONSENT,
    AccessError,
    AccessRules,
    AccessTable,
    Reader,
    Sight,
    access_table,
)
from packbook.core.passport import Fact, Passport, Source
from packbook.core.rules import Kind, Tier
from packbook.ports.trouble import PackbookError
from packbook.settings import Settings
from passport.reading import text_of
from passport.records import COVERAGE as WATCHED
from passport.records import rich

RULES = RuleBook()
FIELDS = RULES.fields().fields
TABLE = access_rules(RULES)
READERS = [Reader(*name.split("/")) for name in TABLE.grants]
NAMES = [reader.name for reader in READERS]
CARRIED = Path(__file__).with_name("access-formats.json")
GOLDEN = Path(__file__).with_name("access-1.json")


def full() -> Passport:
    """The rich record, and made-up facts for every field it lacks: nothing may slip through because it was missing."""
    facts = dict(rich().facts)
    for name, rule in FIELDS.items():
        if name not in facts:
            value = rule.one_of[0] if rule.one_of else f"{name} told" if rule.kind in (Kind.TEXT, Kind.COUNTRY) else 7.0
            facts[name] = (Fact(value, rule.unit, 1_790_000_000_000, Source.DECLARED, "somebody"),)
    return replace(rich(), facts=facts)


def seen_by(reader: Reader, passport: Passport, **more: Any) -> set[str]:
    cut = TABLE.redact(passport, reader, **more).passport
    return {*cut.facts, *({COVERAGE} if cut.coverage is not None else ())}


@pytest.mark.parametrize("reader", READERS, ids=NAMES)
def test_a_reader_gets_what_the_table_grants_and_no_more(reader: Reader) -> None:
    """The table is the law of this book: the cut is exactly it."""
    granted = TABLE.grants[reader.name].fields
    assert seen_by(reader, full()) == granted
    assert {name for name in TABLE.tiers if TABLE.may_see(reader, name)} == granted
    assert {one.field for one in TABLE.redact(full(), reader).withheld} == TABLE.tiers.keys() - granted


def test_who_may_see_what_is_written_down() -> None:
    """A change of the table, or of a field's tier, shows here as what it means for every reader."""
    now = {reader.name: " ".join(sorted(seen_by(reader, full()))) for reader in READERS}
    assert now == json.loads(GOLDEN.read_text())


def test_nothing_of_one_battery_is_public() -> None:
    """Annex XIII point 4 is for a legitimate interest alone, and does not name the authorities either."""
    for reader in (Reader("public"), Reader("authority"), Reader("commission")):
        assert {TABLE.tiers[name] for name in seen_by(reader, full())} <= {Tier.PUBLIC, Tier.INTEREST, Tier.AUTHORITY}
        assert TABLE.individual(reader) == frozenset()


@pytest.mark.parametrize(
    "reader",
    [Reader("nobody"), Reader("interest"), Reader("interest", "gossip"), Reader("owner", "repair"), Reader("OWNER")],
    ids=lambda reader: reader.name,
)
def test_who_is_not_in_the_table_sees_nothing(reader: Reader) -> None:
    """Default deny: also for a role spelled wrongly or with a purpose that is not its own."""
    assert seen_by(reader, full()) == set()
    assert not TABLE.may_see(reader, "model")


def test_what_names_a_battery_is_public() -> None:
    """Every record bears its battery's id and category, whatever else was cut: neither may be a secret."""
    assert {TABLE.tiers[name] for name in ("battery_id", "category", "identifiers")} == {Tier.PUBLIC}


def test_a_field_that_no_rule_knows_is_shown_to_nobody() -> None:
    """A field that a newer version brings must wait for its tier."""
    strange = replace(full(), facts={**full().facts, "driver_mood": full().facts["soc_pct"]})
    assert all("driver_mood" not in seen_by(reader, strange) for reader in READERS)


def test_a_narrowed_reader_sees_less_and_never_more() -> None:
    """A link may be cut down to some fields; naming a field does not grant it."""
    narrow = Reader("buyer", fields=frozenset({"soh_capacity_pct", "lithium_kg", "driver_mood"}))
    assert seen_by(narrow, full()) == {"soh_capacity_pct"}


@pytest.mark.parametrize("reader", READERS, ids=NAMES)
def test_without_the_owners_yes_only_he_sees_his_battery(reader: Reader) -> None:
    """Model data need no consent; what one battery lived through does."""
    tiers = {TABLE.tiers[name] for name in seen_by(reader, full(), no_consent="nobody decided")}
    assert (Tier.INDIVIDUAL in tiers) == (reader.role == "owner")
    why = TABLE.redact(full(), reader, no_consent="store abc agreed to nothing").why
    assert why == (NO_CONSENT if TABLE.individual(reader) and reader.role != "owner" else None)


@pytest.mark.parametrize("reader", READERS, ids=NAMES)
def test_what_is_withheld_does_not_tell_what_there_is(reader: Reader) -> None:
    """A list that grew by `accident` when there was one would tell it."""
    bare = replace(full(), facts={}, coverage=None)
    assert TABLE.redact(bare, reader).withheld == TABLE.redact(full(), reader).withheld


def test_conditions_do_not_carry_what_the_facts_must_not() -> None:
    """An odometer reading beside an allowed value is the odometer reading. How a value is meant stays."""
    resistance = replace(
        rich().facts["resistance_ohm"][0], conditions={"temp_degc": 25.0, "odometer_km": 81_234.4, "document": "D-1"}
    )
    cut = TABLE.redact(replace(rich(), facts={"resistance_ohm": (resistance,)}), Reader("interest", "remanufacture"))
    assert cut.passport.facts["resistance_ohm"][0].conditions == {"temp_degc": 25.0, "document": "D-1"}
    assert cut.passport.coverage is not None
    assert cut.passport.coverage.odometer_km is None


def test_who_sees_a_figure_sees_the_doubt_about_it() -> None:
    """And who sees none need not know that there is a dispute."""
    doubtful = replace(full(), doubts=("two_boxes",))
    for reader in READERS:
        doubts = TABLE.redact(doubtful, reader).passport.doubts
        assert doubts == (("two_boxes",) if TABLE.individual(reader) else ())


def test_model_data_do_not_name_the_box() -> None:
    """Its name leads to one car's records; who reads model data has no use for it."""
    measured = replace(rich().facts["soc_pct"][0], value=96, unit="1")
    record = replace(rich(), facts={"cells_in_series": (measured,)})
    (fact,) = TABLE.redact(record, Reader("public")).passport.facts["cells_in_series"]
    assert (fact.by, fact.evidence) == ("box", ())
    (kept,) = TABLE.redact(record, Reader("buyer")).passport.facts["cells_in_series"]
    assert (kept.by, kept.evidence) == (measured.by, measured.evidence)


# --- properties -----------------------------------------------------------------------------------------------------

moments = st.integers(min_value=1_500_000_000_000, max_value=1_900_000_000_000)


@st.composite
def records(draw: st.DrawFn) -> Passport:
    """Some fields of the full record, at any time of day."""
    whole = full().facts
    names = draw(st.sets(st.sampled_from(sorted(whole))))
    facts = {name: tuple(replace(fact, at_ms=draw(moments)) for fact in whole[name]) for name in sorted(names)}
    watched = replace(WATCHED, since_ms=draw(moments), until_ms=draw(moments))
    return replace(full(), facts=facts, coverage=draw(st.sampled_from([None, watched])))


@given(records(), st.sampled_from(READERS), st.booleans())
@settings(max_examples=60)
def test_no_cut_holds_a_forbidden_field_or_a_time_of_day(record: Passport, reader: Reader, agreed: bool) -> None:
    """The one promise everything that leaves rests on."""
    cut = TABLE.redact(record, reader, no_consent=None if agreed else "no")
    shown = cut.passport
    assert all(TABLE.may_see(reader, name) for name in shown.facts)
    times = [fact.at_ms for facts in shown.facts.values() for fact in facts]
    if shown.coverage is not None:
        assert TABLE.may_see(reader, COVERAGE)
        times += [shown.coverage.since_ms, shown.coverage.until_ms]
    assert all(at is None or at % DAY_MS == 0 for at in times)
    assert TABLE.redact(shown, reader, no_consent=None if agreed else "no").passport == shown


@given(records(), records(), st.sampled_from(READERS))
@settings(max_examples=60)
def test_what_a_reader_may_not_see_changes_nothing_that_he_sees(a: Passport, b: Passport, reader: Reader) -> None:
    """Two batteries that differ only in what is hidden give the same record, so any format of it is the same too."""
    visible = TABLE.grants[reader.name].fields
    mixed = {name: facts for name, facts in b.facts.items() if name not in visible}
    mixed |= {name: facts for name, facts in a.facts.items() if name in visible}
    ordered = {name: mixed[name] for name in sorted(mixed)}
    other = replace(a, facts=ordered, coverage=a.coverage if COVERAGE in visible else b.coverage)
    assert TABLE.redact(a, reader) == TABLE.redact(other, reader)


# --- every format ---------------------------------------------------------------------------------------------------


def marked() -> Passport:
    """Each individual number of the full record is one that occurs nowhere else, so its digits give it away."""
    facts = {}
    for number, (name, found) in enumerate(sorted(full().facts.items())):
        rule = FIELDS[name]
        if rule.kind in (Kind.NUMBER, Kind.WHOLE) and rule.tier is Tier.INDIVIDUAL:
            high = rule.high if rule.high is not None else 1e9
            value: float | int = min(high, 61.0) + number * 0.0137 if high < 1e4 else 70_117 + 13 * number
            value = round(value, 4) if rule.kind is Kind.NUMBER else int(value)
            facts[name] = (replace(found[0], value=value, sigma=None, lo90=None, hi90=None, conditions={}),)
        elif rule.kind is Kind.TEXT and rule.tier is Tier.INDIVIDUAL:
            facts[name] = (replace(found[0], value=f"secret-of-{name.replace('_', '-')}", conditions={}),)
        else:
            facts[name] = tuple(replace(fact, conditions={}) for fact in found)
    return replace(full(), facts=facts)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> BookExports:
    folder = tmp_path_factory.mktemp("book")
    return BookExports(Settings(database_url=f"sqlite:///{folder / 'book.db'}"), RULES)


@pytest.mark.parametrize("name", FORMATS)
async def test_no_format_holds_what_its_reader_may_not_see(name: str, exports: BookExports) -> None:
    """Whatever shape: the values of withheld fields are not among the bytes. Cutting comes before making."""
    record = marked()
    for reader in READERS:
        cut = TABLE.redact(record, reader)
        try:
            data = await exports.make(name, cut.passport)
        except PackbookError:
            continue  # the format says that it cannot be made of so little
        text = text_of(name, data)
        for withheld in cut.withheld:
            for fact in record.facts.get(withheld.field, ()):
                if isinstance(fact.value, str) and fact.value.startswith("secret"):
                    assert fact.value not in text, (reader.name, withheld.field)
                if isinstance(fact.value, int | float) and withheld.tier is Tier.INDIVIDUAL:
                    assert f"{fact.value}" not in text, (reader.name, withheld.field)


async def carried(name: str, reader: Reader, exports: BookExports) -> str | None:
    """Which fields of the rich record a format holds for a reader, by its own list of what it leaves out."""
    cut = TABLE.redact(rich(), reader).passport
    try:
        made = await make(name, cut, RULES, exports.settings)
    except ExportError:
        return None
    return " ".join(sorted(cut.facts.keys() - {left.name for left in made.left_out}))


@pytest.mark.parametrize("name", FORMATS)
async def test_a_format_holds_for_each_reader_what_it_may(name: str, exports: BookExports) -> None:
    """Role by role and format by format; the written list makes a change of either visible."""
    now = {reader.name: await carried(name, reader, exports) for reader in READERS}
    for reader in READERS:
        assert set((now[reader.name] or "").split()) <= TABLE.grants[reader.name].fields
    written = json.loads(CARRIED.read_text())
    if name not in written:
        pytest.skip(f"{name} is newer than {CARRIED.name}: write down there what it holds")
    assert now == written[name]


# --- the file -------------------------------------------------------------------------------------------------------


def rules(**changes: Any) -> AccessRules:
    ours = RULES.load("access", AccessRules)
    return replace(ours, **changes)


def table(given: AccessRules) -> AccessTable:
    return access_table(given, {name: rule.tier for name, rule in FIELDS.items()})


@pytest.mark.parametrize(
    ("roles", "reason"),
    [
        ({"buyer": Sight(tiers=("secret",))}, "roles.buyer.tiers: there is no tier 'secret'"),
        ({"buyer": Sight(groups=("helth",))}, "roles.buyer.groups: there is no group 'helth'"),
        ({"buyer": Sight(fields=("soh",))}, "roles.buyer.fields: there is no field 'soh'"),
        ({"buyer": Sight(history=True, by_link=True)}, "roles.buyer: history does not go with by_link"),
        ({"public": Sight(fields=("soc_pct",))}, "roles.public: soc_pct is of the tier individual"),
        ({"public": Sight(groups=("health",))}, "roles.public: .* is of the tier individual"),
        ({"public": Sight(fields=(COVERAGE,))}, "roles.public: coverage is of the tier individual"),
        ({"public": Sight(history=True)}, "roles.public: history is of one battery"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(roles: dict[str, Sight], reason: str) -> None:
    """A typing error in who may see what must end the start, with the place in the file."""
    with pytest.raises(AccessError, match=reason):
        table(rules(roles={**rules().roles, **roles}))


def test_a_table_without_a_role_that_the_program_asks_as_is_refused() -> None:
    """Else the owner would find an empty page, and nobody would know why."""
    with pytest.raises(AccessError, match=r"roles\.owner: is missing"):
        table(rules(roles={name: sight for name, sight in rules().roles.items() if name != "owner"}))


def test_an_operators_own_table_takes_the_place_of_ours(tmp_path: Path) -> None:
    """Who has a legitimate interest is open in law: the table is data, its name is in every record cut by it."""
    ours = (OWN_FOLDER / "access-1.toml").read_text()
    own = ours.replace('version = "1"', 'version = "own"').replace('groups = ["harm", "holders"]', "groups = []")
    (tmp_path / "access-own.toml").write_text(own)
    changed = access_rules(RuleBook({"access": "own"}, [tmp_path]))
    assert TABLE.may_see(Reader("interest", "recycling"), "accident")
    assert not changed.may_see(Reader("interest", "recycling"), "accident")
    assert changed.redact(rich(), Reader("buyer")).passport.rules["access"] == "own"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('tiers = ["public"]', 'tires = ["public"]', "tires"),
        ("by_link = true", 'by_link = "yes, please"', "by_link"),
        ('groups = ["harm", "holders"]', 'groups = ["harmm"]', "interest.recycling.groups: there is no group 'harmm'"),
        ("[roles.owner]", "[roles.owner", "TOML"),
    ],
)
def test_a_bad_file_is_named_with_field_and_reason(tmp_path: Path, old: str, new: str, reason: str) -> None:
    """Whoever writes his own file must find his mistake in the first line of the error."""
    ours = (OWN_FOLDER / "access-1.toml").read_text()
    (tmp_path / "access-own.toml").write_text(ours.replace('version = "1"', 'version = "own"').replace(old, new))
    with pytest.raises(PackbookError, match=r"access-own\.toml") as caught:
        access_rules(RuleBook({"access": "own"}, [tmp_path]))
    assert reason in str(caught.value)
