"""Moves of a job in the database, each in one transaction; nothing happens if somebody moved it since it was looked at.

Every function says whether it was done.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from service import logging
from service.api.dependencies import Context
from service.db import jobs
from service.db.tables import Job
from service.jobs.intake import View, unchanged
from service.jobs.lifecycle import State
from service.jobs.outcome import Outcome
from service.jobs.submission import submission_id
from workers.contract.prediction import PredictionManifest
from workers.contract.request import Failure

log = logging.get(__name__)


def wait(context: Context, view: View, what: str) -> bool:
    """Say what a queued job waits for."""

    def change(_: Session, job: Job) -> None:
        if job.waiting_for != what:
            job.waiting_for = what

    return _change(context, view, change)


def begin_attempt(context: Context, view: View, attempt: int) -> bool:
    """Note an attempt that will be submitted, before it is."""

    def change(session: Session, job: Job) -> None:
        jobs.begin_attempt(session, job, submission_id(view.job_id, attempt))
        job.waiting_for = "Ray to start the run"

    return _change(context, view, change)


def end_attempt(context: Context, view: View, tail: str) -> bool:
    """Keep the log of an attempt that another one will follow."""
    return _change(context, view, lambda session, job: jobs.end_attempt(session, job, tail))


def running(context: Context, view: View) -> bool:
    """The run was started."""

    def change(session: Session, job: Job) -> None:
        jobs.set_state(session, job, State.RUNNING, attempt=view.attempt)
        job.waiting_for = "the training processes to start"

    return _change(context, view, change)


def succeed(context: Context, view: View, outcome: Outcome, tail: str) -> bool:
    """The run is over and has left its result."""

    def change(session: Session, job: Job) -> None:
        if isinstance(outcome.result, PredictionManifest):
            jobs.add_prediction(session, job, outcome.result)
        elif outcome.result is not None:
            jobs.add_result(session, job, outcome.result, outcome.scores, outcome.reasons)
        jobs.end_attempt(session, job, tail)
        jobs.set_state(session, job, State.SUCCEEDED)

    done = _change(context, view, change)
    if done:
        log.info("job succeeded")
    return done


def fail(context: Context, view: View, failure: Failure, tail: str = "") -> bool:
    """The job is over without a result."""

    def change(session: Session, job: Job) -> None:
        jobs.end_attempt(session, job, tail)
        jobs.fail(session, job, failure)

    done = _change(context, view, change)
    if done:
        log.warning("job failed", cause=failure.cause, kind=failure.kind)
    return done


def cancelled(context: Context, view: View, tail: str) -> bool:
    """The run that somebody cancelled is over."""

    def change(session: Session, job: Job) -> None:
        jobs.end_attempt(session, job, tail)
        jobs.set_state(session, job, State.CANCELLED)

    done = _change(context, view, change)
    if done:
        log.info("job cancelled")
    return done


def _change(context: Context, view: View, change: Callable[[Session, Job], None]) -> bool:
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, view.job_id)
        if job is None or not unchanged(job, view):
            return False
        change(session, job)
    return True
