"""A sample over the jobs of its dataset: what each of them believed of its label, and what was decided."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from service.api.dependencies import SessionDep, require_key
from service.api.jobs import JobDep
from service.api.overlays import RowDep
from service.api.paging import PageSize, PageToken, decode, decode_time, encode, page_limit
from service.api.problems import problems
from service.db import over_jobs
from service.jobs.lifecycle import State
from service.resources.over_jobs import JobBelief, SampleOverJobs
from service.reviews.decisions import Decision

router = APIRouter(
    prefix="/v1/jobs/{job_id}/samples/{sample}/jobs",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404),
)


@router.get("", responses=problems(400, 422))
def read_over_jobs(
    job: JobDep, row: RowDep, session: SessionDep, page_size: PageSize = 50, page_token: PageToken = None
) -> SampleOverJobs:
    """What earlier and later jobs of the same dataset believed of a sample, this one among them, newest first.

    Samples are matched by name; where the label was another one, `same_label` is false.
    """
    arguments = {"list": "over jobs", "job": job.id, "sample": row.name}
    position = decode(page_token, arguments, str, str)
    limit = page_limit(page_size)
    after = (decode_time(position[0]), position[1]) if position else None
    found = over_jobs.page(session, job.dataset_id, row.name, limit + 1, after)
    token = None
    if len(found) > limit:
        last = found[limit - 1].job
        token = encode([last.created_at.isoformat(), last.id], arguments)
    return SampleOverJobs(
        sample=row.name,
        mask_sha256=row.mask_sha256,
        jobs=[_belief(one, row.mask_sha256) for one in found[:limit]],
        next_page_token=token,
    )


def _belief(one: over_jobs.Belief, label: str) -> JobBelief:
    review, decision = one.review, Decision(one.review.decision) if one.review and one.review.decision else None
    return JobBelief(
        job_id=one.job.id,
        job_name=one.job.name,
        state=State(one.job.state),
        dataset_version=one.job.dataset_version,
        created_at=one.job.created_at,
        finished_at=one.job.finished_at,
        ordinal=one.row.ordinal,
        epoch=one.row.epoch,
        rank=one.row.rank,
        samples=one.samples,
        confidence=one.row.confidence,
        score=one.row.score,
        dice=one.row.dice,
        expected_dice=one.row.expected_dice,
        mask_sha256=one.mask_sha256,
        same_label=one.mask_sha256 == label,
        decision=decision,
        decided_by=review.key_name if review and decision else None,
    )
