"""Jobs: post those that train, watch, cancel."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from service.actions import Action
from service.api.dependencies import CallerDep, Context, ContextDep, SessionDep, ShownProjectDep, TrainDep, require_key
from service.api.idempotency import Answer, IdempotencyDep
from service.api.paging import PageSize, PageToken, decode, decode_time, encode, page_limit
from service.api.posting import check_priority, check_reproduces, plan_of
from service.api.problems import problems
from service.db import audit, jobs, models, removal, tables
from service.errors import Conflict, NotFound
from service.jobs import checks, predictions, warm_start
from service.jobs.advice import advise
from service.jobs.lifecycle import State, can_retry, on_cancel
from service.jobs.posting import queue
from service.jobs.tasks import Task
from service.models.stages import Stage
from service.resources.cross_validations import FoldOf
from service.resources.jobs import EpochPage, EpochResource, JobChange, JobLinks, JobPage, JobResource
from service.resources.posting import JobPlan, PostedJob
from service.roles import Caller
from workers.contract import keys
from workers.contract.prediction import PredictSpec
from workers.contract.request import Failure, Progress

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(require_key)], responses=problems(401))


def resource(job: tables.Job) -> JobResource:
    """A job as the API shows it."""
    return JobResource(
        id=job.id,
        project_id=job.project_id,
        task=Task(job.task),
        name=job.name,
        state=State(job.state),
        waiting_for=job.waiting_for,
        priority=job.priority,
        spec=jobs.spec_of(job),
        reproduces=job.reproduces,
        cross_validation=_fold_of(job),
        attempt=job.attempt,
        epochs_done=job.epochs_done,
        progress=Progress.model_validate(job.progress) if job.progress else None,
        metrics=job.metrics,
        failure=Failure.model_validate(job.failure) if job.failure else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        links=_links(job),
    )


def _fold_of(job: tables.Job) -> FoldOf | None:
    if job.cross_validation_id is None or job.fold is None:
        return None
    path = f"/v1/cross-validations/{job.cross_validation_id}"
    return FoldOf(id=job.cross_validation_id, fold=job.fold, path=path)


def _links(job: tables.Job) -> JobLinks:
    base, done = f"/v1/jobs/{job.id}", job.state == State.SUCCEEDED
    trains = job.task == Task.TRAIN
    model = f"/v1/models/{job.id if trains else job.spec['model_id']}" if done or not trains else None
    return JobLinks(
        self=base,
        events=f"{base}/events",
        logs=f"{base}/logs",
        environment=f"{base}/environment" if trains else None,
        epochs=f"{base}/epochs" if trains else None,
        samples=f"{base}/samples" if trains else None,
        held_out=f"{base}/held-out" if trains else None,
        metrics=f"{base}/metrics" if trains else None,
        model=model,
        files=f"{base}/files" if done and not trains else None,
    )


def get_any_job(job_id: str, session: SessionDep, caller: CallerDep) -> tables.Job:
    """The job that the path names, whatever its task; raises `NotFound`."""
    return _seen(jobs.get_job(session, job_id), job_id, caller)


AnyJobDep = Annotated[tables.Job, Depends(get_any_job, scope="function")]


def get_job(job: AnyJobDep) -> tables.Job:
    """The training that the path names; raises `NotFound`."""
    if job.task != Task.TRAIN:
        raise NotFound(
            f"Job {job.id} predicts: it has no epochs, no confidences and no model of its own. What it made: "
            f"GET /v1/jobs/{job.id}/files."
        )
    return job


def get_prediction(job: AnyJobDep) -> tables.Job:
    """The prediction that the path names; raises `NotFound`."""
    if job.task != Task.PREDICT:
        raise NotFound(f"Job {job.id} trains: what it made is its model, GET /v1/models/{job.id}.")
    return job


def _seen(job: tables.Job | None, job_id: str, caller: Caller) -> tables.Job:
    """The job, if there is one for this caller: where another project's is, there is nothing.

    Raises:
        NotFound: there is none.
    """
    if job is None or not caller.sees(job.project_id):
        raise NotFound(f"There is no job {job_id!r}.")
    return job


JobDep = Annotated[tables.Job, Depends(get_job, scope="function")]
PredictionDep = Annotated[tables.Job, Depends(get_prediction, scope="function")]


@router.post(
    "",
    status_code=202,
    response_model=JobResource,
    responses={
        200: {"model": JobPlan, "description": "With `dry_run`: what would be trained"},
        **problems(400, 403, 409, 413, 422),
    },
)
def post_job(
    posted: PostedJob,
    caller: TrainDep,
    context: ContextDep,
    session: SessionDep,
    idempotency: IdempotencyDep,
    dry_run: Annotated[bool, Query(description="check everything, create nothing, and say what would be done")] = False,
) -> JSONResponse:
    """Train on a dataset version. Answers at once; the job waits for room and then runs by itself.

    The job belongs to the project of its dataset. Of those that wait, jobs of higher priority start first, then those
    that have waited longest.

    Refused with the reason: unknown dataset versions and networks, arguments that the network does not take,
    combinations that cannot be trained, and jobs larger than the cluster. `dry_run` refuses the same, and suggests
    values for the fields that the body leaves out.
    """
    spec, priority = posted.spec, posted.priority
    check_priority(caller, priority)
    if posted.reproduces is not None:
        with context.database.read() as reading:
            check_reproduces(posted, jobs.get_job(reading, posted.reproduces), caller)
    if dry_run:
        checked = checks.check(context, caller, spec, priority)
        advice = advise(context, spec, posted.model_fields_set, checked)
        return JSONResponse(plan_of(posted, checked, advice).model_dump(mode="json"))

    def create() -> Answer:
        checked = checks.check(context, caller, spec)
        job = queue(session, caller, spec, checked.version, priority, posted.reproduces)
        session.flush()
        return Answer(resource(job), location=f"/v1/jobs/{job.id}", status=202)

    return idempotency.answer(session, posted.model_dump_json(), create)


@router.get("", responses=problems(400, 404, 422))
def list_jobs(
    session: SessionDep,
    project: ShownProjectDep,
    state: Annotated[State | None, Query(description="only jobs in this state")] = None,
    task: Annotated[Task | None, Query(description="only jobs that train, or only those that predict")] = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> JobPage:
    """Jobs, newest first."""
    arguments = {"list": "jobs", "state": state, "task": task, "project": project}
    position = decode(page_token, arguments, str, str)
    after = (decode_time(position[0]), position[1]) if position else None
    limit = page_limit(page_size)
    found = jobs.page_of_jobs(session, seen=project, state=state, task=task, after=after, limit=limit + 1)
    token = None
    if len(found) > limit:
        last = found[limit - 1]
        token = encode([last.created_at.isoformat(), last.id], arguments)
    return JobPage(jobs=[resource(job) for job in found[:limit]], next_page_token=token)


# Before the routes with an id, so that it is not taken for one.
@router.get("/schema")
def read_schema() -> dict[str, Any]:
    """The JSON Schema of a job as it is posted: every option with its default and bounds, for forms and editors."""
    return PostedJob.model_json_schema()


@router.get("/{job_id}", responses=problems(404))
def read_job(job: AnyJobDep) -> JobResource:
    """A job with its state, progress and newest metrics."""
    return resource(job)


@router.patch("/{job_id}", responses=problems(400, 403, 404, 409, 413, 422))
def change_job(job_id: str, change: JobChange, caller: TrainDep, session: SessionDep) -> JobResource:
    """Give a job another priority. It acts on those that wait; a job that runs is not interrupted for another."""
    job = _seen(jobs.lock_job(session, job_id), job_id, caller)
    check_priority(caller, change.priority)
    if State(job.state).terminal:
        raise Conflict(f"Job {job.id} is {job.state}: only of a job that is not over the priority can be changed.")
    if change.priority != job.priority:
        facts = {"before": job.priority, "priority": change.priority}
        audit.add(session, caller, Action.JOB_PRIORITY, job.id, job.project_id, **facts)
        job.priority = change.priority
        session.flush()
    return resource(job)


@router.post("/{job_id}:cancel", status_code=202, responses=problems(403, 404))
def cancel_job(job_id: str, caller: TrainDep, session: SessionDep) -> JobResource:
    """End a job; its workers are gone within seconds. Asking again, or too late, changes nothing."""
    end(session, caller, job_id)
    return resource(_seen(jobs.get_job(session, job_id), job_id, caller))


def end(session: Session, caller: Caller, job_id: str) -> bool:
    """End a job, and put it down in the audit trail; tells whether there was something to end.

    Raises:
        NotFound: there is no such job for this caller.
    """
    job = _seen(jobs.lock_job(session, job_id), job_id, caller)
    target = on_cancel(State(job.state))
    if target == job.state:
        return False
    audit.add(session, caller, Action.JOB_CANCEL, job.id, job.project_id, state=job.state)
    jobs.set_state(session, job, target)
    session.flush()
    return True


@router.post("/{job_id}:retry", status_code=202, responses=problems(403, 404, 409, 422))
def retry_job(job_id: str, caller: TrainDep, session: SessionDep) -> JobResource:
    """Queue a job again that failed or was cancelled: as a new attempt, from its newest checkpoint on.

    One that predicts goes on with what is missing. Attempts and `timeout_seconds` count anew. Asking again while it is
    queued changes nothing. Refused where the model that it starts from (`warm_start`) or predicts by is gone.
    """
    job = _seen(jobs.lock_job(session, job_id), job_id, caller)
    state = State(job.state)
    if state is State.QUEUED:
        return resource(job)
    if not can_retry(state):
        why = "it is not over, and goes on by itself"
        if state.terminal:
            why = (
                f"its {'model' if job.task == Task.TRAIN else 'result'} is there"
                if state is State.SUCCEEDED
                else "it is going away"
            )
        raise Conflict(f"Job {job.id} is {state}: {why}; only what failed or was cancelled can be tried again.")
    version, spec = jobs.get_version(session, job.dataset_id, job.dataset_version), jobs.spec_of(job)
    if isinstance(spec, PredictSpec):
        predictions.hold(session, spec.model_id, job.project_id)
    elif version is not None:
        warm_start.check(session, spec, job.project_id, version, hold=True)
    audit.add(session, caller, Action.JOB_RETRY, job.id, job.project_id, state=state, attempt=job.attempt)
    jobs.retry(session, job)
    session.flush()
    return resource(job)


@router.delete("/{job_id}", status_code=204, responses=problems(403, 404, 409, 503))
def delete_job(job_id: str, caller: TrainDep, context: ContextDep) -> None:
    """Remove a job that is over, with its history, its model and everything else that it wrote. There is no way back.

    Refused while its model is in production, or another job that is not over starts from it or predicts by it.

    Where that breaks off, the job is `DELETING`: it has no model any more, and can be deleted again.
    """
    # Not the request's session: the state is committed before the first object goes, so that nobody is offered a model
    # of which half is there, and the row goes last, so that what is left can still be found.
    with context.sessions.begin() as session:
        allow_deletion(session, caller, job_id)
    erase(context, job_id)


def allow_deletion(session: Session, caller: Caller, job_id: str) -> None:
    """Make a job one that is `DELETING`, and put it down in the audit trail.

    Raises:
        NotFound: there is no such job for this caller.
        Conflict: it must stay; says why.
    """
    job = _seen(jobs.lock_job(session, job_id), job_id, caller)
    state = State(job.state)
    if not state.terminal:
        raise Conflict(f"Job {job.id} is {state}: end it first (POST /v1/jobs/{job.id}:cancel).")
    if waiting := jobs.that_need(session, job.id):
        raise Conflict(
            f"The model of job {job.id} is what {', '.join(waiting[:5])} starts from (warm_start) or predicts by: "
            "delete it once they are over, or cancel them."
        )
    model = models.get(session, job.id)
    if model is not None and model.stage == Stage.PRODUCTION:
        raise Conflict(
            f"The model of job {job.id} is {model.series!r} in production: put another model there, or archive it "
            f"first (PATCH /v1/models/{job.id})."
        )
    if state is not State.DELETING:
        facts = {"name": job.name, "state": state}
        audit.add(session, caller, Action.JOB_DELETE, job.id, job.project_id, **facts)
        jobs.set_state(session, job, State.DELETING)


def erase(context: Context, job_id: str) -> None:
    """Remove what is left of a job that is `DELETING`: its objects, then its rows."""
    for key in list(context.store.list(keys.job(job_id))):
        context.store.delete(key)
    removal.remove_job(context.database, job_id)


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
