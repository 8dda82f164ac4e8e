"""Training jobs: post, watch, cancel."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field

from service.api.dependencies import CallerDep, Context, ContextDep, SessionDep, TrainDep, require_key
from service.api.idempotency import Answer, IdempotencyDep
from service.api.paging import PageSize, PageToken, decode, decode_time, encode, page_limit
from service.api.problems import problems
from service.db import audit, datasets, jobs, tables
from service.errors import FieldError, Invalid, NotFound, Unavailable
from service.jobs import networks
from service.jobs.capacity import needs, never_fits
from service.jobs.lifecycle import State, on_cancel
from service.jobs.submission import RayJobs, RayUnreachableError, submission_id
from service.roles import Caller
from workers.contract.request import Failure, JobSpec, Progress

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(require_key)], responses=problems(401))


class JobLinks(BaseModel):
    """Where the rest of a job is."""

    self: str
    events: str
    epochs: str
    logs: str
    samples: str
    model: str | None = Field(description="set once the job has succeeded")


class JobResource(BaseModel):
    """A training job."""

    id: str
    project_id: str
    name: str
    state: State
    waiting_for: str = Field(description="what a job that is not training yet waits for; empty if for nothing")
    spec: JobSpec
    attempt: int = Field(description="0 before the first; a run that the cluster lost resumes as the next one")
    epochs_done: int
    progress: Progress | None
    metrics: dict[str, Any] | None = Field(description="of the last finished epoch")
    failure: Failure | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: JobLinks


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[JobResource]
    next_page_token: str | None


class EpochResource(BaseModel):
    """A finished epoch."""

    epoch: int = Field(description="counted from 0")
    metrics: dict[str, Any]
    created_at: datetime


class EpochPage(BaseModel):
    """Some epochs of a job, in order."""

    epochs: list[EpochResource]
    next_page_token: str | None


def resource(job: tables.Job) -> JobResource:
    """A job as the API shows it."""
    base = f"/v1/jobs/{job.id}"
    return JobResource(
        id=job.id,
        project_id=job.project_id,
        name=job.name,
        state=State(job.state),
        waiting_for=job.waiting_for,
        spec=JobSpec.model_validate(job.spec),
        attempt=job.attempt,
        epochs_done=job.epochs_done,
        progress=Progress.model_validate(job.progress) if job.progress else None,
        metrics=job.metrics,
        failure=Failure.model_validate(job.failure) if job.failure else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        links=JobLinks(
            self=base,
            events=f"{base}/events",
            epochs=f"{base}/epochs",
            logs=f"{base}/logs",
            samples=f"{base}/samples",
            model=f"/v1/models/{job.id}" if job.state == State.SUCCEEDED else None,
        ),
    )


def get_job(job_id: str, session: SessionDep, caller: CallerDep) -> tables.Job:
    """The job that the path names; raises `NotFound`."""
    return _seen(jobs.get_job(session, job_id), job_id, caller)


def _seen(job: tables.Job | None, job_id: str, caller: Caller) -> tables.Job:
    """The job, if there is one for this caller: where another project's is, there is nothing.

    Raises:
        NotFound: there is none.
    """
    if job is None or not caller.sees(job.project_id):
        raise NotFound(f"There is no job {job_id!r}.")
    return job


JobDep = Annotated[tables.Job, Depends(get_job, scope="function")]


@router.post("", status_code=202, response_model=JobResource, responses=problems(400, 403, 409, 413, 422))
def post_job(
    spec: JobSpec, caller: TrainDep, context: ContextDep, session: SessionDep, idempotency: IdempotencyDep
) -> JSONResponse:
    """Train on a dataset version. Answers at once; the job waits for room and then runs by itself.

    The job belongs to the project of its dataset.

    Refused with the reason: unknown dataset versions and networks, arguments that the network does not take,
    combinations that cannot be trained, and jobs larger than the cluster.
    """

    def create() -> Answer:
        _check(context, caller, spec)
        job = jobs.add_job(session, f"job-{secrets.token_hex(8)}", spec)
        facts = {"name": job.name, "dataset_id": job.dataset_id, "dataset_version": job.dataset_version}
        audit.add(session, caller, audit.Action.JOB_CREATE, job.id, job.project_id, **facts)
        session.flush()
        return Answer(resource(job), location=f"/v1/jobs/{job.id}", status=202)

    return idempotency.answer(session, spec.model_dump_json(), create)


def _check(context: Context, caller: Caller, spec: JobSpec) -> None:
    """Everything that can be known of a job before it runs; slow, so before the session takes its lock."""
    networks.check_names(spec.network)
    with context.database.read() as reading:
        known = datasets.find(reading, spec.dataset_id, caller.project_id)
        version = jobs.get_version(reading, known.id, spec.dataset_version) if known else None
    if version is None:
        field, reason = "dataset_id", f"there is no dataset {spec.dataset_id!r}"
        if known:
            field, reason = "dataset_version", f"{spec.dataset_id} has no version {spec.dataset_version}"
        hint = "GET /v1/datasets lists what there is"
        raise Invalid(f"{reason[0].upper()}{reason[1:]}.", [FieldError(field=field, reason=reason, hint=hint)])
    _check_size(spec, version.spatial_dims)
    if reason := _too_large(context, spec):
        field = "gpus_per_worker" if "GPU" in reason else "workers"
        raise Invalid(f"{reason[0].upper()}{reason[1:]}.", [FieldError(field=field, reason=reason)])
    if context.settings.network_check:
        size = spec.image_size if version.spatial_dims == 2 else spec.patch_size
        classes = len(version.mask_values)
        networks.check_by_building(spec.network, size=size, classes=classes, spatial_dims=version.spatial_dims)


def _check_size(spec: JobSpec, spatial_dims: int) -> None:
    """Refuse a size that the dataset's kind does not have, unless it is the default, which clients may send along."""
    what, own, other = "images", "image_size", "patch_size"
    if spatial_dims == 3:
        what, own, other = "volumes", "patch_size", "image_size"
    if getattr(spec, other) != JobSpec.model_fields[other].default:
        fault = FieldError(field=other, reason=f"the dataset holds {what}", hint=f"leave it out, and set {own}")
        raise Invalid(f"A dataset of {what} is trained with {own}, not {other}.", [fault])


