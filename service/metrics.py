"""What is measured: the instruments of one service, under the names that `deploy/monitoring/` asks for.

Whoever starts a service makes one `Metrics` and hands it to the parts that measure. Nothing is global: several
services in one process count apart. Every label has few values, whatever callers send.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from service.db.session import Statement

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
PART_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LAG_BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
VERBS = {"SELECT", "INSERT", "UPDATE", "DELETE", "BEGIN"}  # on SQLite, BEGIN is where a writer waits for its turn


class Metrics:
    """The instruments, and the registry that a scrape reads."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Histogram(
            "dale_http_request_duration_seconds",
            "Requests that were answered, by route template; 'other' is what no route of the API is asked for.",
            ("method", "route", "status"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.requests_in_flight = Gauge(
            "dale_http_requests_in_flight", "Requests that are being answered.", registry=registry
        )
        self.limited = Counter(
            "dale_http_requests_limited",
            "Requests refused with 429: 'key' is a key's budget, 'attempts' an address that shows no good key.",
            ("limit",),
            registry=registry,
        )
        for limit in ("key", "attempts"):
            self.limited.labels(limit)
        self.store = Histogram(
            "dale_store_duration_seconds",
            "Operations of the object store; of a stream, until its first part is there.",
            ("operation",),
            buckets=PART_BUCKETS,
            registry=registry,
        )
        self.store_errors = Counter(
            "dale_store_errors", "Operations that the object store did not do.", ("operation",), registry=registry
        )
        self.database = Histogram(
            "dale_database_duration_seconds",
            "Statements, by their first word, until the database answered.",
            ("statement",),
            buckets=PART_BUCKETS,
            registry=registry,
        )
        self.database_errors = Counter(
            "dale_database_errors", "Statements that the database refused.", ("statement",), registry=registry
        )
        self.predictions = Histogram(
            "dale_prediction_duration_seconds",
            "Predictions of models, without their wait for a turn; 'busy' were told to come back.",
            ("outcome",),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.last_round = Gauge(
            "dale_reconciler_last_round_timestamp_seconds",
            "When the reconciler last completed a look at all jobs; 0 where none runs in this process.",
            registry=registry,
        )
        self.epochs = Counter("dale_ingested_epochs", "Epochs that were taken into the database.", registry=registry)
        self.ingest_lag = Histogram(
            "dale_ingest_lag_seconds",
            "How long, at most, an epoch that was taken in had waited since its commit mark was written.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self.ingest_behind = Gauge(
            "dale_ingest_behind_seconds",
            "For how long, at most, an epoch of a running job can be waiting now.",
            registry=registry,
        )

    def count_statement(self, statement: Statement) -> None:
        """Measure what was asked of the database; for `Database.watch`."""
        word = statement.text.split(None, 1)[0].upper()
        verb = word if word in VERBS else "other"
        self.database.labels(verb).observe(statement.seconds)
        if statement.failed:
            self.database_errors.labels(verb).inc()
