"""The condition sheet: what stands on it, in both languages, the same each time, and never too much."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbook.__main__ import main
from packbook.adapters.rules import RuleBook
from packbook.adapters.signing_key import read_or_make_key
from packbook.app.access import access_rules
from packbook.app.export_neutral import signed
from packbook.app.export_sheet import fonts, link_of
from packbook.core.access import Reader
from packbook.core.formats import Made, sheet
from packbook.core.formats.sheet import Link
from packbook.core.formats.sheet.code import code_of, code_of_parts
from packbook.core.formats.sheet.pen import Style, setting
from packbook.core.passport import Fact, Passport
from packbook.ports.passports import Manner
from packbook.settings import Settings
from packbook.web.words import ALL_WORDS, LANGUAGES
from passport.random_records import passports
from passport.records import COVERAGE, LAST_MS, day_ms, declared, having, measured, poor, reported, rich, without

LINK = Link("https://book.example.com/s/4hVnq8m0dJ2xq7tQyGkzW9sB1uPcR5oL3aEf6iHj0kM", shared=True)
YEAR_LATER = day_ms("2027-11-02")
SURE = {"state": "ok", "basis": "ocv", "reference_ah": 176.4, "reference_source": "data sheet 62A", "readings": 58.0}


def ahead(pct: float, low: float, high: float, months: float) -> Fact:
    return measured(pct, "%", method="forecast/2", lo90=low, hi90=high, conditions={"months": months})


def promise(pct: float, years: float, probability: float, **more: str) -> Fact:
    terms = {"threshold_pct": pct, "years": years, "km": 20_000.0 * years, "probability": probability, **more}
    return measured("not offered" if "failed" in more else "offered", "1", conditions=terms)


def told() -> Passport:
    """The rich record with all that a sheet can tell."""
    record = rich()
    soh = replace(record.facts["soh_capacity_pct"][0], conditions=SURE)
    foreign = replace(
        record.facts["soh_declared_pct"][0],
        by="Example Garage",
        conditions={"ours_pct": 89.2, "difference_pct": -1.7, "agrees": "yes"},
    )
    facts = {
        **record.facts,
        "soh_capacity_pct": (soh,),
        "soh_declared_pct": (foreign,),
        "charges_ac": (measured(1204, "1"), reported(1311, "1")),
        "charges_dc": (measured(83, "1"), reported(96, "1")),
        "forecast_soh_pct": (ahead(86.9, 84.1, 89.4, 12), ahead(85.3, 81.2, 88.9, 24), ahead(83.6, 78.1, 88.2, 36)),
        "guarantee": (promise(80, 1.0, 0.9994), promise(80, 3.0, 0.81, failed="probability, margin")),
        "next_use": (measured("small_mobility", "1", conditions={"refused": "car: low, short", "not_known": "knee"}),),
        "self_discharge_pct_per_month": (measured(None, "%/month", why="idle_temp_max_degc is not declared"),),
    }
    return replace(record, facts=facts, rules={"fields": "1", "access": "1"})


def made(passport: Passport, language: str = "en", link: Link | None = LINK) -> Made:
    return sheet.make(passport, ALL_WORDS[language], fonts(), link)


def bare(words: str) -> str:
    """Without what line breaks and justified spaces do to it."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", words))


def pages(data: bytes) -> list[str]:
    """Text of each page."""
    document = pypdfium2.PdfDocument(data)
    try:
        found = [page.get_textpage().get_text_bounded() for page in document]
    finally:
        document.close()
    return [bare(words) for words in found]


def text(data: bytes) -> str:
    return "".join(pages(data))


def holds(data: bytes, *wanted: str) -> list[str]:
    """Which of them the sheet does not hold."""
    found = text(data)
    return [words for words in wanted if bare(words) not in found]


@cache
def page_of(language: str) -> bytes:
    return made(told(), language).data


