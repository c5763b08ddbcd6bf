"""Rule files are data with a version: they are read strictly, or refused by file, key and reason."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from packbook.adapters.rules import IN_FORCE, OWN_FOLDER, RuleBook, RulesError
from packbook.core.formats.gtr22 import Limits
from packbook.core.owed import Standing, due
from packbook.core.passport import Fact, Part, Passport, Source
from packbook.core.rules import FieldRule, Kind, Rhythm, Tier, Verdict

CATEGORIES = ("ev", "lmt", "stationary", "industrial")


def passport(category: str, *names: str, rules: RuleBook | None = None) -> Passport:
    fields = (rules or RuleBook()).fields().fields
    facts = {name: (Fact(1.0, fields[name].unit, None, Source.MEASURED, "box"),) for name in names}
    return Passport("BAT-1", category, 0, {}, facts, None)


def standings(category: str, *names: str, rules: RuleBook | None = None) -> dict[str, Standing]:
    book = rules or RuleBook()
    return {one.name: one.standing for one in due(passport(category, *names, rules=rules), book.owed(), book.fields())}


def changed(folder: Path, family: str, version: str, *changes: tuple[str, str]) -> RuleBook:
    """A book whose operator put another version of a rule file into his folder."""
    shipped = IN_FORCE[family]
    text = (OWN_FOLDER / f"{family}-{shipped}.toml").read_text()
    for old, new in ((f'version = "{shipped}"', f'version = "{version}"'), *changes):
        assert old in text
        text = text.replace(old, new, 1)
    (folder / f"{family}-{version}.toml").write_text(text)
    return RuleBook({family: version}, [folder])


def test_every_rule_file_that_ships_says_what_its_name_says() -> None:
    """A file under another's name would be in force without anybody choosing it."""
    for path in sorted(OWN_FOLDER.glob("*.toml")):
        told = tomllib.loads(path.read_text())
        assert path.name == f"{told['family']}-{told['version']}.toml"
    assert all((OWN_FOLDER / f"{family}-{version}.toml").is_file() for family, version in IN_FORCE.items())


def test_every_field_of_a_number_has_a_range_and_every_choice_its_words() -> None:
    """Without a range an absurd figure passes; without words any text does."""
    for name, rule in RuleBook().fields().fields.items():
        bounded = rule.low is not None and rule.high is not None and rule.low < rule.high
        assert bounded == (rule.kind in (Kind.NUMBER, Kind.WHOLE)), name
        assert bool(rule.one_of) == (rule.kind is Kind.CHOICE), name
        assert rule.part is Part.IDENTITY or rule.tier is Tier.INDIVIDUAL, name  # what is measured is point 4


@pytest.mark.parametrize(
    ("value", "fits"),
    [(12, True), (12.0, True), (12.5, False), (-1, False), (101, False), ("12", False), (True, False), (1e999, False)],
)
def test_a_whole_number_is_whole_and_in_range(value: float | str, fits: bool) -> None:
    """JSON and TOML let all of these through."""
    rule = FieldRule(Part.VALUE, "1", Kind.WHOLE, Tier.INDIVIDUAL, Rhythm.DYNAMIC, "t", "own", low=0, high=100)
    assert (rule.objection(value) is None) == fits


@pytest.mark.parametrize(
    ("kind", "text", "fits"),
    [
        (Kind.MONTH, "2021-05", True),
        (Kind.MONTH, "2021-13", False),
        (Kind.MONTH, "2021-05-01", False),
        (Kind.DAY, "2021-05-03", True),
        (Kind.DAY, "2021-02-30", False),
        (Kind.DAY, "20210503", False),
        (Kind.TEXT, " ", False),
        (Kind.TEXT, "a\x00b", False),
        (Kind.TEXT, "x" * 301, False),
    ],
)
def test_dates_and_texts_are_read_strictly(kind: Kind, text: str, fits: bool) -> None:
    """Official patterns are not anchored: what is wrong here would pass everywhere else."""
    rule = FieldRule(Part.IDENTITY, "1", kind, Tier.PUBLIC, Rhythm.ONCE, "t", "own")
    assert (rule.objection(text) is None) == fits


def test_an_unknown_version_is_named_with_those_that_are_known() -> None:
    """The operator mistyped it; the list is what he needs."""
    with pytest.raises(RulesError, match=r"rules owed: version 2031-01 is not known; known are: 2026-07"):
        RuleBook({"owed": "2031-01"}).owed()
    with pytest.raises(RulesError, match=r"rules taxes: no version is chosen; known are: none"):
        RuleBook().version("taxes")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("sample_least = 500", "sample_least = 500\nsample_most = 9", r"sample_most: there is no such key"),
        ("years = 5.0", "years = 5.0\nkmm = 3", r"points\.0\.kmm: there is no such key"),
        ("sample_least = 500", 'sample_least = "many"', r"sample_least: .*integer"),
        ("sample_least = 500", "", r"sample_least: .*"),
        ('family = "limits"', 'family = "access"', r"says it is access 2, not limits 2"),
        ("sample_least = 500", "sample_least = ", r"not TOML"),
    ],
)
def test_a_bad_rule_file_is_refused_by_file_key_and_reason(tmp_path: Path, old: str, new: str, why: str) -> None:
    """A misspelt key that passes in silence is a rule that is not in force."""
    book = changed(tmp_path, "limits", "2", (old, new))
    with pytest.raises(RulesError, match=rf"limits-2\.toml: {why}"):
        book.load("limits", Limits)


