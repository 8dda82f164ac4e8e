"""Brings jobs forward: compares what the database says with what Ray and the store say, and acts on the difference.

It keeps nothing in memory that matters. Killed anywhere and started again, it loses nothing and doubles nothing: an
attempt is committed before it is submitted, under an id that Ray takes only once, and an epoch is taken in together
with the row whose key makes a second time impossible.

It runs as a thread of `dale serve`, or by itself: `python -m service.jobs.reconciler`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service import logging
from service.api.dependencies import Context
from service.db import jobs
from service.jobs import ingest
from service.jobs.capacity import NOTHING, Capacity, Resources, Waiting, never_fits, plan
from service.jobs.cluster import Endpoint
from service.jobs.failures import explain, impossible
from service.jobs.intake import View, take_in, unchanged, view_of
from service.jobs.lifecycle import Action, State, decide
from service.jobs.submission import RayJobs, RayUnreachableError, Run, entrypoint, environment, submission_id
from service.main import open_context
from service.settings import Settings
from workers.contract import keys
from workers.contract.request import Failure, TrainRequest
from workers.contract.store import StoreUnavailable

log = logging.get(__name__)
P = ParamSpec("P")
STOP_AGAIN_SECONDS = 3.0  # a run that was still starting can miss the first request


class Reconciler:
    """One round after another over all jobs that are not over."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ray: tuple[Endpoint, RayJobs] | None = None
        self._stop_sent: dict[str, float] = {}

    def run(self, stop: threading.Event) -> None:
        """Round after round, until told to stop."""
        while not stop.is_set():
            try:
                self.round()
            except (RayUnreachableError, StoreUnavailable, SQLAlchemyError) as error:
                log.warning("round given up", error=str(error))
            except Exception:  # the loop must outlive any mistake in one round
                log.exception("round failed")
            stop.wait(self._context.settings.reconcile_seconds)
        self._disconnect()

    def round(self) -> None:
        """Look at every job that is not over, once."""
        with self._context.database.read() as session:
            views = [view_of(job) for job in jobs.unfinished(session)]
        if not views:
            return
        queued = [view for view in views if view.state is State.QUEUED]
        ray = self._connect()
        if ray is None:
            for view in queued:
                self._guard(self._wait, view, f"Ray: {self._context.cluster.problem}")
            return
        started = [view for view in views if view.state is not State.QUEUED]
        for view in started:
            self._guard(self._look_at, view, ray)
        if queued:
            taken = sum((view.need for view in started), NOTHING)
            self._serve_queue(ray, queued, ray.capacity(), taken)

    @staticmethod
    def _guard(act: Callable[Concatenate[View, P], None], view: View, *args: P.args, **options: P.kwargs) -> None:
        """One job's trouble must not stop the others; it is tried again in the next round."""
        with structlog.contextvars.bound_contextvars(job_id=view.job_id):
            try:
                act(view, *args, **options)
            except (RayUnreachableError, StoreUnavailable, SQLAlchemyError) as error:
                log.warning("job is looked at again later", error=str(error))
            except Exception:
                log.exception("job cannot be brought forward")

    def _connect(self) -> RayJobs | None:
        endpoint = self._context.cluster.endpoint
        if self._ray is not None and self._ray[0] != endpoint:
            self._disconnect()
        if endpoint is not None and self._ray is None:
            self._ray = (endpoint, RayJobs(endpoint))
        return self._ray[1] if self._ray else None

    def _disconnect(self) -> None:
        if self._ray is not None:
            self._ray[1].close()
            self._ray = None

    # --- the queue

    def _serve_queue(self, ray: RayJobs, queued: list[View], capacity: Capacity | None, taken: Resources) -> None:
        if capacity is None:
            for view in queued:
                self._guard(self._wait, view, "Ray: it does not know its own size yet")
            return
        possible = []
        for view in queued:
            if reason := never_fits(view.need, capacity.total):
                self._guard(self._fail, view, impossible(reason))
            else:
                possible.append(view)
        waiting = plan([Waiting(view.job_id, view.need) for view in possible], capacity, taken)
        for view in possible:
            if missing := waiting[view.job_id]:
                self._guard(self._wait, view, missing)
            else:
                self._guard(self._submit, view, ray, new_attempt=True)

    def _wait(self, view: View, what: str) -> None:
        with self._context.sessions.begin() as session:
            job = jobs.lock_job(session, view.job_id)
            if job is not None and unchanged(job, view) and job.waiting_for != what:
                job.waiting_for = what

    def _submit(self, view: View, ray: RayJobs, *, new_attempt: bool) -> None:
        store = self._context.store
        if not store.exists(keys.request(view.job_id)):
            request = TrainRequest(job_id=view.job_id, spec=view.spec)
            store.put(keys.request(view.job_id), request.model_dump_json().encode(), "application/json")
        attempt = view.attempt
        if new_attempt:
            attempt += 1
            with self._context.sessions.begin() as session:
                job = jobs.lock_job(session, view.job_id)
                if job is None or not unchanged(job, view):
                    return  # cancelled meanwhile
                jobs.begin_attempt(session, job, submission_id(view.job_id, attempt))
                job.waiting_for = "Ray to start the run"
        settings = self._context.settings
        ray.submit(
            submission_id(view.job_id, attempt),
            entrypoint(settings.worker_command, view.job_id, attempt),
            environment(settings.store_url, settings.job_stop_seconds),
        )
        log.info("job submitted", attempt=attempt)

    # --- a job that was handed to Ray

    def _look_at(self, view: View, ray: RayJobs) -> None:
        run = ray.run(view.submission)  # asked first: what a run that is over has written is there to be read
        damage = take_in(self._context, view)
        has_result = False
        try:
            has_result = run.status.over and ingest.read_result(self._context.store, view.job_id) is not None
        except ingest.DamagedError as error:
            damage = damage or error
        action = decide(view.state, run.status, attempt=view.attempt, has_result=has_result)
        if damage is not None and action in {Action.SUCCEED, Action.FAIL}:
            self._finish(view, ray, run, damage)
        elif action is Action.SUCCEED:
            self._succeed(view, ray)
        elif action is Action.FAIL:
            self._finish(view, ray, run, None)
        elif action is Action.SUBMIT:
            self._submit(view, ray, new_attempt=False)
        elif action is Action.RETRY:
            log.warning("ray lost the run, it starts again from its checkpoint", attempt=view.attempt)
            self._submit(view, ray, new_attempt=True)
        elif action is Action.STOP:
            self._stop(view, ray)
        elif action is Action.CANCEL:
            self._cancelled(view, ray)
        elif action is Action.MARK_RUNNING:
            with self._context.sessions.begin() as session:
                job = jobs.lock_job(session, view.job_id)
                if job is not None and unchanged(job, view):
                    jobs.set_state(session, job, State.RUNNING, attempt=view.attempt)
                    job.waiting_for = "the training processes to start"

    def _succeed(self, view: View, ray: RayJobs) -> None:
        result = ingest.read_result(self._context.store, view.job_id)
        if result is None:
            return
        tail = self._log_tail(view, ray)
        with self._context.sessions.begin() as session:
            job = jobs.lock_job(session, view.job_id)
            if job is None or not unchanged(job, view):
                return
            if job.epochs_done < result.epochs:
                failure = Failure(
                    kind="store", cause=f"the run left {job.epochs_done} of {result.epochs} epochs in the store"
                )
                jobs.end_attempt(session, job, tail)
                jobs.fail(session, job, failure)
                return
            jobs.add_result(session, job, result)
            jobs.end_attempt(session, job, tail)
            jobs.set_state(session, job, State.SUCCEEDED)
        log.info("job succeeded")

    def _finish(self, view: View, ray: RayJobs, run: Run, damage: ingest.DamagedError | None) -> None:
        tail = self._log_tail(view, ray)
        written = None
        if damage is None:
            try:
                written = ingest.read_failure(self._context.store, view.job_id, view.attempt)
            except ingest.DamagedError as error:
                log.warning("damaged failure report", error=str(error))
        self._fail(view, written or explain(run, view.attempt, tail, str(damage or "")), tail)

    def _fail(self, view: View, failure: Failure, tail: str = "") -> None:
        with self._context.sessions.begin() as session:
            job = jobs.lock_job(session, view.job_id)
            if job is None or not unchanged(job, view):
                return
            jobs.end_attempt(session, job, tail)
            jobs.fail(session, job, failure)
        log.warning("job failed", cause=failure.cause, kind=failure.kind)

    def _stop(self, view: View, ray: RayJobs) -> None:
        last = self._stop_sent.get(view.submission, -STOP_AGAIN_SECONDS)
        if time.monotonic() - last >= STOP_AGAIN_SECONDS:
            self._stop_sent[view.submission] = time.monotonic()
            ray.stop(view.submission)

    def _cancelled(self, view: View, ray: RayJobs) -> None:
        tail = self._log_tail(view, ray)
        with self._context.sessions.begin() as session:
            job = jobs.lock_job(session, view.job_id)
            if job is None or not unchanged(job, view):
                return
            jobs.end_attempt(session, job, tail)
            jobs.set_state(session, job, State.CANCELLED)
        self._stop_sent.pop(view.submission, None)
        log.info("job cancelled")

    @staticmethod
    def _log_tail(view: View, ray: RayJobs) -> str:
        try:
            return ray.log_tail(view.submission)
        except RayUnreachableError as error:
            # The job's end is worth more than the log's.
            log.warning("log of the run is lost", error=str(error))
            return ""


def main() -> None:
    """Run the reconciler as a process of its own, against the cluster in `DALE_RAY_ADDRESS`."""
    settings = Settings()
    logging.configure(settings.log_level)
    if not settings.ray_address:
        raise SystemExit("DALE_RAY_ADDRESS must name the Jobs API of a Ray cluster, for example http://ray-head:8265")
    context = open_context(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    log.info("reconciler started", ray=settings.ray_address)
    Reconciler(context).run(stop)
    context.database.close()


if __name__ == "__main__":
    main()
