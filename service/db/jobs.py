"""Every query about jobs: what the API shows of them and what the reconciler changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, tuple_
from sqlalchemy.orm import Session

from service.db import confidences, held_out, models
from service.db.base import Base, now
from service.db.tables import Artifact, Attempt, Confidence, Dataset, DatasetVersion, Epoch, Event, Job, JobSample
from service.jobs.lifecycle import State, move
from service.jobs.tasks import Task, task_of
from workers.contract.prediction import AnySpec, PredictionManifest, PredictSpec
from workers.contract.request import EpochManifest, Failure, JobSpec, ResultFile, ResultManifest


def spec_of(job: Job) -> AnySpec:
    """The specification of a job, by its task."""
    return (PredictSpec if job.task == Task.PREDICT else JobSpec).model_validate(job.spec)


def add_job(session: Session, job_id: str, spec: AnySpec, priority: int = 0, reproduces: str | None = None) -> Job:
    """Queue a job in the project of its dataset; the version must exist."""
    dataset = session.get_one(Dataset, spec.dataset_id)
    job = Job(
        id=job_id,
        project_id=dataset.project_id,
        task=task_of(spec),
        name=spec.name,
        state=State.QUEUED,
        waiting_for="its turn",
        priority=priority,
        reproduces=reproduces,
        spec=spec.model_dump(mode="json"),
        dataset_id=spec.dataset_id,
        dataset_version=spec.dataset_version,
        attempt=0,
        epochs_done=0,
    )
    session.add(job)
    session.flush()
    add_event(session, job_id, "state", {"state": State.QUEUED})
    return job


def get_job(session: Session, job_id: str) -> Job | None:
    """A job, or None."""
    return session.get(Job, job_id)


def get_training(session: Session, job_id: str) -> Job | None:
    """A job that trains, or None: one that predicts has no epochs, no confidences and no model."""
    job = session.get(Job, job_id)
    return job if job is not None and job.task == Task.TRAIN else None


def lock_job(session: Session, job_id: str) -> Job | None:
    """A job that nobody else can change until this transaction ends."""
    return session.get(Job, job_id, with_for_update=True, populate_existing=True)


def unfinished(session: Session) -> list[Job]:
    """Jobs that are not over, in the order of the queue: by priority, then the longest in it first."""
    states = [state for state in State if not state.terminal]
    queued_at = func.coalesce(Job.retried_at, Job.created_at)
    query = select(Job).where(Job.state.in_(states)).order_by(Job.priority.desc(), queued_at, Job.id)
    return list(session.scalars(query))


def that_need(session: Session, job_id: str) -> list[str]:
    """Ids of the jobs that are not over and start from the model of this one, or predict by it."""
    states = [state for state in State if not state.terminal]
    named = or_(*(Job.spec[name].as_string() == job_id for name in ("warm_start", "model_id")))
    query = select(Job.id).where(Job.state.in_(states), named)
    return list(session.scalars(query.order_by(Job.created_at, Job.id)))


def page_of_jobs(
    session: Session,
    *,
    seen: str | None,
    state: State | None = None,
    task: Task | None = None,
    after: tuple[Any, str] | None = None,
    limit: int,
) -> list[Job]:
    """Jobs of the project that is `seen` (None: of all), newest first, from behind a position on."""
    query = select(Job).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
    if seen is not None:
        query = query.where(Job.project_id == seen)
    if state is not None:
        query = query.where(Job.state == state)
    if task is not None:
        query = query.where(Job.task == task)
    if after is not None:
        created_at, job_id = after
        query = query.where(or_(Job.created_at < created_at, and_(Job.created_at == created_at, Job.id < job_id)))
    return list(session.scalars(query))


def earlier_job(session: Session, job: Job) -> Job | None:
    """The newest job that has succeeded over an earlier version of a job's dataset, or None; of a fold none."""
    if job.cross_validation_id is not None:
        return None
    query = select(Job).where(
        Job.dataset_id == job.dataset_id,
        Job.dataset_version < job.dataset_version,
        Job.state == State.SUCCEEDED,
        Job.cross_validation_id.is_(None),
        Job.task == Task.TRAIN,
    )
    return session.scalar(query.order_by(Job.dataset_version.desc(), Job.created_at.desc(), Job.id.desc()).limit(1))


