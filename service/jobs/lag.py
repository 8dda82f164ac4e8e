"""How far the database may be behind what runs have written.

A commit mark does not say when it was written, and the clocks of workers and stores are not ours. What the reconciler
knows for certain is when it last looked at a job and found no epoch waiting: whatever it finds later was written after
that. So the time since is the longest that an epoch can have waited. It also grows while the store is away or an epoch
is damaged, when nothing can be taken in.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from service.metrics import Metrics


class IngestLag:
    """Since when each running job is known to have had nothing waiting; a restart begins anew."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._clean: dict[str, float] = {}
        metrics.ingest_behind.set_function(self.behind)

    def follow(self, job_ids: Iterable[str]) -> None:
        """Watch these jobs and no others."""
        now = time.monotonic()
        self._clean = {job_id: self._clean.get(job_id, now) for job_id in job_ids}

    def taken_in(self, job_id: str) -> None:
        """An epoch of the job is in the database."""
        now = time.monotonic()
        self._metrics.epochs.inc()
        self._metrics.ingest_lag.observe(now - self._clean.get(job_id, now))

    def nothing_waits(self, job_id: str) -> None:
        """The job was looked at, and everything that it had written is in the database."""
        if job_id in self._clean:  # a scrape may be reading: keys are added by `follow` alone, in a new dict
            self._clean[job_id] = time.monotonic()

    def behind(self) -> float:
        """The longest that an epoch can be waiting now."""
        now = time.monotonic()
        return now - min(self._clean.values(), default=now)
