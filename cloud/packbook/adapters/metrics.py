"""Figures of a running book for Prometheus: what this process did, and how the whole book stands.

In:  what the collector tells (`ports.Observer`), and `BookFigures` now and then.
Out: text in Prometheus' format. No label grows with the fleet: of boxes there are counts and the worst.
docs/run.md explains each; the dashboard and the alert rules in deploy/ are tested against these names.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from packbook.adapters.store.database import Pool
from packbook.adapters.store.figures import BookFigures
from packbook.clock import now_ms
from packbook.core.intake import Arrival, Reason
from packbook.ports.taking import Taken

LAG_EDGES_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BATCH_EDGES: Final = (1, 5, 10, 50, 100, 250, 500, 1000, 2500, 5000)


class Metrics:
    """One for each process, with a registry of its own. Fills `ports.Observer`."""

    def __init__(self, version: str) -> None:
        registry = self.registry = CollectorRegistry()
        Info("packbook", "Version of this program", registry=registry).info({"version": version})
        ProcessCollector(namespace="packbook", registry=registry)
        self._source_up = Gauge("packbook_source_connected", "Records can come in: 1, or 0", registry=registry)
        self._messages = Counter("packbook_messages", "Messages received and dealt with", registry=registry)
        self._bytes = Counter("packbook_received_bytes", "Payload bytes of these messages", registry=registry)
        self._records = Counter(
            "packbook_records", "Records that came: accepted, duplicate or unready", ["outcome"], registry=registry
        )
        self._quarantined = Counter(
            "packbook_quarantined", "Messages that could not be believed, by reason", ["reason"], registry=registry
        )
        self._lag = Histogram(
            "packbook_commit_lag_seconds",
            "From receipt of a message until it is on disk",
            buckets=LAG_EDGES_S,
            registry=registry,
        )
        self._batch = Histogram(
            "packbook_batch_messages", "Messages in one transaction", buckets=BATCH_EDGES, registry=registry
        )
        self._database_up = Gauge("packbook_database_up", "The database answers: 1, or 0", registry=registry)
        self._pool = Gauge(
            "packbook_database_connections", "Connections of this process's pool", ["state"], registry=registry
        )
        self._book = _BookGauges(registry)
        for outcome in ("accepted", "duplicate", "unready"):
            self._records.labels(outcome)  # 0 rather than absent: a rate of what is not there is no rate
        for reason in Reason:
            self._quarantined.labels(reason.value)

    def follow(self, source_up: Callable[[], bool]) -> None:
        """From now on this says whether records can come in."""
        self._source_up.set_function(source_up)

    def committed(self, batch: Sequence[Arrival], taken: Taken) -> None:
        at_ms = now_ms()
        self._batch.observe(len(batch))
        self._messages.inc(len(batch))
        self._bytes.inc(sum(len(arrival.payload) for arrival in batch))
        for arrival in batch:
            self._lag.observe(max(0, at_ms - arrival.received_ms) / 1000.0)
        for outcome, count in (
            ("accepted", taken.accepted),
            ("duplicate", taken.duplicates),
            ("unready", taken.unready),
        ):
            self._records.labels(outcome).inc(count)
        for reason, count in taken.quarantined.items():
            self._quarantined.labels(reason).inc(count)

    def book(self, figures: BookFigures | None, pool: Pool) -> None:
        """`figures` None: the database does not answer. What was known of the book goes on being told."""
        self._database_up.set(figures is not None)
        self._pool.labels("in_use").set(pool.in_use)
        self._pool.labels("idle").set(pool.idle)
        if figures is not None:
            self._book.set(figures)

    def exposition(self) -> tuple[bytes, str]:
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_1_0_0


class _BookGauges:
    """How the whole book stands, whichever process is asked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"packbook_{name}", text, labels, registry=registry)

        self._boxes = gauge("boxes", "Boxes that were ever heard")
        self._online = gauge("boxes_online", "Boxes that say they are connected")
        self._waiting = gauge("boxes_waiting", "Boxes of the last day whose oldest record has waited over an hour")
        self._oldest = gauge("oldest_unacknowledged_seconds", "Longest wait of a record in a box of the last day")
        self._ledger = gauge("ledger_records", "Records in the ledger")
        self._quarantine = gauge("quarantine_open", "Messages in quarantine that nobody dealt with", ["reason"])
        self._alerts = gauge("alerts", "Alerts that stand", ["kind", "severity", "state"])
        self._news = gauge("alert_news_waiting", "News of alerts not delivered yet", ["receiver"])

    def set(self, figures: BookFigures) -> None:
        self._boxes.set(figures.boxes)
        self._online.set(figures.boxes_online)
        self._waiting.set(figures.boxes_waiting)
        self._oldest.set(figures.oldest_unacknowledged_s)
        self._ledger.set(figures.ledger_records)
        for gauge, counts in (
            (self._quarantine, {(reason,): n for reason, n in figures.quarantine.items()}),
            (self._alerts, {(k.value, s.value, state.value): n for (k, s, state), n in figures.alerts.items()}),
            (self._news, {(receiver,): n for receiver, n in figures.news_waiting.items()}),
        ):
            _all_of(gauge, Tally(counts))


def _all_of(gauge: Gauge, counts: Mapping[tuple[str, ...], int]) -> None:
    """These, and no label that was there before."""
    gauge.clear()
    for labels, count in counts.items():
        gauge.labels(*labels).set(count)
