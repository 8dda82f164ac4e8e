"""What the client does with jobs, and with what they believe of samples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

import httpx

from service.api.held_out import HeldOutPage, HeldOutSample
from service.api.jobs import EpochPage, EpochResource, JobPage, JobResource
from service.api.neighbours import Neighbours
from service.api.over_jobs import JobBelief, SampleOverJobs
from service.api.posting import JobPlan
from service.api.samples import HistoryPoint, SampleHistory, SamplePage, SampleResource
from service.client.comparison import Difference, Outcome, compare
from service.client.connection import PAGE, Connection
from service.client.errors import Unreachable, check, reaching
from service.client.sse import Event, parse_events
from service.client.wire import given, idempotency, part
from service.jobs.lifecycle import State
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


class Jobs(Connection):
    """Post, watch, end; then browse the samples."""

    def train(self, spec: JobSpec, *, priority: int = 0, idempotency_key: str | None = None) -> JobResource:
        """Post a job. Sent again with the same key where the connection fails, so it starts once."""
        headers, body = idempotency(idempotency_key), spec.model_dump(mode="json") | {"priority": priority}
        response = self._send("POST", "/v1/jobs", body, headers, timeout=TRAIN_TIMEOUT)
        return JobResource.model_validate_json(response.content)

    def reproduce(self, job: JobResource) -> JobResource:
        """Post a job again: the same specification on the same version of the dataset."""
        name = f"{job.name or job.id} again"[-200:]
        body = job.spec.model_dump(mode="json") | {"name": name, "reproduces": job.id}
        response = self._send("POST", "/v1/jobs", body, idempotency(), timeout=TRAIN_TIMEOUT)
        return JobResource.model_validate_json(response.content)

    def compare(self, job_id: str, other: str) -> Difference:
        """How far the results of two jobs over the same samples are apart; raises ValueError where they are not."""
        return compare(self._outcome(job_id), self._outcome(other))

    def _outcome(self, job_id: str) -> Outcome:
        job = self.job(job_id)
        if job.state is not State.SUCCEEDED:
            raise ValueError(f"Job {job_id} is {job.state}: only what has succeeded can be compared.")
        samples = list(self.samples(job_id, order_by="name"))
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

    def jobs(self, *, state: str | None = None, project: str | None = None) -> Iterator[JobResource]:
        """Jobs, newest first; of one `project`, for the operator."""
        return self._pages(JobPage, "/v1/jobs", {"state": state, "project": project}, lambda page: page.jobs)

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
            time.sleep(0.5)

    def _events(self, job_id: str, seen: str | None) -> Iterator[Event]:
        headers = {"Last-Event-ID": seen} if seen else {}
        url = f"/v1/jobs/{part(job_id)}/events"
        with reaching(self.url), self._http.stream("GET", url, headers=headers, timeout=SILENCE) as response:
            yield from parse_events(check(response).iter_lines())

    def wait(self, job_id: str) -> JobResource:
        """Wait until a job is over; the answer tells how it ended."""
        for _ in self.follow(job_id):
            pass
        return self.job(job_id)

    def samples(
        self,
        job_id: str,
        *,
        order_by: Literal["score", "confidence", "name", "dice"] = "score",
        order: Literal["asc", "desc"] = "asc",
        name_contains: str | None = None,
        confidence_max: float | None = None,
        score_max: float | None = None,
        page_size: int = PAGE,
    ) -> Iterator[SampleResource]:
        """Samples, the most doubted first; pages are asked for as they are needed."""
        parameters = {
            "order_by": order_by,
            "order": order,
            "name_contains": name_contains,
            "confidence_max": confidence_max,
            "score_max": score_max,
            "page_size": page_size,
        }
        url = f"/v1/jobs/{part(job_id)}/samples"
        return self._pages(SamplePage, url, parameters, lambda page: page.samples)

    def held_out(self, job_id: str) -> Iterator[HeldOutSample]:
        """The samples that a job was not trained on, the one with the lowest Dice first; once it has succeeded."""
        return self._pages(HeldOutPage, f"/v1/jobs/{part(job_id)}/held-out", {}, lambda page: page.samples)

    def sample(self, job_id: str, name: str) -> SampleResource:
        """What a job believes of one sample now."""
        return self._get(SampleResource, f"/v1/jobs/{part(job_id)}/samples/{part(name)}")

    def history(self, job_id: str, name: str) -> list[HistoryPoint]:
        """What a job believed of one sample, epoch by epoch."""
        return self._get(SampleHistory, f"/v1/jobs/{part(job_id)}/samples/{part(name)}/history").history

    def over_jobs(self, job_id: str, name: str) -> Iterator[JobBelief]:
        """What the jobs over the same dataset believed of one sample, this one among them, newest first."""
        url = f"/v1/jobs/{part(job_id)}/samples/{part(name)}/jobs"
        return self._pages(SampleOverJobs, url, {}, lambda page: page.jobs)

    def neighbours(self, job_id: str, name: str) -> Neighbours:
        """The samples whose images look most like one's, once the job has succeeded."""
        return self._get(Neighbours, f"/v1/jobs/{part(job_id)}/samples/{part(name)}/neighbours")
