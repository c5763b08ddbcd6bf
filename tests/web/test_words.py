"""Both languages say everything, and nothing is said that nobody shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from packbook.core.words import ABSENT
from packbook.web import figures, headline
from packbook.web.words import ALL_WORDS, LANGUAGES, choose_language
from packwire.messages import ChargeKind, EventKind, SohState

BOOK = Path("cloud/packbook")
SPEAKERS = ("web/**/*.html", "web/**/*.py", "core/word*.py", "core/formats/sheet/*.py")
NAMES = {"(OpenAPI)", "CSV", "PDF", "JSON"}  # the same in every language
LITERAL = re.compile(r"""(?P<f>f?)(?P<quote>["'])(?P<text>.*?)(?P=quote)""")


def asked_for(root: Path) -> Iterator[str]:
    """A pattern for each key that code or templates ask for; parts only known at run time match anything."""
    for path in sorted(found for pattern in SPEAKERS for found in (root / BOOK).glob(pattern)):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"\b(?:t|self)(\.count|\.or_raw|\.messages\.get)?\(", text):
            pattern = key_pattern(text[match.end() :].lstrip())
            if pattern is None or pattern.startswith(".+"):  # would match everything and prove nothing
                continue
            if match[1] == ".count":
                pattern += r"\.(?:one|other)"
            elif match[1] == ".or_raw":
                pattern += r"\..+"
            yield pattern


def key_pattern(argument: str) -> str | None:
    """`"a." ~ x ~ ".b"` and f"a.{x}.b" both become a\\..+\\.b; None if there is no text in it."""
    pattern, rest = "", argument
    while True:
        literal = LITERAL.match(rest)
        if literal:
            pieces = re.split(r"\{[^}]*\}", literal["text"]) if literal["f"] else [literal["text"]]
            pattern += ".+".join(re.escape(piece) for piece in pieces)
            rest = rest[literal.end() :].lstrip()
        else:
            name = re.match(r"[\w.\[\]]+\s*", rest)
            if not name or not (pattern or rest[name.end() :].startswith("~")):
                return None
            pattern += ".+"
            rest = rest[name.end() :]
        if not rest.startswith("~"):
            return pattern
        rest = rest[1:].lstrip()


def test_both_languages_have_the_same_keys() -> None:
    """A page that is half English is worse than one that is all English. Plural forms are each language's own."""
    assert _without_plurals("en") == _without_plurals("ja")


