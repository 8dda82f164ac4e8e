# ruff: noqa: UP028
# Made from asynchronous/samples.py by `make client`: change that.
"""What the client does with what a job believes of samples: look, choose, and decide about many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import httpx

from service.client.connection import PAGE, Connection
from service.client.errors import check, reaching
from service.client.queries import ALL, OrderBy, SampleQuery
from service.client.wire import part
from service.resources.bulk_reviews import MOST_CORRECTIONS, MOST_ITEMS, LabelOutcome, ManyOutcomes
from service.resources.grid import MOST_CARDS, CardList, CardResource, SampleFacets, SampleOrder
from service.resources.held_out import HeldOutPage, HeldOutSample, JobMetrics
from service.resources.neighbours import Neighbours
from service.resources.over_jobs import JobBelief, SampleOverJobs
from service.resources.samples import HistoryPoint, SampleHistory, SamplePage, SampleResource
from service.reviews.decisions import Decision
from workers.contract.evaluation import MetricName

MANY = httpx.Timeout(120, connect=5)  # masks are stored before the answer


class Samples(Connection):
    """Browse the samples of a job, and decide about many."""

    def samples(
        self,
        job_id: str,
        wanted: SampleQuery = ALL,
        *,
        order_by: OrderBy = "score",
        order: Literal["asc", "desc"] = "asc",
        page_size: int = PAGE,
    ) -> Iterator[SampleResource]:
        """Samples, the most doubted first; pages are asked for as they are needed."""
        parameters = {**wanted.parameters(), "order_by": order_by, "order": order, "page_size": page_size}
        return self._pages(SamplePage, f"{_job(job_id)}/samples", parameters, lambda page: page.samples)

    def order(self, job_id: str, wanted: SampleQuery = ALL, *, order_by: OrderBy = "score") -> SampleOrder:
        """The ordinals of all samples that match, in order, as they are now."""
        parameters = {**wanted.parameters(), "order_by": order_by}
        answer = self._send("GET", f"{_job(job_id)}/samples:order", parameters=parameters)
        return SampleOrder.model_validate_json(answer.content)

    def cards(self, job_id: str, ordinals: Sequence[int]) -> Iterator[CardResource]:
        """Samples by their ordinals, each with its history and what is decided of its label."""
        for start in range(0, len(ordinals), MOST_CARDS):
            some = {"ordinal": list(ordinals[start : start + MOST_CARDS])}
            answer = self._send("GET", f"{_job(job_id)}/samples:cards", parameters=some)
            for card in CardList.model_validate_json(answer.content).cards:
                yield card

    def facets(self, job_id: str, wanted: SampleQuery = ALL) -> SampleFacets:
        """How many samples each choice of a filter would leave."""
        answer = self._send("GET", f"{_job(job_id)}/samples:facets", parameters=wanted.parameters())
        return SampleFacets.model_validate_json(answer.content)

    def decide_many(
        self, job_id: str, labels: dict[int, int | None], decision: Decision, *, note: str = ""
    ) -> Iterator[LabelOutcome]:
        """Decide about many labels: what became of each, request by request; each request is all or nothing.

        Args:
            job_id: the job; with `corrected`, its predictions take the labels' places.
            labels: revision that was seen, by the samples' ordinals; None: none, and what is decided stays.
            decision: what to put down.
            note: for people.
        """
        most = MOST_CORRECTIONS if decision is Decision.CORRECTED else MOST_ITEMS
        body = {"decision": decision, "note": note}
        return self._many(f"{_job(job_id)}/reviews:decide", body, labels, most)

    def undo_many(self, job_id: str, labels: dict[int, int | None]) -> Iterator[LabelOutcome]:
        """Go back to what was decided before, for labels that are still as they were seen."""
        return self._many(f"{_job(job_id)}/reviews:undo", {}, labels, MOST_ITEMS)

    def _many(self, url: str, body: dict[str, Any], labels: dict[int, int | None], most: int) -> Iterator[LabelOutcome]:
        named = [{"ordinal": ordinal, "revision": revision} for ordinal, revision in labels.items()]
        for start in range(0, len(named), most):
            with reaching(self.url):  # sent once: sent again, it would say that somebody has decided meanwhile
                answer = self._http.post(url, json={**body, "labels": named[start : start + most]}, timeout=MANY)
            for outcome in ManyOutcomes.model_validate_json(check(answer).content).labels:
                yield outcome

    def held_out(self, job_id: str, *, order_by: MetricName = "dice") -> Iterator[HeldOutSample]:
        """The samples that a job was not trained on, the worst by a metric first; once it has succeeded."""
        url = f"{_job(job_id)}/held-out"
        return self._pages(HeldOutPage, url, {"order_by": order_by}, lambda page: page.samples)

    def metrics(self, job_id: str) -> JobMetrics:
        """Metrics over all samples that a job was not trained on, with intervals, and calibration."""
        return self._get(JobMetrics, f"{_job(job_id)}/metrics")

    def sample(self, job_id: str, name: str) -> SampleResource:
        """What a job believes of one sample now."""
        return self._get(SampleResource, f"{_job(job_id)}/samples/{part(name)}")

    def over_jobs(self, job_id: str, name: str) -> Iterator[JobBelief]:
        """What the jobs over the same dataset believed of one sample, this one among them, newest first."""
        url = f"/v1/jobs/{part(job_id)}/samples/{part(name)}/jobs"
        return self._pages(SampleOverJobs, url, {}, lambda page: page.jobs)

    def neighbours(self, job_id: str, name: str) -> Neighbours:
        """The samples whose images look most like one's, once the job has succeeded."""
        return self._get(Neighbours, f"/v1/jobs/{part(job_id)}/samples/{part(name)}/neighbours")

    def history(self, job_id: str, name: str) -> list[HistoryPoint]:
        """What a job believed of one sample, epoch by epoch."""
        return self._get(SampleHistory, f"{_job(job_id)}/samples/{part(name)}/history").history


def _job(job_id: str) -> str:
    return f"/v1/jobs/{part(job_id)}"
