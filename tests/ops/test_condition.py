"""What programs that watch a running book are told: alive, ready, figures, log lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from empty_book import empty_book
from packbook.adapters.metrics import Metrics
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.database import Database
from packbook.app.condition import ProcessCondition
from packbook.app.logs import json_formatter, set_up_logging
from packbook.clock import now_ms
from packbook.core.intake import Arrival
from packbook.ports.taking import Taken
from packbook.settings import Settings
from packbook.testing.memory_histories import MemoryHistories
from packbook.web.app import create_app
from packbook.web.ops import create_ops_app


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_writer(empty_book(tmp_path / "book.db"), "test") as opened:
        yield opened


def asking(app: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://book")  # type: ignore[arg-type]  # ASGI


def values(text: str) -> dict[str, float]:
    """Samples by name and labels."""
    return {
        sample.name + ("".join(f"/{value}" for value in sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_process_whose_database_answers_is_ready(database: Database) -> None:
    """Who sends us requests, or lets boxes in, asks this first."""
    up = True
    condition = ProcessCondition(database, Metrics("1"), lambda: up)
    async with asking(create_ops_app(condition)) as client:
        assert (await client.get("/healthz")).json() == {"alive": True}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (
            200,
            {"ready": True, "checks": {"database": "ok", "collector": "ok"}},
        )
        up = False
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["collector"]) == (503, "not_connected")
        assert ready.headers["cache-control"] == "no-store"


async def test_a_page_server_says_it_too_and_names_no_host(tmp_path: Path) -> None:
    """A load balancer asks the pages' own port. Anybody may ask, so nothing of the trouble itself is told."""
    database = Database("postgresql://aoi:hush@127.0.0.1:1/book")
    condition = ProcessCondition(database, Metrics("1"))
    async with asking(create_app(MemoryHistories(), condition=condition)) as client:
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        assert (await client.get("/metrics")).status_code == 404
    await database.aclose()
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "checks": {"database": "unreachable"}})


async def test_a_database_of_another_version_is_not_ready(database: Database) -> None:
    """During an update the old program must get no requests."""
    async with database.transaction() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '0002'"))
    readiness = await ProcessCondition(database, Metrics("1")).readiness()
    assert readiness.checks == {"database": "wrong_schema"}


async def test_what_the_collector_does_is_counted() -> None:
    """Rates, lag and refusals, by names that the dashboard asks for."""
    metrics = Metrics("1.2.3")
    up = True
    metrics.follow(lambda: up)
    batch = [Arrival("t", b"12345", now_ms() - 200), Arrival("t", b"123", now_ms())]
    metrics.committed(batch, Taken((), 1, 1, 0, {"fork": 2}))
    told = values(metrics.exposition()[0].decode())
    assert told["packbook_info/1.2.3"] == 1
    assert told["packbook_source_connected"] == 1
    assert told["packbook_messages_total"] == 2
    assert told["packbook_received_bytes_total"] == 8
    assert (told["packbook_records_total/accepted"], told["packbook_records_total/duplicate"]) == (1, 1)
    assert (told["packbook_quarantined_total/fork"], told["packbook_quarantined_total/malformed"]) == (2, 0)
    assert (told["packbook_commit_lag_seconds_count"], told["packbook_batch_messages_sum"]) == (2, 2)
    assert told["packbook_commit_lag_seconds_bucket/0.1"] == 1
    up = False
    assert values(metrics.exposition()[0].decode())["packbook_source_connected"] == 0


async def test_how_the_book_stands_is_told_without_a_label_for_each_box(database: Database) -> None:
    """A hundred thousand boxes must not make a hundred thousand time series."""
    rows = [
        {"box": f"{n:016x}", "last_seen_ms": now_ms(), "online": n < 20, "health": {"oldest_waiting_s": n * 60.0}}
        for n in range(80)
    ]
    old = {"box": "f" * 16, "last_seen_ms": 0, "online": False, "health": {"oldest_waiting_s": 9e9}}
    bare = {"box": "e" * 16, "last_seen_ms": now_ms(), "online": None, "health": None}
    async with database.transaction() as connection:
        await connection.execute(sa.insert(tables.box), [row | {"unready": 0} for row in (*rows, old, bare)])
    async with asking(create_ops_app(ProcessCondition(database, Metrics("1")))) as client:
        answer = await client.get("/metrics")
    told = values(answer.text)
    assert answer.headers["content-type"].startswith("text/plain; version=1.0.0")
    assert (told["packbook_boxes"], told["packbook_boxes_online"]) == (82, 20)
    assert told["packbook_oldest_unacknowledged_seconds"] == 79 * 60
    assert told["packbook_boxes_waiting"] == 19
    assert told["packbook_database_up"] == 1
    assert len(told) < 120


async def test_figures_go_on_while_the_database_is_away(database: Database) -> None:
    """That is when somebody looks at the dashboard."""
    condition = ProcessCondition(database, Metrics("1"))
    await database.aclose()
    async with asking(create_ops_app(condition)) as client:
        assert (await client.get("/metrics")).status_code == 200
    gone = Database("postgresql://127.0.0.1:1/book")
    async with asking(create_ops_app(ProcessCondition(gone, Metrics("1")))) as client:
        told = values((await client.get("/metrics")).text)
    await gone.aclose()
    assert told["packbook_database_up"] == 0


def line_of(record: logging.LogRecord) -> dict[str, object]:
    told: dict[str, object] = json.loads(json_formatter().format(record))
    return told


def test_a_json_line_has_the_documented_fields() -> None:
    """Programs that gather logs are set up once for these names."""
    log = logging.getLogger("packbook.test")
    record = log.makeRecord(log.name, logging.WARNING, "f", 1, "kept %d", (3,), None, extra={"BOX": "b" * 16})
    told = line_of(record)
    assert told | {"time": ""} == {
        "time": "",
        "level": "WARNING",
        "logger": "packbook.test",
        "message": "kept 3",
        "BOX": "b" * 16,
    }
    assert datetime.fromisoformat(str(told["time"])).utcoffset() is not None


def test_a_trace_and_a_line_break_stay_in_one_line() -> None:
    """A log line is a line, whatever a stranger wrote into it."""
    log = logging.getLogger("packbook.test")
    try:
        raise ValueError("a\nb")
    except ValueError as problem:
        info = (type(problem), problem, problem.__traceback__)
        record = log.makeRecord(log.name, logging.ERROR, "f", 1, "it\nbroke 車", (), info)
    text = json_formatter().format(record)
    assert "\n" not in text
    assert "車" in text
    assert "ValueError" in str(json.loads(text)["exc_info"])


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_setting_chooses_the_form(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For people by default."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    set_up_logging(Settings.model_validate({"log_format": form}))
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(io.StringIO())
    logging.getLogger("packbook.test").warning("said")
    said = handler.stream.getvalue()
    assert said == "WARNING packbook.test: said\n" if form == "text" else json.loads(said)["message"] == "said"
