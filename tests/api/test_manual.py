"""The OpenAPI document: complete, true to what is answered, and with examples that are answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args, get_origin

import httpx
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from api_samples import LEAF, OneCheckpoint, answers, as_written, sample_book, sample_fleet
from packbook.adapters.rules import RuleBook
from packbook.app.access import access_rules
from packbook.testing.memory_access import memory_access
from packbook.web.api_routes import API, FILES, V1
from packbook.web.app import create_app
from packbook.web.models import Answer, PartOut
from packbook.web.openapi import EXAMPLES_FILE
from packbook.web.problems import PROBLEMS


@pytest.fixture(scope="session")
def app() -> FastAPI:
    """Half a second to put together, and nothing here changes it."""
    access = memory_access(access_rules(RuleBook()))
    return create_app(sample_book(), OneCheckpoint(), access=access, fleet=sample_fleet())


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://book.test") as made:
        yield made


@pytest.fixture
async def manual(client: httpx.AsyncClient) -> Any:
    return (await client.get(f"{V1}/openapi.json")).json()


def operations(manual: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in manual["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def contents(manual: Any) -> Iterator[tuple[str, Any]]:
    """Every schema with its example, and where it stands."""
    found = {
        f"{method.upper()} {path}": next(told for status, told in operation["responses"].items() if status[0] == "2")
        for path, method, operation in operations(manual)
    }
    for where, response in (found | manual["components"]["responses"]).items():
        for content in response["content"].values():
            yield where, content


async def test_every_example_is_a_true_answer(manual: Any) -> None:
    """The first thing that anybody copies."""
    registry: Registry[Any] = Registry().with_resource("urn:manual", Resource(manual, DRAFT202012))
    shown = set()
    for where, content in contents(manual):
        if "example" not in content:
            continue
        schema = json.loads(json.dumps(content["schema"]).replace("#/components", "urn:manual#/components"))
        Draft202012Validator(schema, registry=registry).validate(content["example"])
        shown.add(where)
    assert shown == {where for where, _ in contents(manual)} - {f"GET {V1}{f.path}" for f in FILES if "{" in f.path}
    assert EXAMPLES_FILE.read_text(encoding="utf-8") == as_written(await answers()), "python -m api_samples --write"


async def test_every_answer_that_may_happen_is_named(manual: Any) -> None:
    """With the words a program may show, and without FastAPI's own that we never send."""
    for path, method, operation in operations(manual):
        assert {"401", "406", "500", "503"} <= set(operation["responses"]), (path, method)
        assert operation["security"], (path, method)
    assert set(manual["components"]["responses"]) == {kind.name for kind in PROBLEMS.values()}
    assert not {"HTTPValidationError", "ValidationError"} & set(manual["components"]["schemas"])
    names = {name for _, _, operation in operations(manual) for need in operation["security"] for name in need}
    assert names == set(manual["components"]["securitySchemes"])


async def test_the_type_of_a_problem_explains_it(client: httpx.AsyncClient) -> None:
    """A program's author follows the address and reads what to do."""
    problem = (await client.get(f"{V1}/batteries/never-seen")).json()
    explained = (await client.get(problem["type"])).json()
    assert (explained["status"], explained["title"]) == (404, problem["title"])
    listed = (await client.get(f"{V1}/problems")).json()["problems"]
    assert explained in listed
    assert len({kind["type"] for kind in listed}) == len(PROBLEMS)


@pytest.mark.parametrize("path", [r.path for r in API if "{name}" not in r.path and r.method == "GET"])
async def test_every_answer_has_an_etag_and_head_asks_for_it_alone(client: httpx.AsyncClient, path: str) -> None:
    """To see whether something changed costs a header, by GET or HEAD."""
    address = V1 + path.replace("{battery}", LEAF)
    whole = await client.get(address)
    tag = whole.headers["etag"]
    head = await client.head(address)
    assert (head.status_code, head.headers["etag"], head.content) == (200, tag, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    for same in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        assert (await client.head(address, headers={"If-None-Match": same})).status_code == 304
        assert (await client.get(address, headers={"If-None-Match": same})).status_code == 304
    assert (await client.get(address, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200),
        ("application/*;q=0.5, text/html", 200),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 200),
        ("", 200),
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("application/json;q=0.0, text/csv", 406),
    ],
)
async def test_who_accepts_only_something_else_is_told(client: httpx.AsyncClient, accept: str, status: int) -> None:
    """Better than JSON where a table was wanted."""
    answer = await client.get(f"{V1}/batteries", headers={"Accept": accept})
    assert answer.status_code == status


async def test_a_parameter_said_twice_is_refused(client: httpx.AsyncClient) -> None:
    """Which one counts would differ between us and the proxy before us."""
    answer = await client.get(f"{V1}/batteries?limit=1&limit=2")
    assert (answer.status_code, answer.json()["errors"]) == (
        422,
        [{"where": "query.limit", "why": "said more than once"}],
    )


@pytest.mark.parametrize("name", ["a%00b", "a%0Ab", "%7f", "x" * 65, ""])
async def test_names_that_no_battery_has_never_reach_the_database(client: httpx.AsyncClient, name: str) -> None:
    """PostgreSQL takes no NUL in a text, and would be blamed for it."""
    assert (await client.get(f"{V1}/batteries/{name}/soh")).status_code in (404, 422)
    assert (await client.get(f"{V1}/checkpoints?battery={name}")).status_code == 422


@pytest.mark.parametrize(
    ("path", "items"),
    [
        ("/batteries", "batteries"),
        ("/boxes", "boxes"),
        ("/checkpoints", "checkpoints"),
        (f"/batteries/{LEAF}/cells", "points"),
        (f"/batteries/{LEAF}/reads", "reads"),
        (f"/batteries/{LEAF}/links", "links"),
        ("/alerts", "alerts"),
        ("/codes", "codes"),
        (f"/batteries/{LEAF}/soh", "points"),
        (f"/batteries/{LEAF}/sessions", "sessions"),
        (f"/batteries/{LEAF}/events", "events"),
    ],
)
async def test_parts_of_a_list_make_the_whole(client: httpx.AsyncClient, path: str, items: str) -> None:
    """Following next_offset or the Link header comes to the same, and back again."""
    whole = (await client.get(V1 + path, params={"limit": 500})).json()[items]
    size = max(1, len(whole) // 3)
    found, address = [], f"{V1}{path}?limit={size}"
    while True:
        answer = await client.get(address)
        part = answer.json()
        found += part[items]
        links = answer.links
        if part["next_offset"] is None:
            assert "next" not in links
            break
        address = str(answer.url.join(links["next"]["url"]))
        assert f"offset={part['next_offset']}" in address
    assert found[:500] == whole
    if len(whole) > size:
        assert (await client.get(str(answer.url.join(links["first"]["url"])))).json()[items] == whole[:size]
        assert "prev" in links


def test_every_list_comes_in_parts() -> None:
    """A list that is small today is what stops the book when a fleet is large."""
    lists = {
        route.path
        for route in API
        if route.method == "GET"
        for field in route.answer.model_fields.values()
        if get_origin(field.annotation) is tuple and issubclass(get_args(field.annotation)[0], Answer)
    }
    parts = {route.path for route in API if issubclass(route.answer, PartOut)}
    bounded = {"/problems", "/batteries/{battery}"}  # kinds that this program knows; doubts, one for each store
    assert lists - parts == bounded
    assert parts - lists == set()
