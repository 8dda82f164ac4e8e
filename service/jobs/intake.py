"""Takes what a run has written into the database: its progress, and every committed epoch exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from service import logging
from service.api.dependencies import Context
from service.db import jobs
from service.db.base import now
from service.db.tables import Job
from service.jobs import ingest
from service.jobs.capacity import Resources, needs
from service.jobs.lag import IngestLag
from service.jobs.lifecycle import State
from service.jobs.queue import Entry
from service.jobs.submission import submission_id
from service.jobs.tasks import Task, task_of
from workers.contract.prediction import AnySpec, PredictRequest, PredictSpec
from workers.contract.request import TrainRequest

log = logging.get(__name__)


@dataclass(frozen=True)
class View:
    """A job as it was when this round began."""

    job_id: str
    project_id: str
    priority: int
    state: State
    attempt: int
    attempts_before: int
    spec: AnySpec
    queued_at: datetime

    def need(self, total: Resources) -> Resources:
        """What it takes of a cluster of this size."""
        return needs(self.spec, total)

    def entry(self, total: Resources) -> Entry:
        """The job as the queue sees it."""
        return Entry(self.job_id, self.need(total), self.project_id, self.priority)

    @property
    def timed_out(self) -> bool:
        """Whether it has taken longer than it may."""
        seconds = self.spec.timeout_seconds
        return seconds is not None and now() > self.queued_at + timedelta(seconds=seconds)

    @property
    def task(self) -> Task:
        """What it does."""
        return task_of(self.spec)

    @property
    def tries(self) -> int:
        """Attempts since it was posted, or since somebody had it tried again."""
        return self.attempt - self.attempts_before

    @property
    def submission(self) -> str:
        """Ray's name for the current attempt."""
        return submission_id(self.job_id, self.attempt)


def view_of(job: Job) -> View:
    """The job as it is now."""
    return View(
        job_id=job.id,
        project_id=job.project_id,
        priority=job.priority,
        state=State(job.state),
        attempt=job.attempt,
        attempts_before=job.attempts_before,
        spec=jobs.spec_of(job),
        queued_at=job.retried_at or job.created_at,
    )


def request_of(view: View) -> TrainRequest | PredictRequest:
    """What its run reads."""
    if isinstance(view.spec, PredictSpec):
        return PredictRequest(job_id=view.job_id, spec=view.spec)
    return TrainRequest(job_id=view.job_id, spec=view.spec)


def unchanged(job: Job, view: View) -> bool:
    """Whether nobody moved the job since this round began."""
    return job.state == view.state and job.attempt == view.attempt


def take_in(context: Context, view: View, lag: IngestLag) -> ingest.DamagedError | None:
    """Copy progress and every newly committed epoch; says what is damaged instead of raising it."""
    try:
        _take_progress(context, view)
    except ingest.DamagedError as error:
        log.warning("damaged progress", error=str(error))  # the next report replaces it
    take_environment(context, view)
    if view.task is not Task.TRAIN:
        return None  # it has no epochs
    try:
        while _take_epoch(context, view):
            lag.taken_in(view.job_id)
    except ingest.DamagedError as error:
        # An attempt that resumes may just be writing it anew; if not, the job's end will tell.
        log.warning("damaged object", error=str(error))
        return error
    lag.nothing_waits(view.job_id)
    return None


def take_environment(context: Context, view: View, *, anew: bool = False) -> None:
    """Keep what the attempt runs in, once it has said so; `anew`: also where something is kept already.

    Nothing else depends on it, so what cannot be read is left out.
    """
    if not anew:
        with context.database.read() as session:
            attempt = jobs.get_attempt(session, view.job_id, view.attempt)
            if attempt is None or attempt.environment is not None:
                return
    try:
        environment = ingest.read_environment(context.store, view.job_id, view.attempt)
    except ingest.DamagedError as error:
        log.warning("damaged environment", error=str(error))
        return
    if environment is None:
        return
    with context.sessions.begin() as session:
        attempt = jobs.get_attempt(session, view.job_id, view.attempt)
        if attempt is not None:
            attempt.environment = environment.model_dump(mode="json")


def _take_progress(context: Context, view: View) -> None:
    progress = ingest.read_progress(context.store, view.job_id, view.attempt)
    if progress is None:
        return
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, view.job_id)
        if job is not None and unchanged(job, view) and job.progress != (new := progress.model_dump()):
            job.progress = new
            job.waiting_for = ""


def _take_epoch(context: Context, view: View) -> bool:
    with context.database.read() as session:
        job = jobs.get_job(session, view.job_id)
        if job is None:
            return False
        epoch = job.epochs_done
        manifest = ingest.read_epoch(context.store, view.job_id, epoch)
        if manifest is None:
            return False
        samples = jobs.train_count(session, job)
    rows = ingest.read_rows(context.store, manifest, samples)
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, view.job_id)
        if job is None or job.epochs_done != epoch:
            return False  # somebody else took it in
        jobs.add_epoch(session, job, manifest, rows)
    log.info("epoch taken in", epoch=epoch, samples=samples)
    return True
