"""The attempts of a job: their logs, and what they ran in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import PlainTextResponse

from service.api.dependencies import ContextDep, SessionDep, require_key
from service.api.jobs import AnyJobDep
from service.api.problems import problems
from service.db import jobs
from service.errors import NotFound, Unavailable
from service.jobs.submission import RayJobs, RayUnreachableError, submission_id
from workers.contract.environment import Environment

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(require_key)], responses=problems(401))
AttemptNumber = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="of an earlier attempt; empty: of the newest")
]


@router.get("/{job_id}/environment", responses=problems(404, 422))
def read_environment(job: AnyJobDep, session: SessionDep, attempt: AttemptNumber = None) -> Environment:
    """What an attempt ran in: code, packages, hardware, data. Empty: the newest attempt that has written it down."""
    if attempt is None:
        kept = jobs.newest_environment(session, job.id)
    else:
        kept = jobs.get_attempt(session, job.id, attempt)
        if kept is None:
            raise NotFound(f"Job {job.id} has no attempt {attempt}.")
    if kept is None or kept.environment is None:
        raise NotFound(
            f"Nothing is known yet of what job {job.id} ran in: a run writes it down when it begins to train."
        )
    return Environment.model_validate(kept.environment)


@router.get(
    "/{job_id}/logs",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(404, 503)},
)
def read_logs(
    job: AnyJobDep,
    session: SessionDep,
    context: ContextDep,
    attempt: AttemptNumber = None,
) -> PlainTextResponse:
    """The end of a job's log: from the cluster while it runs, then from the database."""
    number = attempt or job.attempt
    kept = jobs.get_attempt(session, job.id, number)
    if kept is None:
        if attempt is not None:
            raise NotFound(f"Job {job.id} has no attempt {attempt}.")
        return PlainTextResponse("")
    if kept.finished_at is not None or number != job.attempt:
        return PlainTextResponse(kept.log)
    endpoint = context.cluster.endpoint
    if endpoint is None:
        raise Unavailable(f"The log is on the cluster, which is not there now: {context.cluster.problem}.")
    try:
        with RayJobs(endpoint) as ray:
            return PlainTextResponse(ray.log_tail(submission_id(job.id, number)))
    except RayUnreachableError as error:
        raise Unavailable("The log is on the cluster, which does not answer now.") from error