def set_state(session: Session, job: Job, target: State, **event: Any) -> None:
    """Move a job by the rules and tell whoever watches; terminal states get their time, a trained model its name."""
    job.state = move(State(job.state), target)
    if target is not State.QUEUED:
        job.waiting_for = ""
    if target is State.RUNNING and job.started_at is None:
        job.started_at = now()
    if target.terminal:
        job.finished_at = now()
    if target is State.SUCCEEDED and job.task == Task.TRAIN:
        models.register(session, job)
    add_event(session, job.id, "state", {"state": target, **event})


def fail(session: Session, job: Job, failure: Failure) -> None:
    """End a job with a cause that a person can act on."""
    job.failure = failure.model_dump(mode="json")
    set_state(session, job, State.FAILED, cause=failure.cause, hint=failure.hint)


def retry(session: Session, job: Job) -> None:
    """Queue a job anew that failed or was cancelled; attempts and time limit count from here.

    What earlier attempts have left stays: the next one has another number, so it reads no failure of theirs, and it
    goes on from their newest checkpoint.
    """
    set_state(session, job, State.QUEUED, retry=True)
    job.waiting_for = "its turn"
    job.retried_at = now()
    job.attempts_before = job.attempt
    job.progress = job.failure = job.finished_at = None


def remove(session: Session, job_id: str) -> None:
    """Remove a job with every row that refers to it, in whichever table."""
    jobs = Job.__table__
    for table in reversed(Base.metadata.sorted_tables):
        for key in table.foreign_keys:
            if key.column.table is jobs:
                session.execute(delete(table).where(key.parent == job_id))
    session.execute(delete(Job).where(Job.id == job_id))


def add_event(session: Session, job_id: str, kind: str, data: dict[str, Any]) -> None:
    """Put down what happened; the row's id becomes the id of the SSE event."""
    session.add(Event(job_id=job_id, kind=kind, data=data))


def events_after(session: Session, job_id: str, last_id: int, limit: int = 500) -> list[Event]:
    """Events of a job behind an id, in order."""
    query = select(Event).where(Event.job_id == job_id, Event.id > last_id).order_by(Event.id).limit(limit)
    return list(session.scalars(query))


def begin_attempt(session: Session, job: Job, submission_id: str) -> None:
    """Note that a new attempt will be submitted, before it is: its id is what makes a second submission harmless."""
    job.attempt += 1
    job.progress = None
    session.add(Attempt(job_id=job.id, number=job.attempt, submission_id=submission_id))
    set_state(session, job, State.STARTING, attempt=job.attempt)


def end_attempt(session: Session, job: Job, log: str) -> None:
    """Keep the end of the log: Ray forgets it with its head."""
    attempt = session.get(Attempt, (job.id, job.attempt))
    if attempt is not None:
        attempt.finished_at = now()
        attempt.log = log.replace("\0", "")  # PostgreSQL keeps no NUL in text


def get_attempt(session: Session, job_id: str, number: int) -> Attempt | None:
    """One attempt of a job, or None."""
    return session.get(Attempt, (job_id, number))


def newest_environment(session: Session, job_id: str) -> Attempt | None:
    """The newest attempt of which it is known what it ran in, or None."""
    query = select(Attempt).where(Attempt.job_id == job_id, Attempt.environment.is_not(None))
    return session.scalars(query.order_by(Attempt.number.desc()).limit(1)).one_or_none()


def epochs(session: Session, job_id: str, after: int, limit: int) -> list[Epoch]:
    """Committed epochs behind a number, in order."""
    query = select(Epoch).where(Epoch.job_id == job_id, Epoch.epoch > after).order_by(Epoch.epoch).limit(limit)
    return list(session.scalars(query))


def get_version(session: Session, dataset_id: str, number: int) -> DatasetVersion | None:
    """A dataset version, or None."""
    return session.get(DatasetVersion, (dataset_id, number))


def train_count(session: Session, job: Job) -> int:
    """Number of samples that a job trains on: they have the first ordinals of its dataset version."""
    query = select(DatasetVersion.train_count).where(
        DatasetVersion.dataset_id == job.dataset_id, DatasetVersion.number == job.dataset_version
    )
    return session.scalars(query).one()


def add_epoch(session: Session, job: Job, manifest: EpochManifest, rows: pa.Table) -> None:
    """Take in an epoch, once: a second time fails on the primary key of `epochs`.

    Args:
        session: a transaction; everything of the epoch is in it.
        job: the job, locked.
        manifest: the epoch's commit mark.
        rows: one for each sample, as `confidences.insert_epoch` takes them.
    """
    session.add(Epoch(job_id=job.id, epoch=manifest.epoch, metrics=manifest.metrics))
    session.flush()
    confidences.insert_epoch(session, job, manifest.epoch, rows)
    job.epochs_done = manifest.epoch + 1
    job.metrics = manifest.metrics
    job.waiting_for = ""
    add_event(session, job.id, "epoch", {"epoch": manifest.epoch, "metrics": manifest.metrics})