def test_an_operators_file_goes_before_ours(tmp_path: Path) -> None:
    """He may correct a shipped version without waiting for us."""
    shutil.copy(OWN_FOLDER / "limits-euro7.toml", tmp_path)
    file = tmp_path / "limits-euro7.toml"
    file.write_text(file.read_text().replace("car = 72.0", "car = 73.0"))
    book = RuleBook({"limits": "euro7"}, [tmp_path])
    assert [dict(point.least_pct) for point in book.load("limits", Limits).points] == [
        {"car": 80.0, "van": 75.0},
        {"car": 73.0, "van": 67.0},
    ]
    assert RuleBook().load("limits", Limits).points[1].least_pct == {"car": 70.0, "van": 65.0}


def test_each_category_owes_its_own_state_of_health() -> None:
    """An EV's is the state of certified energy and nothing else; a stationary battery's are five other values."""
    verdicts = {row.name: row.verdicts for row in RuleBook().owed().rows}
    certified, remaining = verdicts["state of certified energy"], verdicts["remaining capacity, as state of health"]
    assert [certified[c] for c in CATEGORIES] == [Verdict.MUST, *[Verdict.NOT_COVERED] * 3]
    assert [remaining[c] for c in CATEGORIES] == [
        Verdict.NOT_COVERED,
        Verdict.MUST,
        Verdict.MUST,
        Verdict.NOT_COVERED,
    ]


def test_what_is_owed_is_filled_missing_open_empty_or_too_much() -> None:
    """Four verdicts: a passport can also show what it must not."""
    threshold, cycles, state = "capacity threshold for exhaustion", "number of cycles", "state of certified energy"
    ev = standings("ev", "soce_reported_pct", "exhaustion_threshold_pct")
    assert (ev[state], ev[threshold], ev[cycles]) == (Standing.FILLED, Standing.FILLED, Standing.OPEN)
    assert ev["status"] is Standing.MISSING
    assert ev["energy throughput"] is Standing.EMPTY
    lmt = standings("lmt", "exhaustion_threshold_pct")
    assert (lmt[threshold], lmt["energy throughput"]) == (Standing.TOO_MUCH, Standing.MISSING)


def test_the_reason_for_a_missing_value_is_the_records_own() -> None:
    """'Missing' alone sends the reader looking for a fault in the wrong place."""
    book = RuleBook()
    none = Fact(None, "%", None, Source.MEASURED, "box", why="no charge of 20 % was seen")
    bare = Passport("BAT-1", "ev", 0, {}, {"capacity_fade_pct": (none,)}, None)
    why = {one.name: one.why for one in due(bare, book.owed(), book.fields())}
    assert why["capacity fade"] == "capacity_fade_pct: no charge of 20 % was seen"
    assert why["weight"] == "mass_kg: nobody declared it"
    assert why["state of charge"] == "soc_pct: no box has told it yet"


def test_another_version_of_what_is_owed_changes_the_verdict_not_the_code(tmp_path: Path) -> None:
    """The guidance was changed three weeks after it came out."""
    old = 'verdicts = { ev = "must", lmt = "must_not", stationary = "must_not", industrial = "must_not" }'
    newer = changed(tmp_path, "owed", "2026-08", (old, old.replace('lmt = "must_not"', 'lmt = "if_applicable"')))
    name = "capacity threshold for exhaustion"
    assert standings("lmt", "exhaustion_threshold_pct")[name] is Standing.TOO_MUCH
    assert standings("lmt", "exhaustion_threshold_pct", rules=newer)[name] is Standing.FILLED


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('fields = ["mass_kg"]', 'fields = ["mass_lb"]', r"weight: no field mass_lb \(fields 1\)"),
        (', industrial = "must" }', " }", r"battery identifier: verdicts are for ev, industrial, lmt, stationary"),
        ('ev = "must"', 'ev = "perhaps"', r"rows\.0\.verdicts\.ev: "),
    ],
)
def test_a_table_of_what_is_owed_must_fit_the_fields(tmp_path: Path, old: str, new: str, why: str) -> None:
    """A row that asks for a field that is not would be missing for ever."""
    with pytest.raises(RulesError, match=why):
        changed(tmp_path, "owed", "9", (old, new)).owed()
