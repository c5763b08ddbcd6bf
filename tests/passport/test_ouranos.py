"""Registering a battery with Ouranos, against a small server that believes the platform's own description alone."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from packbook.adapters.ouranos import Ouranos, OuranosError
from packbook.core.ouranos import NotAPart, PartEntry, parts_model

OPERATOR = "d9a38406-cae2-4679-b052-15a75f5531e8"
PLANT = "d9a38406-cae2-4679-b052-15a75f5531e9"
TRACE = "d9a38406-cae2-4679-b052-15a75f5531f6"
ENTRY = PartEntry(OPERATOR, PLANT, "62A", "62A-000417")
KEY, TOKEN = "the-key", "the-token"


@cache
def parts_put(file: Path) -> dict[str, Any]:
    """The call as the platform describes it: in its OpenAPI file the query is part of the path."""
    described: dict[str, Any] = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    return {
        **described["paths"]["/api/v1/datatransport?dataTarget=parts"]["put"],
        "components": described["components"],
    }


def json_schema(node: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema says type null."""
    if isinstance(node, list):
        return [json_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    plain = {key: json_schema(value) for key, value in node.items() if key not in ("nullable", "example")}
    if not node.get("nullable"):
        return plain
    if "enum" in plain:
        plain["enum"] = [*plain["enum"], None]
    return {**plain, "type": [plain["type"], "null"]}


class Platform:
    """Answers as described; `say` puts another answer in its place."""

    def __init__(self, described: dict[str, Any]) -> None:
        model = described["components"]["schemas"]["traceability.PartsModel"]
        reference = described["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert reference.endswith("/traceability.PartsModel")
        self.known = set(model["properties"])
        self._validator = Draft202012Validator(json_schema(model), format_checker=Draft202012Validator.FORMAT_CHECKER)
        self.asked: list[dict[str, Any]] = []
        self.say: httpx.Response | Exception | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.raw_path) == ("PUT", b"/api/v1/datatransport?dataTarget=parts")
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._refused(401, "Invalid or expired token")
        if request.headers.get("apikey") != KEY:
            return self._refused(403, "Invalid key")
        body = json.loads(request.content)
        try:
            self._validator.validate(body)
        except ValidationError as problem:
            return self._refused(400, problem.message)
        self.asked.append(body)
        if isinstance(self.say, Exception):
            raise self.say
        return self.say or httpx.Response(201, json={**body, "traceId": TRACE})

    @staticmethod
    def _refused(status: int, message: str) -> httpx.Response:
        return httpx.Response(status, json={"code": "[dataspace] No", "message": message, "detail": "id: x"})


@pytest.fixture
def platform(shared: Path) -> Platform:
    return Platform(parts_put(shared / "schemas/ouranos/data-transaction-system-1.2.openapi.yaml"))


def door(platform: Platform, key: str = KEY, token: str = TOKEN) -> Ouranos:
    return Ouranos("https://platform.example", api_key=key, token=token, transport=httpx.MockTransport(platform))


async def test_a_battery_gets_its_trace_id(platform: Platform) -> None:
    """The platform gives it; we ask for a new one by sending none."""
    async with door(platform) as ouranos:
        assert await ouranos.register(ENTRY) == TRACE
    (asked,) = platform.asked
    assert asked["traceId"] is None
    assert (asked["partsName"], asked["supportPartsName"]) == ("62A", "62A-000417")


async def test_nothing_of_a_batterys_condition_is_sent(platform: Platform) -> None:
    """There is no place for it: a state of health in a free text would be an interface of our own invention."""
    async with door(platform) as ouranos:
        await ouranos.register(ENTRY)
    assert set(platform.asked[0]) <= platform.known
    assert not [name for name in platform.asked[0] if name.startswith("partsAddInfo")]


@pytest.mark.parametrize(
    ("key", "token", "reason"),
    [("other", TOKEN, "403: .*Invalid key"), (KEY, "old", "401: .*Invalid or expired token")],
)
async def test_a_refusal_says_what_the_platform_said(platform: Platform, key: str, token: str, reason: str) -> None:
    async with door(platform, key, token) as ouranos:
        with pytest.raises(OuranosError, match=reason) as caught:
            await ouranos.register(ENTRY)
    assert "old" not in str(caught.value)
    assert platform.asked == []


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        (httpx.ConnectError("no route"), "cannot be reached"),
        (httpx.Response(500, text="<html>"), "500: nothing that can be read"),
        (httpx.Response(201, text="<html>"), "ouranos: "),
        (httpx.Response(201, json=[]), "no part"),
        (httpx.Response(201, json={**parts_model(ENTRY), "traceId": None}), "traceId"),
        (
            httpx.Response(201, json={**parts_model(ENTRY), "traceId": TRACE, "supportPartsName": "other"}),
            "another part",
        ),
    ],
)
async def test_an_answer_that_is_not_about_this_battery_is_not_believed(
    platform: Platform, say: httpx.Response | Exception, reason: str
) -> None:
    """A wrong trace id would tie this battery to another one for good."""
    platform.say = say
    async with door(platform) as ouranos:
        with pytest.raises(OuranosError, match=reason):
            await ouranos.register(ENTRY)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (PartEntry("me", PLANT, "62A", "1"), "operator_id"),
        (PartEntry(OPERATOR, PLANT.upper(), "62A", "1"), "plant_id"),
        (PartEntry(OPERATOR, PLANT, "", "1"), "model: 0 characters"),
        (PartEntry(OPERATOR, PLANT, "62A", "1" * 51), "battery: 51 characters"),
    ],
)
def test_what_the_platform_would_refuse_is_not_sent(entry: PartEntry, reason: str) -> None:
    with pytest.raises(NotAPart, match=reason):
        parts_model(entry)