def add_result(
    session: Session,
    job: Job,
    manifest: ResultManifest,
    scores: pa.Table | None = None,
    reasons: pa.Table | None = None,
) -> None:
    """Take in what a finished run left.

    Args:
        session: a transaction.
        job: the job, locked.
        manifest: the result's commit mark.
        scores: of the samples that were held out (`tables.TEST_SCORES`), if any were.
        reasons: why labels are doubted (`tables.REASONS`), if the run says so.
    """
    if reasons is not None:
        confidences.update_reasons(session, job, reasons)
    if scores is not None and scores.num_rows:
        held_out.insert_scores(session, job, scores)
        job.metrics = manifest.metrics
        job.evaluation = manifest.evaluation.model_dump(mode="json") if manifest.evaluation else None
    job.checkpoints = [one.model_dump(mode="json") for one in manifest.checkpoints] or None
    _add_files(session, job, manifest.files)


def add_prediction(session: Session, job: Job, manifest: PredictionManifest) -> None:
    """Take in what a finished prediction left: its files, and its numbers as the job's metrics."""
    job.metrics = manifest.metrics
    _add_files(session, job, manifest.files)


def _add_files(session: Session, job: Job, files: Sequence[ResultFile]) -> None:
    for file in files:
        session.merge(
            Artifact(
                job_id=job.id,
                name=file.name,
                key=file.key,
                size=file.size,
                sha256=file.sha256,
                media_type=file.media_type,
            )
        )


def artifacts(session: Session, job_id: str) -> list[Artifact]:
    """Files of a finished job, by name."""
    return list(session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)))


def page_of_artifacts(session: Session, job_id: str, after: str, limit: int) -> list[Artifact]:
    """Files of a finished job behind a name, by name."""
    query = select(Artifact).where(Artifact.job_id == job_id, Artifact.name > after)
    return list(session.scalars(query.order_by(Artifact.name).limit(limit)))


def get_artifact(session: Session, job_id: str, name: str) -> Artifact | None:
    """One file of a finished job, or None."""
    return session.get(Artifact, (job_id, name))


ORDERS: dict[str, Any] = {
    "score": JobSample.score,
    "confidence": JobSample.confidence,
    "dice": JobSample.dice,
    "name": JobSample.name,
}


def page_of_samples(
    session: Session,
    job_id: str,
    *,
    order_by: str,
    descending: bool,
    filters: Sequence[ColumnElement[bool]],
    after: tuple[Any, int] | None,
    limit: int,
) -> list[JobSample]:
    """Samples of a job in an order, from behind a position on; every order has its index."""
    column = ORDERS[order_by]
    query = select(JobSample).where(JobSample.job_id == job_id, *filters).limit(limit)
    if descending:
        query = query.order_by(column.desc(), JobSample.ordinal.desc())
    else:
        query = query.order_by(column, JobSample.ordinal)
    if after is not None:
        # A comparison of rows: with "or", PostgreSQL reads the index from its beginning.
        position, end = tuple_(column, JobSample.ordinal), tuple_(*after)
        query = query.where(position < end if descending else position > end)
    return list(session.scalars(query))


def count_samples(session: Session, job: Job, filters: Sequence[ColumnElement[bool]]) -> int:
    """How many samples of a job match, of those that have a confidence."""
    if not filters:  # all: an epoch has a row for each
        return train_count(session, job) if job.epochs_done else 0
    query = select(func.count()).select_from(JobSample).where(JobSample.job_id == job.id, *filters)
    return session.scalar(query) or 0


def find_sample(session: Session, job_id: str, name: str) -> JobSample | None:
    """The newest confidence of a sample, by its name, or None."""
    return session.scalar(select(JobSample).where(JobSample.job_id == job_id, JobSample.name == name))


def history(session: Session, job_id: str, ordinal: int) -> list[Confidence]:
    """What was believed of a sample, epoch by epoch."""
    query = (
        select(Confidence).where(Confidence.job_id == job_id, Confidence.ordinal == ordinal).order_by(Confidence.epoch)
    )
    return list(session.scalars(query))