def _too_large(context: Context, spec: JobSpec) -> str:
    """Why the job can never fit on the cluster; empty if it can, or if nobody knows yet: the queue finds out."""
    endpoint = context.cluster.endpoint
    if endpoint is None:
        return ""
    try:
        with RayJobs(endpoint, timeout=2) as ray:
            capacity = ray.capacity()
    except RayUnreachableError:
        return ""
    return never_fits(needs(spec, capacity.total), capacity.total) if capacity else ""


@router.get("", responses=problems(400, 422))
def list_jobs(
    session: SessionDep,
    caller: CallerDep,
    state: Annotated[State | None, Query(description="only jobs in this state")] = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> JobPage:
    """Jobs, newest first."""
    arguments = {"list": "jobs", "state": state}
    position = decode(page_token, arguments, str, str)
    after = (decode_time(position[0]), position[1]) if position else None
    limit = page_limit(page_size)
    found = jobs.page_of_jobs(session, seen=caller.project_id, state=state, after=after, limit=limit + 1)
    token = None
    if len(found) > limit:
        last = found[limit - 1]
        token = encode([last.created_at.isoformat(), last.id], arguments)
    return JobPage(jobs=[resource(job) for job in found[:limit]], next_page_token=token)


@router.get("/{job_id}", responses=problems(404))
def read_job(job: JobDep) -> JobResource:
    """A job with its state, progress and newest metrics."""
    return resource(job)


@router.post("/{job_id}:cancel", status_code=202, responses=problems(403, 404))
def cancel_job(job_id: str, caller: TrainDep, session: SessionDep) -> JobResource:
    """End a job; its workers are gone within seconds. Asking again, or too late, changes nothing."""
    job = _seen(jobs.lock_job(session, job_id), job_id, caller)
    target = on_cancel(State(job.state))
    if target != job.state:
        audit.add(session, caller, audit.Action.JOB_CANCEL, job.id, job.project_id, state=job.state)
        jobs.set_state(session, job, target)
        session.flush()
    return resource(job)


@router.get("/{job_id}/epochs", responses=problems(400, 404, 422))
def list_epochs(job: JobDep, session: SessionDep, page_size: PageSize = 500, page_token: PageToken = None) -> EpochPage:
    """Metrics of the finished epochs, in order."""
    arguments = {"list": "epochs", "job": job.id}
    position = decode(page_token, arguments, int)
    limit = page_limit(page_size)
    found = jobs.epochs(session, job.id, after=position[0] if position else -1, limit=limit + 1)
    token = encode([found[limit - 1].epoch], arguments) if len(found) > limit else None
    listed = [EpochResource(epoch=row.epoch, metrics=row.metrics, created_at=row.created_at) for row in found[:limit]]
    return EpochPage(epochs=listed, next_page_token=token)


@router.get(
    "/{job_id}/logs",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(404, 503)},
)
def read_logs(
    job: JobDep,
    session: SessionDep,
    context: ContextDep,
    attempt: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="of an earlier attempt; empty: of the newest")
    ] = None,
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
