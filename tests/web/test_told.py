"""Why something is so is said in the reader's language, although boxes and records say it in English."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from packbook.core.passport import Fact, Source
from packbook.core.told import BETWEEN, Piece, Reasons
from packbook.core.wording import by_whom, value_text
from packbook.testing.lived_in import lived_in
from packbook.testing.memory_histories import MemoryHistories
from packbook.web.words import ALL_WORDS
from web.reading import english_in

from .conftest import Visit

JAPANESE: Final = ALL_WORDS["ja"]

# Who gives reasons that pages show. Not among them: what is found wrong inside a message's fields (packwire.codec), and
# how a box makes out its car (packbox.core.detect): texts for workshops and logs, which stay English and are marked so.
SPEAKERS: Final = (
    "edge/packbox/core/soh/*.py",
    "edge/packbox/core/fit.py",
    "edge/packbox/core/harm.py",
    "edge/packbox/core/box.py",
    "edge/packbox/core/swap.py",
    "wire/packwire/seal.py",
    "cloud/packbook/core/consent.py",
    "cloud/packbook/core/custody.py",
    "cloud/packbook/core/derived.py",
    "cloud/packbook/core/intake.py",
    "cloud/packbook/core/passport_ahead.py",
    "cloud/packbook/core/passport_of.py",
    "cloud/packbook/core/rules.py",
    "cloud/packbook/core/state_of_health.py",
    "cloud/packbook/adapters/store/batch.py",
    "cloud/packbook/adapters/store/quarantine.py",
)
# What a source puts into its sentences, where it is no mere figure or name.
PLACES: Final = {
    "chain.broken.why": "passport 7 is in force already",
    "detail": "500 messages of strangers wait in quarantine",
    "how": "nobody decided yet",
    "limit_name": "idle_temp_max_degc",
    "most": "the most was 7 Ah",
    "need": "13.1 Ah",
    "now": "resistance_ohm",
    "state": "revoked",
    "start": "resistance_start_ohm",
    "text": "reported capacity rose",
    "words": "the car told 7 when watching began",
    "wrong": "'x' is not a text",
}
PARTS: Final = {  # of sentences, which are found whole elsewhere
    "7 % of the SoC scale",
    "the most was 7 Ah",
    "reported capacity rose",
    "reported state of health rose",
    "lifetime charge counter fell",
    "lifetime energy counter fell",
    "7 → 7: ",
    "nobody decided yet",
    "agreed to 7",
    "7 messages of 7 wait in quarantine",
    "topics that are not ours",
}
NO_REASONS: Final = {  # what a schema, a method or a log says
    "whole number from 1",
    "whole number from 0",
    "whole number from 0, absent while the clock is not set",
    "map by kind",
    "soce_pct x certified_energy_kwh",
    "100 - soh_capacity_pct",
    "(resistance_ohm - resistance_start_ohm) / resistance_start_ohm",
    "1 - resistance_ohm / resistance_start_ohm",
    "time at temperature, summed",
    "7: the row is not about the record it holds",
    "7: does not follow the record before it",
    "7: key 7 is not on file",
    "throughput / (2 x reference capacity)",
    "cell voltage below the chemistry's lower limit",
    "cell voltage above the chemistry's upper limit",
    "sum of |V x I|",
    "sum of |I|",
    "sum of V x I out of the pack",
    "highest less lowest cell in quiet",
    "mean over the newest session",
    "time at level",
    "in the pack",
    "clock of boot 7",
}


def sentences(source: str) -> Iterator[str]:
    """What a module can say: its literals of three words or more, with something in their places."""
    tree = ast.parse(source)
    bodies = [
        node.body
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    skipped = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        said = None if id(node) in skipped else _said(node)
        if said is not None and said.count(" ") >= 2:
            yield said


def _said(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(_said(part) or "" for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return PLACES.get(ast.unparse(node.value), "7")
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_every_reason_a_program_can_give_has_japanese_words(root: Path, speaker: str) -> None:
    """A new reason without words would be English on Japanese pages; it belongs into `[reason]` of both catalogues."""
    files = sorted(root.glob(speaker))
    assert files
    said = {one for file in files for one in sentences(file.read_text(encoding="utf-8"))} - PARTS - NO_REASONS
    assert {one for one in said if any(piece.language for piece in JAPANESE.told(one).pieces)} == set()


def test_a_reason_without_words_would_be_found() -> None:
    """Of the test above: a sentence that nobody translated does not slip through, figures or none."""
    source = 'def why(n: int) -> str:\n    return f"the moon is {n} km too near"\n'
    [said] = sentences(source)
    assert JAPANESE.told(said).pieces == (Piece("the moon is 7 km too near", "en"),)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("4 of 10 readings taken", "10 回中 4 回の測定が済みました"),
        (
            "57.1 Ah measured, but the car told 60.0 Ah when watching began: is the scale of the current right?",
            "測定値は 57.1 Ah ですが、観測開始時の車両の値は 60.0 Ah でした。電流の目盛りは正しいでしょうか",
        ),
        ("soce_pct is not known", "「認証電力量比（SOCE・推定）」が不明です"),
        (
            "what was told cannot be true: 120 is not between 0 and 100 %",
            "届いた値は正しいはずがありません（120 は 0 から 100 % の間にありません）",
        ),
        (
            "what was told cannot be true: 120 is not between 0 and 100 ",
            "届いた値は正しいはずがありません（120 は 0 から 100 の間にありません）",
        ),
        ("learning", "学習中"),
        ("fleet vans, in place of 7f3a", "フリート vans、ボックス 7f3a の代わり"),
    ],
)
def test_figures_and_names_stand_in_the_readers_sentence(written: str, read: str) -> None:
    """Figures stay as they were signed; fields, methods and purposes go by their names on the page."""
    assert str(JAPANESE.told(written)) == read


def test_several_reasons_are_told_one_by_one() -> None:
    """One of them may hold what stands between two, and one nobody knows stays as it came and says so."""
    written = BETWEEN.join(
        (
            "no 5.0 Ah moved between two rests of 2 h yet; the most was 2.0 Ah",
            "the moon is too near",
            "no charge from below 30 % to above 90 % yet",
        )
    )
    assert JAPANESE.told(written).pieces == (
        Piece("2 時間の休止の間に 5.0 Ah 以上が動いたことがまだありません（最大 2.0 Ah）。", None),
        Piece("the moon is too near; ", "en"),
        Piece("残量 30 % 未満から 90 % 超までの充電がまだありません", None),
    )


@pytest.mark.parametrize(
    "text",
    ["", "{n} of {wanted} readings taken {0}", "moonlight is not known", "Lemon; Zest & Sons", "7 → 8: a new moon"],
)
def test_what_is_no_known_reason_stays_as_it_came(text: str) -> None:
    """Names that people gave, fields nobody knows, reasons within reasons that are new: not a letter is changed."""
    told = JAPANESE.told(text)
    assert str(told) == text.strip()
    assert {piece.language for piece in told.pieces} == {"en"}


def test_english_readers_read_what_was_signed() -> None:
    """Their catalogue is the sentences themselves."""
    for written in ("4 of 10 readings taken", "wall clock moved by 3.2 s", "the history is in dispute"):
        assert str(ALL_WORDS["en"].told(written)) == written


def test_the_more_telling_sentence_wins() -> None:
    """Two sentences may fit one text; the one that leaves less open is meant."""
    reasons = Reasons({"any": "{what} wins", "both": "{a} and {a} wins", "two": "{a} and {b} wins"})
    assert [found and found.name for found in map(reasons.find, ("x and x wins", "x and y wins", "x wins", "x"))] == [
        "both",
        "two",
        "any",
        None,
    ]


def test_who_said_a_fact_is_named_in_the_readers_words() -> None:
    """The box's operator and a vehicle profile are the book's own words, a firm's name is its own."""

    def said(by: str) -> str:
        return by_whom(JAPANESE, Fact(1.0, "", None, Source.DECLARED, by))

    assert said("vehicle profile nissan-leaf") == "車両プロファイル nissan-leaf の申告"
    assert said("operator of the box") == "ボックスの運用者 の申告"
    assert said("learning; Ltd. is not known") == "learning; Ltd. is not known の申告"


