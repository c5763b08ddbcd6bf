"""What an owner and a program read about the future of a battery."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import httpx

from packbook.core.fleet import FleetModel
from packbook.core.forecast import PRIOR
from packbook.core.guarantee import Condition
from packbook.core.prospect import Lacking, Prospect, forecast_of
from packbook.core.triage import Reason, Use
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import battery_head, soh_point
from packbook.web.app import V1
from packbook.web.owner import ahead
from packbook.web.words import ALL_WORDS, LANGUAGES

from .conftest import Visit

LEAF = "leaf-24-0001"


async def test_the_api_answers_what_the_core_says(client: httpx.AsyncClient, book: MemoryHistories) -> None:
    """Unrounded, and the newest reading first."""
    answer = (await client.get(f"{V1}/batteries/{LEAF}/forecast")).json()
    found = forecast_of(book.points[LEAF], book.event_rows[LEAF])
    assert isinstance(found, Prospect)
    assert (answer["battery"], answer["why"]) == (LEAF, None)
    told = answer["forecast"]
    assert told["from_ms"] == found.from_ms
    assert told["months"][12]["soh_pct"] == found.months[12].soh_pct
    assert told["passages"][0]["years"] == list(found.passages[0].years)
    assert [p["offered"] for p in told["promises"]] == [p.offered for p in found.promises]
    assert told["promises"][0]["failed"][0]["condition"] == "probability"
    assert told["next_use"]["use"] == found.next_use.use


async def test_the_api_says_why_there_is_no_forecast(client: httpx.AsyncClient) -> None:
    """A young battery and a silent one are different news."""
    for battery, why in (("env200-24-0102", "too_few"), ("imiev-16-0007", "no_value")):
        answer = (await client.get(f"{V1}/batteries/{battery}/forecast")).json()
        assert (answer["why"], answer["forecast"]) == (why, None)


async def test_the_fan_opens_at_the_newest_figure_and_has_a_table(
    client: httpx.AsyncClient, book: MemoryHistories
) -> None:
    """Drawing and table say the same, three years ahead in quarters."""
    text = (await client.get(f"/battery/{LEAF}")).text
    spec = json.loads(re.findall(r'data-live="spec-soh">(.*?)</script>', text, re.DOTALL)[0])
    assert len(spec["fan"]) == 13
    assert spec["fan"][0]["at"] == book.points[LEAF][-1].at_ms
    assert all(point["lo"] < point["value"] < point["hi"] for point in spec["fan"])
    table = text[text.index('data-live="prospect-months"') :].partition("</table>")[0]
    assert [point["text"] for point in spec["fan"] if point["text"] not in table] == []


async def test_a_promise_not_offered_says_why_in_the_readers_language(client: httpx.AsyncClient) -> None:
    """The owner learns what is missing, not that an algorithm said no."""
    english = (await client.get(f"/battery/{LEAF}", params={"lang": "en"})).text
    assert "it would hold only 88 times in 100; 95 are asked" in english
    assert "years is too far ahead" in english
    japanese = (await client.get(f"/battery/{LEAF}", params={"lang": "ja"})).text
    assert "守られる見込みは 100 回のうち 88 回" in japanese


async def test_a_pack_whose_family_taught_is_forecast_by_it_and_says_by_which_model(
    client: httpx.AsyncClient, book: MemoryHistories
) -> None:
    """Whoever doubts the forecast must be able to make it again: the model's version stands on the page."""
    pack = book.heads[LEAF].pack
    assert pack is not None
    model = replace(PRIOR, mean=PRIOR.mean - 1.0, vehicles=9, version="fleet/1-0123456789ab")
    book.fleets[pack] = FleetModel(pack, 1, model)
    told = (await client.get(f"{V1}/batteries/{LEAF}/forecast")).json()["forecast"]
    assert (told["vehicles"], told["model_version"]) == (9, model.version)
    page = (await client.get(f"/battery/{LEAF}", params={"lang": "en"})).text
    assert "Model fleet/1-0123456789ab." in page
    assert "learnt from 9 vehicles" in page


async def test_without_a_forecast_the_page_says_what_it_needs(at: Visit) -> None:
    """One figure is not a course."""
    book = MemoryHistories()
    book.add(battery_head("b1"), [soh_point(1)])
    async with at(book) as client:
        text = (await client.get("/battery/b1")).text
    assert "it needs health figures from at least three months" in text
    assert "What may be promised" not in text


def test_every_condition_reason_and_use_has_its_words() -> None:
    """A rule that the pages cannot name would answer 500 on the day it first applies."""
    for language in LANGUAGES:
        messages = ALL_WORDS[language].messages
        asked = [f"condition.{c}.{part}" for c in Condition for part in ("name", "text")]
        asked += [f"next_use.{use}.{part}" for use in Use for part in ("name", "text")]
        asked += [f"next_use_reason.{reason}" for reason in Reason]
        asked += [f"prospect.lacking.{lacking}" for lacking in Lacking]
        assert [key for key in asked if key not in messages] == []


async def test_a_threshold_that_is_passed_is_said_to_be_and_no_more(book: MemoryHistories) -> None:
    """ "Now, between 0.0 and 0.0 years" makes a fact sound like a guess."""
    found = forecast_of(book.points[LEAF], book.event_rows[LEAF])
    assert isinstance(found, Prospect)
    passed = replace(found.passages[0], years=(0.0, 0.0, 0.0), km=None)
    (figure, *_) = ahead.told(ALL_WORDS["en"], replace(found, passages=(passed,))).passages
    assert (figure.value, figure.detail) == ("now", None)
