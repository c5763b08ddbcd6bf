"""The JSON API: figures unrounded, units in the names, each with the record it came from."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import httpx
import pytest

from packbook.core.history import SOC_BANDS_PCT
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import battery_head
from packbook.web.app import API, FILES, V1

from .conftest import Visit

LEAF = f"{V1}/batteries/leaf-24-0001"
SOURCE = {"box": "7f3a90c2d1e85b46", "store": "c04e1f77a9b23d65"}


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def test_batteries_come_with_their_newest_soh(client: httpx.AsyncClient, book: MemoryHistories) -> None:
    """One request tells a program what the list page tells a person."""
    found = {b["battery"]: b for b in (await get(client, f"{V1}/batteries"))["batteries"]}
    assert found.keys() == book.heads.keys()
    assert found["leaf-24-0001"] == await get(client, LEAF)
    assert found["leaf-24-0001"]["soh"]["soh_pct"] == book.points["leaf-24-0001"][-1].soh_pct
    assert found["imiev-16-0007"]["soh"]["soh_pct"] is None
    assert (
        found["imiev-16-0007"]["soh"]["why"]
        == "no charge or drive has moved 10.0 Ah in one go yet; the most was 2.4 Ah"
    )


async def test_the_soh_series_is_the_stored_one(client: httpx.AsyncClient, book: MemoryHistories) -> None:
    """Rounding is for people; programs get what the record says."""
    points = (await get(client, f"{LEAF}/soh"))["points"]
    kept = [asdict(point) for point in book.points["leaf-24-0001"]]
    for point in kept:
        point["estimates"] = [e | {"evidence": list(e["evidence"])} for e in point["estimates"]]
        point["energy"]["evidence"] = list(point["energy"]["evidence"])
    assert points == kept
    assert SOURCE.items() <= points[0]["provenance"].items()


async def test_sessions_page_on_until_the_end(client: httpx.AsyncClient, book: MemoryHistories) -> None:
    """A program that follows next_offset sees every session once, newest first."""
    seen, offset = [], 0
    while offset is not None:
        part = await get(client, f"{LEAF}/sessions", limit=500, offset=offset)
        seen += part["sessions"]
        offset = part["next_offset"]
    assert seen == json.loads(json.dumps([asdict(row) for row in reversed(book.session_rows["leaf-24-0001"])]))
    assert {row["kind"] for row in seen if row["curve"] is not None} == {"charge"}


async def test_the_cells_are_the_stored_ones(client: httpx.AsyncClient, book: MemoryHistories) -> None:
    """With the conditions of each look; a battery whose cells nobody saw has none."""
    points = (await get(client, f"{LEAF}/cells", limit=500))["points"]
    assert points == [asdict(point) for point in book.cell_rows["leaf-24-0001"]]
    assert (await get(client, "/api/v1/batteries/imiev-16-0007/cells"))["points"] == []
    assert (await client.get("/api/v1/batteries/nobody/cells")).status_code == 404


@pytest.mark.parametrize("kind", ["charge", "drive", "rest"])
async def test_sessions_can_be_asked_for_by_kind(client: httpx.AsyncClient, kind: str) -> None:
    """Most programs want charges only."""
    part = await get(client, f"{LEAF}/sessions", kind=kind, limit=3)
    assert [row["kind"] for row in part["sessions"]] == [kind] * 3
    assert part["next_offset"] == 3


async def test_histograms_bring_their_band_edges(client: httpx.AsyncClient, book: MemoryHistories) -> None:
    """A histogram without edges is a row of riddles."""
    usage = await get(client, f"{LEAF}/usage")
    totals = book.totals["leaf-24-0001"]
    shapes = {"soc_temperature": (10, 9), "charge_rate_temperature": (10, 9), "discharge_rate_temperature": (10, 9)}
    for name, (rows, columns) in (shapes | {"cycle_depth": (7, 10)}).items():
        histogram = usage[name]
        assert (len(histogram["rows"]), len(histogram["columns"])) == (rows, columns)
        assert [len(row) for row in histogram["values"]] == [columns] * rows
    flat = [value for row in usage["soc_temperature"]["values"] for value in row]
    assert flat == list(totals.soc_temp_s)
    assert usage["charging_temp_s"] == list(totals.charging_temp_s)
    assert usage["soc_temperature"]["rows"][3] == {"low": SOC_BANDS_PCT[3][0], "high": SOC_BANDS_PCT[3][1]}
    assert usage["soc_temperature"]["columns"][0] == {"low": None, "high": -10.0}
    charge = [v for row in usage["charge_rate_temperature"]["values"] for v in row]
    discharge = [v for row in usage["discharge_rate_temperature"]["values"] for v in row]
    assert charge + discharge == list(totals.c_rate_temp_s)
    assert usage["provenance"]["seq"] == totals.provenance.seq


async def test_events_boxes_and_quarantine_are_told(client: httpx.AsyncClient) -> None:
    """The rest of what an operator watches."""
    events = (await get(client, f"{LEAF}/events", limit=1))["events"]
    assert [event["event"] for event in events] == ["clock_set"]
    boxes = (await get(client, f"{V1}/boxes"))["boxes"]
    assert [(box["box"], box["online"]) for box in boxes] == [
        ("0b55e6a14c9d2780", False),
        ("21c95d0e77ab3f18", True),
        ("7f3a90c2d1e85b46", True),
    ]
    assert boxes[2]["health"]["frames_sent"] == 0
    refused = await get(client, f"{V1}/quarantine")
    assert refused["reasons"] == {"the signature does not fit the box's key": 1}
    assert refused["complete"] is True


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{V1}/batteries/never-seen", 404),
        (f"{V1}/batteries/never-seen/soh", 404),
        (f"{V1}/batteries/never-seen/sessions", 404),
        (f"{V1}/batteries/never-seen/usage", 404),
        (f"{V1}/batteries/never-seen/events", 404),
        (f"{V1}/nothing", 404),
        (f"{LEAF}/sessions?kind=nap", 422),
        (f"{LEAF}/sessions?limit=501", 422),
        (f"{LEAF}/sessions?limit=0", 422),
        (f"{LEAF}/sessions?offset=-1", 422),
        (f"{LEAF}/sessions?offset=99999999999999999999", 422),
        (f"{LEAF}/events?limit=many", 422),
    ],
)
async def test_what_cannot_be_answered_is_a_problem_document(client: httpx.AsyncClient, path: str, status: int) -> None:
    """RFC 9457: programs learn what was wrong without reading prose."""
    answer = await client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["instance"]) == (status, path.partition("?")[0])
    assert problem["detail"]
    if status == 422:
        assert problem["errors"][0]["where"].startswith("query.")


async def test_usage_that_has_not_arrived_is_said(at: Visit) -> None:
    """Not the same as an unknown battery."""
    book = MemoryHistories()
    book.add(battery_head("b1"))
    async with at(book) as client:
        answer = await client.get(f"{V1}/batteries/b1/usage")
    assert answer.status_code == 404
    assert "no usage of battery 'b1' has arrived yet" in answer.json()["detail"]


async def test_polling_an_unchanged_history_costs_nothing(at: Visit) -> None:
    """The page asks every few seconds; only a change may cost more than a header."""
    book = MemoryHistories()
    book.add(battery_head("b1"))
    async with at(book) as client:
        first = await client.get(f"{V1}/batteries/b1")
        assert first.headers["cache-control"] == "private, no-cache"
        ask = {"If-None-Match": first.headers["etag"]}
        again = await client.get(f"{V1}/batteries/b1", headers=ask)
        assert (again.status_code, again.content) == (304, b"")
        book.add(battery_head("b1", last_ms=1))
        assert (await client.get(f"{V1}/batteries/b1", headers=ask)).status_code == 200


async def test_openapi_describes_every_route_and_field(client: httpx.AsyncClient) -> None:
    """The schema is the manual that programs read."""
    schema = await get(client, f"{V1}/openapi.json")
    assert schema["openapi"].startswith("3.1")
    assert set(schema["paths"]) == {V1 + route.path for route in (*API, *FILES)}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            assert any(status.startswith("2") for status in operation["responses"]), (method, path)
            for parameter in operation.get("parameters", []):
                assert parameter["description"], (method, path, parameter["name"])
    numbers = [
        (name, field)
        for name, model in schema["components"]["schemas"].items()
        for field, about in model.get("properties", {}).items()
        if field.rsplit("_", 1)[-1] in {"pct", "ah", "wh", "s", "v", "a", "degc", "km", "ms", "kw", "kwh"}
        and not about.get("description")
    ]
    assert numbers == []
