# ruff: noqa: C416, SIM117
# Made from asynchronous/jobs.py by `make client`: change that.
"""What the client does with jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx

from service.client.comparison import Difference, Outcome, compare
from service.client.connection import opened
from service.client.errors import Unreachable, reaching
from service.client.samples import Samples
from service.client.sse import Event, EventParser
from service.client.waiting import sleep
from service.client.wire import given, idempotency, part
from service.jobs.lifecycle import State
from service.jobs.tasks import Task
from service.resources.histograms import ConfidenceHistogram
from service.resources.jobs import EpochPage, EpochResource, JobPage, JobResource
from service.resources.posting import JobPlan
from workers.contract.environment import Environment
from workers.contract.request import JobSpec

# The network is built once before a job is accepted; on a busy machine that takes its time.
TRAIN_TIMEOUT = httpx.Timeout(180, connect=5)
# A history of ten million rows goes in pieces, so that others can write meanwhile.
DELETE_TIMEOUT = httpx.Timeout(1800, connect=5)
# A stream that says nothing for this long (the service sends a sign of life every 15 s) is dead.
SILENCE = httpx.Timeout(60, connect=5)
# How long `follow` tries to come back to a service that has gone away.
PATIENCE_SECONDS = 60.0


class Jobs(Samples):
    """Post, watch, end; then browse the samples."""

    def train(self, spec: JobSpec, *, priority: int = 0, idempotency_key: str | None = None) -> JobResource:
        """Post a job. Sent again with the same key where the connection fails, so it starts once."""
        headers, body = idempotency(idempotency_key), spec.model_dump(mode="json") | {"priority": priority}
        response = self._send("POST", "/v1/jobs", body, headers, timeout=TRAIN_TIMEOUT)
        return JobResource.model_validate_json(response.content)

    def reproduce(self, job: JobResource) -> JobResource:
        """Post a training again: the same specification on the same version of the dataset."""
        if job.task is not Task.TRAIN:
            raise ValueError(f"Job {job.id} predicts: only a training can be repeated.")
        name = f"{job.name or job.id} again"[-200:]
        body = job.spec.model_dump(mode="json") | {"name": name, "reproduces": job.id}
        response = self._send("POST", "/v1/jobs", body, idempotency(), timeout=TRAIN_TIMEOUT)
        return JobResource.model_validate_json(response.content)

    def compare(self, job_id: str, other: str) -> Difference:
        """How far the results of two jobs over the same samples are apart; raises ValueError where they are not."""
        return compare(self._outcome(job_id), self._outcome(other))

    def _outcome(self, job_id: str) -> Outcome:
        job = self.job(job_id)
        if job.task is not Task.TRAIN:
            raise ValueError(f"Job {job_id} predicts: only trainings can be compared.")
        if job.state is not State.SUCCEEDED:
            raise ValueError(f"Job {job_id} is {job.state}: only what has succeeded can be compared.")
        samples = [sample for sample in self.samples(job_id, order_by="name")]
        return Outcome(
            metrics=job.metrics or {},
            confidence={sample.sample: sample.confidence for sample in samples},
            score={sample.sample: sample.score for sample in samples},
        )

    def plan(self, spec: JobSpec, *, priority: int = 0) -> JobPlan:
        """What `train` would do; refused as it would be, and nothing is created.

        Values are suggested for the fields that were not given to `spec`.
        """
        everything = spec.model_dump(mode="json")
        body = {name: everything[name] for name in spec.model_fields_set} | {"priority": priority}
        dry = {"dry_run": True}
        response = self._send("POST", "/v1/jobs", body, parameters=dry, timeout=TRAIN_TIMEOUT)
        return JobPlan.model_validate_json(response.content)

    def job(self, job_id: str) -> JobResource:
        """A job as it is now."""
        return self._get(JobResource, f"/v1/jobs/{part(job_id)}")

    def jobs(
        self, *, state: str | None = None, task: str | None = None, project: str | None = None
    ) -> Iterator[JobResource]:
        """Jobs, newest first; only those that `train` or `predict`; of one `project`, for the operator."""
        asked = {"state": state, "task": task, "project": project}
        return self._pages(JobPage, "/v1/jobs", asked, lambda page: page.jobs)

    def set_priority(self, job_id: str, priority: int) -> JobResource:
        """Let a job that is not over go before others of lower priority; above 0 for admins."""
        response = self._send("PATCH", f"/v1/jobs/{part(job_id)}", {"priority": priority})
        return JobResource.model_validate_json(response.content)

    def cancel(self, job_id: str) -> JobResource:
        """Ask a job to end; asking twice does no harm."""
        response = self._send("POST", f"/v1/jobs/{part(job_id)}:cancel")
        return JobResource.model_validate_json(response.content)

    def retry(self, job_id: str) -> JobResource:
        """Queue a job again that failed or was cancelled; it goes on from its newest checkpoint."""
        response = self._send("POST", f"/v1/jobs/{part(job_id)}:retry")
        return JobResource.model_validate_json(response.content)

    def delete(self, job_id: str) -> None:
        """Remove a job that is over, with its model and everything else of it."""
        self._send("DELETE", f"/v1/jobs/{part(job_id)}", timeout=DELETE_TIMEOUT)

    def job_schema(self) -> dict[str, Any]:
        """JSON Schema of what `train` posts: every option with its bounds and default."""
        schema: dict[str, Any] = self._send("GET", "/v1/jobs/schema").json()
        return schema

    def histogram(self, job_id: str) -> ConfidenceHistogram:
        """How a job's confidences are spread, epoch by epoch."""
        return self._get(ConfidenceHistogram, f"/v1/jobs/{part(job_id)}/histogram")

    def epochs(self, job_id: str) -> Iterator[EpochResource]:
        """Metrics of the finished epochs, in order."""
        return self._pages(EpochPage, f"/v1/jobs/{part(job_id)}/epochs", {}, lambda page: page.epochs)

    def logs(self, job_id: str, *, attempt: int | None = None) -> str:
        """The end of a job's log."""
        parameters = given({"attempt": attempt})
        return self._send("GET", f"/v1/jobs/{part(job_id)}/logs", parameters=parameters).text

    def environment(self, job_id: str, *, attempt: int | None = None) -> Environment:
        """What an attempt ran in (None: the newest that has written it down)."""
        url, parameters = f"/v1/jobs/{part(job_id)}/environment", given({"attempt": attempt})
        return Environment.model_validate_json(self._send("GET", url, parameters=parameters).content)

    def follow(self, job_id: str, *, last_event_id: str | None = None) -> Iterator[Event]:
        """What happens to a job, from the beginning or behind an event, until the job is over.

        Where the connection breaks it is taken up again, without losing or repeating an event that has an id.

        Raises:
            Unreachable: the service stayed away for a minute.
        """
        seen = last_event_id
        alive = time.monotonic()
        while True:
            try:
                for event in self._events(job_id, seen):
                    alive = time.monotonic()
                    seen = event.id or seen
                    yield event
                if self.job(job_id).state.terminal:
                    return
            except Unreachable:
                if time.monotonic() - alive > PATIENCE_SECONDS:
                    raise
            sleep(0.5)

    def _events(self, job_id: str, seen: str | None) -> Iterator[Event]:
        headers = {"Last-Event-ID": seen} if seen else {}
        url = f"/v1/jobs/{part(job_id)}/events"
        parser = EventParser()
        with reaching(self.url):
            with self._http.stream("GET", url, headers=headers, timeout=SILENCE) as response:
                for line in opened(response).iter_lines():
                    if event := parser.feed(line):
                        yield event

    def wait(self, job_id: str) -> JobResource:
        """Wait until a job is over; the answer tells how it ended."""
        for _ in self.follow(job_id):
            pass
        return self.job(job_id)
