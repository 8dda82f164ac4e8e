"""How well the network that a job delivered does on the samples that it was not trained on."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query

from service.api.dependencies import SessionDep, require_key
from service.api.jobs import JobDep
from service.api.paging import PageSize, PageToken, decode, encode, page_limit
from service.api.problems import problems
from service.db import datasets, held_out, tables
from service.jobs.lifecycle import State
from service.resources.held_out import EvaluationState, HeldOutPage, HeldOutSample, JobMetrics
from workers.contract.evaluation import METRICS, Evaluation, MetricName

router = APIRouter(
    prefix="/v1/jobs/{job_id}",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404),
)


@router.get("/held-out", responses=problems(400, 422))
def list_held_out(
    job: JobDep,
    session: SessionDep,
    order_by: Annotated[MetricName, Query(description="the worst by this metric come first")] = "dice",
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> HeldOutPage:
    """The metrics of each held-out sample, once the job has succeeded: the worst first, undefined ones last.

    Dice and IoU are 1 of a class that is neither in the label nor in the prediction. HD95 is undefined of a class
    that is missing in one of both, precision of one missing in the prediction, recall of one missing in the label.
    """
    arguments = {"list": "held out", "job": job.id, "order_by": order_by}
    position = decode(page_token, arguments, float, int)
    limit = page_limit(page_size)
    after = (position[0], position[1]) if position else None
    found = held_out.page(session, job.id, limit + 1, after, order_by)
    token = encode(list(held_out.place(found[limit - 1], order_by)), arguments) if len(found) > limit else None
    version = datasets.version(session, job.dataset_id, job.dataset_version)
    return HeldOutPage(
        samples=[resource(row) for row in found[:limit]],
        total=version.test_count,
        next_page_token=token,
    )


@router.get("/metrics")
def read_metrics(job: JobDep) -> JobMetrics:
    """Metrics over all held-out samples, with intervals, and how far the network's probabilities are to be believed.

    Once the job has succeeded. Intervals are those of the mean, by a bootstrap that draws whole groups (such as
    patients) where groups are known.
    """
    if not State(job.state).terminal:
        return JobMetrics(state=EvaluationState.NOT_YET, evaluation=None)
    if job.evaluation is None:
        return JobMetrics(state=EvaluationState.NONE, evaluation=None)
    return JobMetrics(state=EvaluationState.KNOWN, evaluation=Evaluation.model_validate(job.evaluation))


def resource(row: tables.HeldOutSample) -> HeldOutSample:
    """A held-out sample as the API shows it."""
    base = f"/v1/jobs/{row.job_id}/samples/{quote(row.name, safe='')}"
    return HeldOutSample(
        sample=row.name,
        ordinal=row.ordinal,
        **{metric: getattr(row, metric) for metric in METRICS},
        classes=row.classes,
        image=f"{base}/image",
        overlay=f"{base}/overlay",
    )