NUMBERS = (
    *("88.5 % ± 2.0", "kalman/3", "58", "176.4 Ah", "156.0 Ah", "data sheet 62A", "NMC"),  # the figure, its method
    *("90 %", "87.0 %", "89 %", "87.5 %", "+1.7", "−1.7"),  # what others say, and how far off
    *("40,120 km", "49 %", "1,170"),  # how much was seen
    *("412.7", "49,812.4 kWh", "24,120.9 kWh", "145,604.2 Ah", "14 mV", "93 mΩ", "DOC-2024-0815"),
    *("5.1", "8.1", "58,300 km", "99 %", "81 %", "box-7", "62A-000417", code_of(told())),
)
LOCAL = {
    "en": (
        *("31 Oct 2026", "1 Apr 2023", "14 Mar 2020", "Feb 2020", "86.5 to 90.5 %", "resting cell voltage"),
        *("1,204 AC, 83 DC", "1,311 AC, 96 DC", "Battery too hot", "3 times", "NOT OFFERED", "probability; margin"),
        *("Small vehicles", "health may already be too low", "sudden fading", "Page 1 of 1"),
        'Self-discharge: "Idle temperature to" is not declared',
    ),
    "ja": (
        *("2026年10月31日", "2023年4月1日", "2020年3月14日", "2020年2月", "86.5～90.5 %", "休止中のセル電圧"),
        *("普通 1,204 回、急速 83 回", "普通 1,311 回、急速 96 回", "電池の過熱", "3 回", "不可", "確率、余裕"),
        *("小型モビリティ", "健全度がすでに足りない", "急な劣化", "1 ページ中 1 ページ"),
        "自己放電：「保管温度の上限」が申告されていないため",
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sheet_holds_what_a_buyer_asks_for(language: str) -> None:
    """On one page, in his language, with dates and units as he writes them."""
    assert holds(page_of(language), *NUMBERS, *LOCAL[language]) == []
    assert len(pages(page_of(language))) == 1


def test_nothing_is_half_translated() -> None:
    """No key shows through, no gap is left unfilled, and no English sentence stands on a Japanese sheet."""
    for language in LANGUAGES:
        found = text(page_of(language))
        assert "{" not in found
        assert [key for key in ALL_WORDS["en"].messages if key.startswith("sheet") and key in found] == []
    english = [bare(words) for words in ALL_WORDS["en"].messages.values() if "{" not in words]
    japanese = text(page_of("ja"))
    assert [words for words in english if len(words) > 12 and words in japanese] == []


def test_the_same_history_gives_the_same_bytes() -> None:
    """Whoever prints it again, a year later too, can lay one sheet on the other."""
    age = declared(7.7, "year", at_ms=YEAR_LATER)
    later = replace(told(), made_ms=YEAR_LATER, facts={**told().facts, "age_years": (age,)})
    assert made(later).data == page_of("en")
    assert made(having(told(), cell_spread_mv=measured(15.0, "mV"))).data != page_of("en")


def test_the_sheet_bears_the_day_of_its_data() -> None:
    """Not of printing, nor of what somebody declared since: that would make old data look new."""
    declared_since = having(told(), status=declared("re-used", at_ms=YEAR_LATER))
    assert holds(made(declared_since).data, "31 Oct 2026", "re-used") == []
    assert "2027" not in text(made(declared_since).data)
    document = pypdfium2.PdfDocument(page_of("en"))
    assert document.get_metadata_value("CreationDate") == "D:20261031000000Z"
    assert document.get_metadata_value("Title") == "Battery condition sheet 62A-000417"
    document.close()


# --- never a clean number where there is doubt ----------------------------------------------------------------------


def in_state(state: str) -> Passport:
    soh = replace(told().facts["soh_capacity_pct"][0], conditions={**SURE, "state": state})
    return having(told(), soh_capacity_pct=soh)


@pytest.mark.parametrize(
    ("state", "language"), [("learning", "en"), ("stale", "ja"), ("inconsistent", "en"), ("replaced", "ja")]
)
def test_a_figure_with_a_catch_says_so_first(state: str, language: str) -> None:
    """Black on white is read as fact: what limits it stands above it, in white on black."""
    t, data = ALL_WORDS[language], made(in_state(state), language).data
    assert holds(data, t(f"sheet_alarm.{state}"), t(f"sheet_alarm_text.{state}"), "88.5 % ± 2.0") == []
    first = pages(data)[0]
    assert first.index(bare(t(f"sheet_alarm.{state}"))) < first.index("88.5%±2.0")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_disputed_history_gets_no_figure_no_forecast_and_no_promise(language: str) -> None:
    """Two histories claim to be this battery's: a number on paper would be taken for the right one's."""
    t, data = ALL_WORDS[language], made(replace(told(), doubts=("two_histories",)), language).data
    assert holds(data, t("sheet_alarm.disputed"), t("sheet_doubt.two_histories"), t("sheet.no_figure")) == []
    gone = ["88.5", "86.5", "156.0", "87.0", "+1.7", "−1.7", "58,300", "99%", "81%"]
    assert [words for words in gone if words in text(data)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_half_a_history_says_what_it_lacks(language: str) -> None:
    """No state of health yet: the box's reason stands there, no zero and no dash without a word."""
    t, data = ALL_WORDS[language], made(poor(), language).data
    wanted = (t("sheet_alarm.none"), "2 of 10 segments seen", t("sheet.no_forecast"), t("sheet.no_guarantee"))
    assert holds(data, *wanted, t("sheet.events_unknown"), t("sheet.no_stress"), "1.9") == []


def test_an_empty_record_says_that_it_is_empty() -> None:
    """A battery nobody watched yet, or a reader of model data alone."""
    empty = Passport("B-1", "ev", LAST_MS, {"fields": "1"}, {}, None)
    for language in LANGUAGES:
        t = ALL_WORDS[language]
        assert holds(made(empty, language).data, t("sheet_alarm.empty"), t("sheet.no_coverage"), "B-1") == []


def test_a_figure_without_its_interval_is_not_shown() -> None:
    """88.4 without ± could mean anything."""
    without_it = replace(told().facts["soh_capacity_pct"][0], lo90=None, hi90=None)
    data = made(having(told(), soh_capacity_pct=without_it)).data
    assert holds(data, ALL_WORDS["en"]("sheet_alarm.unsure")) == []
    assert "88.4" not in text(data)


def test_no_other_events_are_claimed_where_nobody_counted() -> None:
    """That none is in the record is no news that none happened, unless somebody counted."""
    t = ALL_WORDS["en"]
    hidden = without(told(), "negative_event", "deep_discharge_count", "overcharge_count")
    assert holds(made(hidden).data, t("sheet.events_unknown")) == []
    assert holds(made(without(told(), "negative_event")).data, t("sheet.no_events")) == []


def test_the_newest_diagnoses_are_told() -> None:
    """A workshop's finding of last month counts more than the one of three years ago."""
    found = [
        declared(80.0 + n, "%", at_ms=day_ms(f"202{n}-05-03"), by=f"Garage {n}", method="OBD") for n in range(1, 6)
    ]
    data = made(replace(told(), facts={**told().facts, "soh_declared_pct": tuple(found)})).data
    assert holds(data, "Garage 5", "Garage 4", "Garage 3") == []
    assert "Garage2" not in text(data)


# --- only what the reader may see -----------------------------------------------------------------------------------

RULES = RuleBook()
TABLE = access_rules(RULES)


@pytest.mark.parametrize("name", ["buyer", "public", "interest/recycling", "interest/energy_services", "authority"])
def test_the_sheet_of_a_cut_record_holds_nothing_that_was_cut(name: str) -> None:
    """Numbers that occur once in the record, and are not his to see, are not on his sheet."""
    reader = Reader(*name.split("/"))
    cut = TABLE.redact(told(), reader).passport
    found = text(made(cut).data)
    marks = {
        "soh_reported_pct": "+1.7",
        "full_cycles": "412.7",
        "energy_throughput_kwh": "49,812.4",
        "charges_ac": "1,204",
        "odometer_km": "81,234",
        "cell_spread_mv": "14mV",
        "accident": "DOC-2024-0815",
        "coverage": "40,120",
        "guarantee": "81%",
        "km_to_80_pct": "58,300",
        "soh_declared_pct": "ExampleGarage",
        "resistance_ohm": "93mΩ",
    }
    shown = {field for field, mark in marks.items() if mark in found}
    assert shown == {field for field in marks if TABLE.may_see(reader, field)} - needs_ours(reader)


def needs_ours(reader: Reader) -> set[str]:
    """The difference of the car's figure to ours shows only where both may be seen."""
    both = all(TABLE.may_see(reader, field) for field in ("soh_capacity_pct", "soh_reported_pct"))
    return set() if both else {"soh_reported_pct"}


def test_what_finds_no_place_is_listed() -> None:
    """Like every format, the sheet gives an account of what it left out."""
    left = {one.name for one in made(told()).left_out}
    assert {"mass_kg", "evidence", "soc_pct (measured, box-7)"} <= left
    assert not left & {"soh_capacity_pct", "guarantee", "negative_event", "soc_temp_time_s", "coverage"}


# --- type -----------------------------------------------------------------------------------------------------------


def test_a_character_without_a_glyph_becomes_a_geta_and_is_told() -> None:
    """An empty box looks like a broken printer; the mark that printers use says that a character is missing."""
    odd = having(told(), manufacturer=declared("한국 Cells 🔋 K.K."))
    done = made(odd)
    assert holds(done.data, "〓〓 Cells 〓 K.K.") == []
    assert [one.reason for one in done.left_out if "font" in one.name] == ["set as 〓: 국한🔋"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_of_the_catalogue_has_its_glyphs(language: str) -> None:
    """No tofu, whatever a record holds."""
    with setting(fonts()) as type_:
        for message in ALL_WORDS[language].messages.values():
            type_.clean(message)
        assert type_.missing == set()


LONG = "Vereinigte Nordwestdeutsche Traktionsbatterie- und Energiespeicherherstellungsgesellschaft mbH & Co. KG " * 8


@pytest.mark.parametrize("language", LANGUAGES)
def test_long_names_wrap_and_never_leave_the_page(language: str) -> None:
    """Whatever a declarer writes, two pages hold it and nothing runs over the edge."""
    facts = {name: tuple(replace(f, by=LONG, method=LONG[:200]) for f in some) for name, some in told().facts.items()}
    events = tuple(measured(f"kind{n} " + "x" * 300, "1", conditions={"count": 7.0}) for n in range(40))
    whys = {f"made_up_{n}": (measured(None, "1", why=f"{n} " + LONG),) for n in range(40)}
    accidents = tuple(declared(f"D{n} {LONG}") for n in range(9))
    facts |= {"manufacturer": (declared(LONG),), "model": (declared("あ" * 400),), "negative_event": events, **whys}
    facts |= {"accident": accidents, "identifiers": tuple(declared(f"x:{'9' * 250}{n}") for n in range(9))}
    data = made(replace(told(), battery="B" * 120, facts=facts), language).data
    document = pypdfium2.PdfDocument(data)
    assert len(document) == 2
    for page in document:
        width, height = page.get_size()
        for left, bottom, right, top in boxes(page):
            assert left >= 28.0
            assert right <= width - 28.0
            assert bottom >= 22.0
            assert top <= height - 22.0
    document.close()


def boxes(page: pypdfium2.PdfPage) -> Iterator[tuple[float, float, float, float]]:
    words = page.get_textpage()
    for number in range(words.count_rects()):
        yield words.get_rect(number)


@given(st.text(max_size=120), st.floats(min_value=8.0, max_value=200.0))
@settings(max_examples=40)
def test_a_broken_line_loses_nothing(words: str, width: float) -> None:
    """Lines put together again are the text, and none but a single character is wider than its column."""
    style = Style()
    with setting(fonts()) as type_:
        lines = type_.lines(words, style, width)
        assert "".join(lines).replace(" ", "") == type_.clean(words).replace(" ", "")
        assert all(type_.width(line, style) <= width + 1e-6 for line in lines if len(line) > 2)


def test_dates_and_units_stay_on_one_line() -> None:
    """「2020年3月14」 and a lonely 「日」, or 36,000 above km, read as two things."""
    with setting(fonts()) as type_:
        assert type_.lines("使用開始日 2020年3月14日", Style(), 60.0)[-1] == "2020年3月14日"
        assert type_.lines("after 36,000 km", Style(), 45.0)[-1] == "36,000\u00a0km"
        assert all(line[0] not in "、。" for line in type_.lines("健全度、見通し、保証。" * 5, Style(), 41.0))


# --- the code -------------------------------------------------------------------------------------------------------


def neutral_file(tmp_path: Path, passport: Passport) -> Path:
    file = tmp_path / "record.json"
    file.write_bytes(signed(passport, RULES, read_or_make_key(tmp_path / "key.pem")).data)
    return file


def test_the_code_is_that_of_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A buyer with the paper and the record needs nobody's word that they belong together."""
    file = neutral_file(tmp_path, replace(told(), doubts=("two_boxes",)))
    code = code_of(replace(told(), doubts=("two_boxes",)))
    assert re.fullmatch(r"([0-9A-F]{4} ){3}[0-9A-F]{4}", code)
    assert main(["verify-sheet", code.lower(), str(file)]) == 0
    assert capsys.readouterr().out.count("signed by") == 2
    assert main(["verify-sheet", code_of(told()), str(file)]) == 1
    assert "NOT the code" in capsys.readouterr().out


def test_a_changed_record_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One digit of a forger changes the code, and breaks the signature."""
    file = neutral_file(tmp_path, told())
    file.write_text(file.read_text().replace("88.42", "98.42"))
    assert main(["verify-sheet", code_of(told()), str(file)]) == 1
    out = capsys.readouterr().out
    assert "NOT the code" in out
    assert "value     NOT signed" in out


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"form": "packbook-passport/1"}', '{"form": "other"}'])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    """Another file is wrong usage, not a forged sheet."""
    (tmp_path / "x.json").write_text(content)
    assert main(["verify-sheet", "0" * 16, str(tmp_path / "x.json")]) == 2


def test_the_code_does_not_follow_the_calendar() -> None:
    """What was not seen cannot change it; what was seen must."""
    older = replace(told(), facts={**told().facts, "age_years": (measured(9.9, "year"),)}, made_ms=YEAR_LATER)
    assert code_of(older) == code_of(told())
    assert code_of(replace(told(), coverage=replace(COVERAGE, observed_km=1.0))) != code_of(told())
    assert code_of_parts(json.loads('{"value": {"battery": "B", "facts": {}}}')) != code_of(told())


# --- where the QR code leads ----------------------------------------------------------------------------------------


def test_the_qr_code_leads_back_to_the_page_or_to_what_everybody_may_see() -> None:
    """Without a public address there is none: a code that leads nowhere is worse."""
    book = Settings(public_url="https://book.example.com/b")
    assert link_of(book, told(), Manner(page="/s/TOKEN")) == Link("https://book.example.com/b/s/TOKEN", shared=True)
    assert link_of(book, told(), Manner()) == Link("https://book.example.com/b/id/62A-000417", shared=False)
    assert link_of(Settings(), told(), Manner(page="https://x.example/s/T")) == Link(
        "https://x.example/s/T", shared=True
    )
    assert link_of(Settings(), told(), Manner(page="/s/TOKEN")) is None
    assert holds(made(told(), link=None).data, ALL_WORDS["en"]("sheet.no_link")) == []


def canonical(record: Passport) -> bool:
    """A record that reached a format has no infinite number and no whole one beyond JCS: its fields forbid them."""
    numbers = (fact.value for facts in record.facts.values() for fact in facts if isinstance(fact.value, int | float))
    return all(math.isfinite(number) and abs(number) < 2**53 for number in numbers)


@given(passports().filter(canonical), st.sampled_from(LANGUAGES))
@settings(max_examples=6, deadline=None)
def test_a_sheet_can_be_made_of_whatever_a_record_holds(record: Passport, language: str) -> None:
    """Half-known batteries are the usual ones: nothing a record may lack or hold stops the sheet."""
    done = made(record, language)
    assert len(pages(done.data)) <= 2
    assert made(record, language).data == done.data
