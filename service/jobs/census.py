"""How many jobs there are in each state, and how long the oldest has waited: asked of the database at a scrape."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from service import logging
from service.db.base import now
from service.db.session import Database
from service.db.tables import Job
from service.jobs.lifecycle import State

log = logging.get(__name__)
FRESH_SECONDS = 5.0  # however many scrape, the database is asked this often at most


class Census(Collector):
    """Counts jobs with one query. While the database does not answer there is nothing to tell, so nothing is told."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counted: list[Metric] = []
        self._at = -FRESH_SECONDS

    def describe(self) -> list[Metric]:
        """Names without values: registering must not ask the database."""
        return list(_families())

    def collect(self) -> Iterator[Metric]:
        """The numbers, at most `FRESH_SECONDS` old."""
        with self._lock:
            if time.monotonic() - self._at >= FRESH_SECONDS:
                try:
                    self._counted = self._count()
                except SQLAlchemyError as error:
                    log.warning("jobs cannot be counted", error=str(error))
                    self._counted = []
                self._at = time.monotonic()
            counted = self._counted
        yield from counted

    def _count(self) -> list[Metric]:
        query = select(Job.state, func.count(), func.min(func.coalesce(Job.retried_at, Job.created_at))).group_by(
            Job.state
        )
        with self._database.read() as session:
            found = {state: (number, oldest) for state, number, oldest in session.execute(query)}
        states, oldest_age = _families()
        for state in State:
            states.add_metric([state], found.get(state, (0, None))[0])
        _, oldest = found.get(State.QUEUED, (0, None))
        oldest_age.add_metric([], max((now() - oldest).total_seconds(), 0) if oldest else 0)
        return [states, oldest_age]


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily("dale_jobs", "Jobs in each state; those that are QUEUED are the queue.", labels=["state"]),
        GaugeMetricFamily("dale_queue_oldest_seconds", "Age of the oldest job that waits for its turn; 0: none does."),
    )
