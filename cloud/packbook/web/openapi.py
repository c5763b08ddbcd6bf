"""The manual that programs read: OpenAPI 3.1 of every route, with every answer it may give, and an example of each.

In:  the routes of `web.api_routes`, the kinds of problems, api_examples.json (a test keeps it true).
Out: the document of /api/v1/openapi.json; `acceptable`, which holds routes to the one type they say they answer with.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.params import Depends as Dependency

from packbook.core.accounts import May
from packbook.web import models, problems
from packbook.web.api_routes import API, FILES, V1, ApiRoute, FileRoute
from packbook.web.live import MEDIA_TYPE as EVENTS

Json = dict[str, Any]

EXAMPLES_FILE: Final = Path(__file__).with_name("api_examples.json")
DESCRIPTION: Final = (
    "Battery usage histories. Units end the field names; current is positive into the pack, percent is 0..100, times "
    "are UTC milliseconds since 1970, unknown is null. Answers carry an ETag: poll with If-None-Match, or listen at "
    "`/api/v1/live`. Lists come in parts: follow `next_offset` or the `Link` header. What goes wrong is a problem "
    "document (RFC 9457) whose `type` explains itself."
)
SAME: Final[Json] = {"description": "As you have it: nothing changed"}
ALWAYS: Final = (401, 406, 500, 503)  # 401: a key that opens nothing opens nothing public either
EVENT_SCHEMA: Final[Json] = {
    "type": "object",
    "description": "One event; its fields as the stream's lines carry them",
    "properties": {
        "event": {"enum": ["ready", "changed"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string", "description": "For Last-Event-ID"},
    },
    "required": ["event", "data"],
}
SECURITY: Final[Json] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "pbk_...",
        "description": "An API key: `packbook key new`, or the page of one's account. What it may do are its scopes.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "packbook_session",
        "description": "Of a browser that signed in. Over HTTPS its name begins with `__Host-`.",
    },
    "link": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of a share link: opens the passport of one battery, as far as the link says.",
    },
}


def acceptable(media_type: str) -> Dependency:
    """Before anything is read or put on record: does who asks accept what we answer with, and say everything once?"""
    kind = media_type.partition("/")[0]

    def check(request: Request) -> None:
        accepted = request.headers.get("accept", "*/*").split(",")
        if not any(_takes(each, {"", "*/*", f"{kind}/*", media_type}) for each in accepted):
            raise HTTPException(HTTPStatus.NOT_ACCEPTABLE, f"this address answers with {media_type}")
        said = Counter(name for name, _ in request.query_params.multi_items())
        twice = [{"loc": ("query", name), "msg": "said more than once"} for name, times in said.items() if times > 1]
        if twice:  # which one counts would be anybody's guess
            raise RequestValidationError(twice)

    dependency: Dependency = Depends(check)
    return dependency


def _takes(accepted: str, ours: set[str]) -> bool:
    """One part of an Accept header. `q=0` says: anything but this."""
    name, *parameters = (part.strip().lower() for part in accepted.split(";"))
    weights = [text.partition("=")[2].strip() for text in parameters if text.startswith("q")]
    return name in ours and not any(weight and not weight.strip("0.") for weight in weights)


def manual(app: FastAPI) -> Json:
    """Made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _written(app)
    return app.openapi_schema


def _written(app: FastAPI) -> Json:
    routes = [route for route in app.routes if route.path.startswith(V1)]  # type: ignore[attr-defined]  # all have one
    document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=routes)
    components = document["components"]
    schemas: Json = {
        name: schema
        for name, schema in components["schemas"].items()
        if name not in ("HTTPValidationError", "ValidationError")  # FastAPI's own; ours is a problem document
    }
    problem = models.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    components["schemas"] = dict(sorted(schemas.items()))
    components["responses"] = {kind.name: _problem(status) for status, kind in problems.PROBLEMS.items()}
    components["securitySchemes"] = SECURITY
    for route in (*API, *FILES):
        _complete(document["paths"][V1 + route.path][method_of(route).lower()], route)
    return document


def method_of(route: ApiRoute | FileRoute) -> str:
    return route.method if isinstance(route, ApiRoute) else "GET"


def example_name(route: ApiRoute | FileRoute) -> str:
    method = method_of(route)
    return route.path if method == "GET" else f"{method} {route.path}"


def _complete(operation: Json, route: ApiRoute | FileRoute) -> None:
    done = str(route.status) if isinstance(route, ApiRoute) else "200"
    found = operation["responses"][done]
    tagged = method_of(route) == "GET" and not (isinstance(route, FileRoute) and route.media_type == EVENTS)
    example = examples().get(example_name(route))
    if isinstance(route, FileRoute):
        found["content"] = {route.media_type: _file_content(route, example)}
        found["headers"] = {name: _header(said) for name, said in route.headers.items()}
        found["description"] = route.summary
    else:
        found["content"]["application/json"]["example"] = example
    listed = isinstance(route, ApiRoute) and issubclass(route.answer, models.PartOut)
    if tagged:
        found.setdefault("headers", {})["ETag"] = _header("Changes with the answer: send it as If-None-Match")
    if listed:
        found["headers"]["Link"] = _header("RFC 8288: next, prev and first, as far as there are any")
    operation["responses"] = (
        {done: found}
        | ({"304": SAME} if tagged else {})
        | {
            str(status): {"$ref": f"#/components/responses/{problems.PROBLEMS[status].name}"}
            for status in sorted(_possible(operation, route))
        }
    )
    operation["security"] = _security(route)


def _possible(operation: Json, route: ApiRoute | FileRoute) -> set[int]:
    """405 and 413 are not among them: they answer requests that this manual does not describe."""
    statuses = {*ALWAYS, *route.problems}
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    if names or "requestBody" in operation:
        statuses.add(422)
    if "battery" in names:
        statuses.add(404)
    if route.may is not May.ANYBODY:
        statuses.add(403)
    return statuses


def _security(route: ApiRoute | FileRoute) -> list[Json]:
    if route.may is not May.ANYBODY:
        return [{"key": []}, {"session": []}]
    return [{"link": []}, {"key": []}, {"session": []}] if 410 in route.problems else [{}]


def _file_content(route: FileRoute, example: object) -> Json:
    schema = EVENT_SCHEMA if route.media_type == EVENTS else {}
    return {"schema": schema} | ({} if example is None else {"example": example})


def _problem(status: int) -> Json:
    kind = problems.PROBLEMS[status]
    example = {
        "type": problems.problem_type(status),
        "title": kind.title,
        "status": status,
        "detail": kind.meaning,
        "instance": f"{V1}/batteries/leaf-24-0001",
    }
    if status == 422:
        example["errors"] = [{"where": "query.limit", "why": "Input should be less than or equal to 500"}]
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
    described: Json = {"description": kind.title, "content": {problems.MEDIA_TYPE: content}}
    if status in (429, 503):
        described["headers"] = {"Retry-After": _header("Seconds to wait")}
    return described


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


@cache
def examples() -> Mapping[str, Any]:
    """By the route's path."""
    read: Mapping[str, Any] = json.loads(EXAMPLES_FILE.read_text(encoding="utf-8"))
    return read
