"""The files in deploy/: true to the program's settings, commands and metrics.

Neither the compose specification's schema nor promtool can be had here, so these tests hold the files to their shape as
far as it is used, and to the program exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from prometheus_client.parser import text_string_to_metric_families

from bench import scale
from packbook.__main__ import COMMANDS
from packbook.adapters.metrics import Metrics
from packbook.adapters.store.database import Pool
from packbook.adapters.store.figures import BookFigures
from packbook.core.alerts import Kind, Severity, State
from packbook.settings import CREDENTIALS, PREFIX, Settings

METRIC = re.compile(r"\bpackbook_[a-z_]+\b")


@pytest.fixture(scope="module")
def samples() -> dict[str, set[str]]:
    """Everything a process tells: sample names with their labels."""
    metrics = Metrics("1")
    alerts = {(Kind.BOX_SILENT, Severity.INFO, State.RAISED): 1}
    metrics.book(BookFigures(1, 1, 0, 0.0, 1, {"fork": 1}, alerts, {"r": 1}), Pool(1, 1))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.exposition()[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((root / "deploy/compose.yaml").read_text())
    return told


@pytest.fixture(scope="module")
def dashboard(root: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((root / "deploy/grafana/packbook.json").read_text())
    return told


def book_services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: told for name, told in compose["services"].items() if told["image"] == "packbook"}


# --- dashboard and rules ------------------------------------------------------------------------------------------


def expressions(root: Path) -> Iterator[str]:
    dashboard = json.loads((root / "deploy/grafana/packbook.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    rules = yaml.safe_load((root / "deploy/prometheus/packbook.rules.yml").read_text())
    yield from (rule["expr"] for group in rules["groups"] for rule in group["rules"])


def test_every_metric_that_is_asked_for_exists_with_its_labels(root: Path, samples: dict[str, set[str]]) -> None:
    """A panel over a renamed metric is empty, and an alert over it never comes."""
    asked = list(expressions(root))
    assert {name for text in asked for name in METRIC.findall(text)} - samples.keys() == set()
    for text in asked:
        for name, selector in re.findall(r"\b(packbook_[a-z_]+)\{([^}]*)\}", text):
            labels = {part.split("=")[0].rstrip("!~").strip() for part in selector.split(",") if part.strip()}
            assert labels <= samples[name] | {"job", "instance"}, text


def test_every_metric_of_ours_is_shown(root: Path, samples: dict[str, set[str]]) -> None:
    """What nobody looks at need not be counted. Of histograms the buckets are shown, of processes the usual two."""
    shown = {name for text in expressions(root) for name in METRIC.findall(text)}
    told = {re.sub(r"_(created|sum|count|bucket)$", "", name) for name in samples}
    told = {name for name in told if not name.startswith("packbook_process_")} - {"packbook_info"}
    assert (
        told
        - {re.sub(r"_(sum|count|bucket)$", "", name) for name in shown}
        - {name.removesuffix("_total") for name in shown}
        == set()
    )


def test_every_metric_is_documented(root: Path, samples: dict[str, set[str]]) -> None:
    """docs/run.md says what each means."""
    text = (root / "docs/run.md").read_text()
    told = {re.sub(r"_(created|sum|count|bucket)$", "", name) for name in samples}
    assert [name for name in sorted(told) if name not in text and not name.startswith("packbook_process_")] == []


def test_the_dashboard_has_the_shape_that_grafana_loads(dashboard: dict[str, Any]) -> None:
    """Panels with a place of their own on a grid of 24, a data source that is asked for, no two numbers alike."""
    assert (dashboard["uid"], dashboard["title"]) == ("packbook", "Packbook")
    assert [variable["type"] for variable in dashboard["templating"]["list"]] == ["datasource"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not places & mine, panel["title"]
        places |= mine
        assert panel["type"] in ("stat", "timeseries")
        assert panel["datasource"]["uid"] == "${source}"
        assert all(target["expr"] and target["refId"] for target in panel["targets"])


def test_every_rule_says_what_happened_and_what_to_do(root: Path) -> None:
    """Somebody reads it at night."""
    told = yaml.safe_load((root / "deploy/prometheus/packbook.rules.yml").read_text())
    for rule in told["groups"][0]["rules"]:
        assert rule.keys() >= {"alert", "expr", "labels", "annotations"}
        assert rule["labels"]["severity"] in list(Severity)
        assert rule["annotations"].keys() == {"summary", "do"}
        assert rule["expr"].count("(") == rule["expr"].count(")")


# --- containers ---------------------------------------------------------------------------------------------------


def test_services_set_what_the_program_knows(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown variable ends the start; a wrong value too. Read here as the program reads them."""
    for name, service in book_services(compose).items():
        settings = {
            key.removeprefix(PREFIX).lower(): value
            for key, value in service["environment"].items()
            if key.startswith(PREFIX)
        }
        assert settings.keys() <= Settings.model_fields.keys(), name
        for key in service["environment"]:
            monkeypatch.delenv(key, raising=False)
        Settings(**settings, database_url="postgresql://packbook:hush@postgres/packbook")  # type: ignore[arg-type]  # text


def test_services_run_commands_and_read_secrets_that_exist(compose: dict[str, Any]) -> None:
    """And depend on services, volumes and secrets that are there."""
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", {})) <= compose["services"].keys(), name
        assert set(service.get("secrets", ())) <= compose["secrets"].keys(), name
        named = [text.split(":")[0] for text in service.get("volumes", ()) if not text.startswith(".")]
        assert set(named) <= compose["volumes"].keys(), name
    for service in book_services(compose).values():
        assert service["command"][0] in COMMANDS
        assert set(service["secrets"]) <= set(CREDENTIALS)


def test_no_port_of_metrics_or_database_is_published(compose: dict[str, Any]) -> None:
    """They ask for no account. Pages go out on loopback alone, for a proxy with TLS."""
    published = {name: service.get("ports", []) for name, service in compose["services"].items()}
    assert published.pop("mosquitto") == ["8883:8883"]
    assert all(
        port.startswith("127.0.0.1:") and port.endswith(":8080") for ports in published.values() for port in ports
    )


def test_containers_are_locked_down(compose: dict[str, Any]) -> None:
    """As the units are."""
    for service in book_services(compose).values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["stop_grace_period"] == "30s"


def test_the_images_constraints_are_requirements(root: Path) -> None:
    """The Containerfile makes them of the lock with grep and sed."""
    lines = [line.removesuffix(" \\") for line in (root / "requirements.lock").read_text().splitlines()]
    kept = [line for line in lines if "--hash=" not in line and line.strip() and not line.lstrip().startswith("#")]
    assert {"sqlalchemy", "aiokafka", "prometheus-client"} <= {Requirement(line).name for line in kept}


def test_the_sizes_in_the_document_are_those_that_are_calculated(root: Path) -> None:
    """A record that grows makes the table wrong."""
    assert scale.table() in (root / "docs/scale.md").read_text()
