"""Any request that the manual allows, and many that it does not: no mistake of ours, no answer that it names not.

`make api-fuzz` looks for new cases, and for longer.
"""

from __future__ import annotations

from typing import Final

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings

from api_samples import OneCheckpoint, sample_book, sample_fleet
from packbook.adapters.rules import RuleBook
from packbook.app.access import access_rules
from packbook.core.accounts import BOOKS_OWN, Who
from packbook.core.live import Look
from packbook.ports.accounts import Session
from packbook.testing.memory_access import memory_access
from packbook.web.app import create_app
from packbook.web.live import Hub

KEY: Final = f"pbk_{'0' * 8}_{'k' * 43}"
EXAMPLES: Final = 10 if settings().derandomize else 1000  # of each route, beside those at every border


class OneKey:
    """Accounts of one key that may do everything."""

    async def by_session(self, digest: bytes) -> Session | None:
        return None

    async def by_key(self, digest: bytes) -> Who | None:
        return BOOKS_OWN


class Still:
    """A book in which nothing happens."""

    async def look(self) -> Look:
        return {}


def app() -> FastAPI:
    access = memory_access(access_rules(RuleBook()))
    made = create_app(sample_book(), OneCheckpoint(), access=access, accounts=OneKey(), fleet=sample_fleet())
    made.state.live = Hub(Still(), life_max_s=0.0)  # else its stream would have no end
    return made


schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app())


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request_gets_an_answer_that_the_manual_names(case: schemathesis.Case) -> None:
    """Programs are written against the manual."""
    case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"})