def _without_plurals(language: str) -> set[str]:
    return {key for key in ALL_WORDS[language].messages if not key.endswith(".one")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_plural_form_of_a_language_is_there(language: str) -> None:
    """English has two, Japanese one; which, CLDR says. Others would never be read."""
    counted = {key.removesuffix(".one") for key in ALL_WORDS["en"].messages if key.endswith(".one")}
    forms = {*ALL_WORDS[language].locale.plural_form.tags, "other"}
    there = {key for key in ALL_WORDS[language].messages if key.rpartition(".")[0] in counted}
    assert there == {f"{key}.{form}" for key in counted for form in forms}


def test_templates_hold_no_words_of_their_own(root: Path) -> None:
    """What stands in a template instead of a catalogue is English for everybody."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / BOOK / "web/templates").rglob("*.html")):
        text = re.sub(
            r"\{% block (?:main_class|brand_link|body_attributes) %\}.*?\{% endblock %\}", " ", path.read_text()
        )
        text = re.sub(r"\{#.*?#\}|\{%.*?%\}|<(script|code|pre|svg)\b.*?</\1>", " ", text, flags=re.DOTALL)
        text = re.sub(r"\{\{.*?\}\}", " ", text, flags=re.DOTALL)
        said = re.findall(r'\b(?:aria-label|title|alt|placeholder)="([^"]*)"', text)
        said += re.sub(r"<[^>]*>", "\n", text).splitlines()
        own = [line.strip() for line in said if re.search(r"[^\W\d_]{2,}", line) and line.strip() not in NAMES]
        if own:
            found[path.name] = own
    assert found == {}


def test_both_languages_fill_in_the_same_values() -> None:
    """A figure that one language forgets to show is a figure its readers never see."""
    names = re.compile(r"\{(\w+)\}")
    months = {"month", "month_name"}  # English names the month, Japanese numbers it
    for key, english in ALL_WORDS["en"].messages.items():
        messages = ALL_WORDS["ja"].messages
        japanese = messages.get(key) or messages[f"{key.removesuffix('.one')}.other"]
        assert set(names.findall(english)) - months == set(names.findall(japanese)) - months, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_message_is_empty(language: str) -> None:
    """An empty message is a hole in the page."""
    assert [key for key, message in ALL_WORDS[language].messages.items() if not message] == []


def test_every_key_asked_for_exists(root: Path) -> None:
    """A missing key is a page that answers 500."""
    keys = ALL_WORDS["en"].messages
    assert [p for p in asked_for(root) if not any(re.fullmatch(p, key) for key in keys)] == []


def test_no_key_is_left_unused(root: Path) -> None:
    """Dead words cost translators their time."""
    patterns = [re.compile(pattern) for pattern in asked_for(root)]
    assert [k for k in ALL_WORDS["en"].messages if not any(p.fullmatch(k) for p in patterns)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_the_wire_can_say_has_a_word(language: str) -> None:
    """States and events come from the box; each must be a word, not a code."""
    keys = ALL_WORDS[language].messages.keys()
    for state in SohState:
        assert {f"state.{state}.name", f"state.{state}.text"} <= keys
        assert state is SohState.OK or f"state.{state}.help" in keys
    assert {f"event.{event}" for event in EventKind} <= keys
    assert {f"event_meaning.{event}" for event in figures.HARMFUL_EVENTS} <= keys
    assert {f"charge_kind.{kind}" for kind in ChargeKind} <= keys
    assert set(headline.STATES) == {str(state) for state in SohState}


@pytest.mark.parametrize(
    ("asked", "remembered", "accepted", "chosen"),
    [
        (None, None, None, "en"),
        (None, None, "ja-JP,ja;q=0.9,en;q=0.5", "ja"),
        (None, None, "de, en;q=0.2, ja;q=0.7", "ja"),
        (None, None, "ja;q=0, fr", "en"),
        (None, None, "ja;q=much,,;;", "en"),
        (None, "ja", "en", "ja"),
        ("en", "ja", "ja", "en"),
        ("tlh", "<script>", "ja", "ja"),
    ],
)
def test_the_language_is_the_one_asked_for(
    asked: str | None, remembered: str | None, accepted: str | None, chosen: str
) -> None:
    """A choice made by hand holds against what the browser prefers; nonsense changes nothing."""
    assert choose_language(asked, remembered, accepted) == chosen


def test_numbers_read_as_people_write_them() -> None:
    """Unknown is a dash, never a zero; minus is a minus sign; there is no minus zero."""
    t = ALL_WORDS["en"]
    assert t.number(None, 1, "kWh") == ABSENT
    assert t.number(-1234.56, 1, "A") == "−1,234.6 A"
    assert t.number(-0.04, 1) == "0.0"


def test_spans_use_their_two_largest_units() -> None:
    """Nobody thinks in 86,400 seconds."""
    t = ALL_WORDS["en"]
    spans = [
        t.span(s).replace("\N{NO-BREAK SPACE}", " ")
        for s in (None, 12.0, 300.0, 4980.0, 86_400.0, 5 * 86_400.0 + 7200.0)
    ]
    assert spans == [ABSENT, "12 secs", "5 mins", "1 hr 23 mins", "24 hrs", "5 days 2 hrs"]
    assert ALL_WORDS["ja"].span(4980.0) == "1時間23分"


def test_unknown_dates_say_so() -> None:
    """A box whose clock was never set still tells its story."""
    assert ALL_WORDS["en"].date(None) == "date unknown"
    assert ALL_WORDS["ja"].moment(None) == "日時不明"
    assert ALL_WORDS["en"].moment(1_772_323_200_000) == "1 Mar 2026, 00:00 UTC"
    assert ALL_WORDS["ja"].moment(1_772_323_200_000) == "2026年3月1日 0:00（UTC）"


def test_a_name_from_a_newer_box_is_shown_as_it_came() -> None:
    """An old book must not fail on a new word."""
    assert ALL_WORDS["ja"].or_raw("event", "moon_landing") == "moon_landing"