def test_a_broken_chain_of_hand_overs_says_why() -> None:
    """A buyer must understand why the chain stops there; a holder's name is not taken for a reason."""
    why = "link 2 does not hold: it does not follow the link before it: another digest is named"
    broken = Fact(why, "", None, Source.DECLARED, "book", conditions={"broken": "yes"})
    told = "2 番目の引き継ぎが成り立ちません（前の引き継ぎに続いていません。別の要約値が書かれています）"
    assert value_text(JAPANESE, broken) == told
    assert value_text(JAPANESE, Fact("wall clock set", "", None, Source.DECLARED, "book")) == "wall clock set"


ROOMS: Final = ("", "/sessions", "/use", "/trust", "/share", "/consents", "/export")
SILENT: Final = "imiev-16-0007"
ODD: Final = {
    "stale": "no usable charge for 120 days",
    "inconsistent": "the car reports 99.0 %, outside our 99 % interval",
    "replaced": "readings no longer fitted the old capacity: counting began anew",
    "learning": "rest_bands/1 tells 50.1 Ah and full_span/1 44.0 Ah: one of them is wrong",
}


def in_every_state() -> MemoryHistories:
    """A lived-in book, its battery once more in each state."""
    book = lived_in()
    leaf = book.heads["leaf-24-0001"]
    for state, why in ODD.items():
        points = [*book.points["leaf-24-0001"][:-1], replace(book.points["leaf-24-0001"][-1], state=state, why=why)]
        book.add(replace(leaf, battery=f"leaf-{state}"), points)
    return book


@pytest.mark.parametrize("empty", [False, True], ids=["lived-in", "empty"])
async def test_owners_pages_hold_no_english_sentence_in_japanese(at: Visit, empty: bool) -> None:
    """Young, silent, stale, inconsistent, replaced: what a box says is said in Japanese, or marked as English."""
    book = MemoryHistories() if empty else in_every_state()
    paths = ["/", "/glossary", "/verify", "/nowhere", *([] if empty else ["/compare"])]
    paths += [f"/battery/{battery}{room}" for battery in book.heads for room in ROOMS]
    paths += [f"/id/{battery}" for battery in book.heads]
    names = {str(head.vehicle) for head in book.heads.values()}
    async with at(book) as client:
        for path in paths:
            text = (await client.get(path, headers={"Accept-Language": "ja"})).text
            assert '<html lang="ja">' in text, path
            assert english_in(text, names) == set(), path


async def test_what_stays_english_is_marked_for_screen_readers(at: Visit) -> None:
    """A Japanese voice reads English aloud as if it were Japanese (WCAG 2.2, 3.1.2), unless marked."""
    book = lived_in()
    newest = replace(book.points[SILENT][-1], why="the moon is <too> near; 4 of 10 readings taken")
    book.add(book.heads[SILENT], [newest])
    async with at(book) as client:
        text = (await client.get(f"/battery/{SILENT}", headers={"Accept-Language": "ja"})).text
        assert '<span lang="en">the moon is &lt;too&gt; near; </span>10 回中 4 回の測定が済みました</q>' in text
        text = (await client.get(f"/battery/{SILENT}")).text
        assert "<q>the moon is &lt;too&gt; near; 4 of 10 readings taken</q>" in text
