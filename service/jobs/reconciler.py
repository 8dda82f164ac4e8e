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
from typing import ParamSpec

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service import logging
from service.api.dependencies import Context
from service.db import jobs, projects
from service.jobs import ingest, transitions
from service.jobs.capacity import never_fits
from service.jobs.cluster import Endpoint
from service.jobs.failures import explain, impossible, too_slow
from service.jobs.intake import View, request_of, take_environment, take_in, view_of
from service.jobs.lag import IngestLag
from service.jobs.lifecycle import Action, State, decide
from service.jobs.metrics_listener import listening
from service.jobs.outcome import Outcome, epochs_done, outcome_of
from service.jobs.queue import plan
from service.jobs.submission import RayJobs, RayUnreachableError, Run, entrypoint, environment, submission_id
from service.main import open_context
from service.metrics import Metrics
from service.settings import Settings
from workers.contract import keys
from workers.contract.store import StoreUnavailable

log = logging.get(__name__)
P = ParamSpec("P")
STOP_AGAIN_SECONDS = 3.0  # a run that was still starting can miss the first request
DAMAGE_SECONDS = 30.0  # a run that resumes may just be writing anew what looks damaged


class Reconciler:
    """One round after another over all jobs that are not over."""

    def __init__(self, context: Context, metrics: Metrics | None = None) -> None:
        self._context = context
        self._metrics = metrics or Metrics()
        self._lag = IngestLag(self._metrics)
        self._ray: tuple[Endpoint, RayJobs] | None = None
        self._stop_sent: dict[str, float] = {}
        self._damaged: dict[str, float] = {}  # since when what a run wrote cannot be used

    def run(self, stop: threading.Event) -> None:
        """Round after round, until told to stop; the context's bell ends a pause."""
        while not stop.is_set():
            try:
                self.round()
                self._metrics.last_round.set_to_current_time()
            except (RayUnreachableError, StoreUnavailable, SQLAlchemyError) as error:
                log.warning("round given up", error=str(error))
            except Exception:  # the loop must outlive any mistake in one round
                log.exception("round failed")
            self._context.bell.wait(self._context.settings.reconcile_seconds)
            self._context.bell.clear()
        self._disconnect()

    def round(self) -> None:
        """Look at every job that is not over, once."""
        with self._context.database.read() as session:
            views = [view_of(job) for job in jobs.unfinished(session)]
            limits = projects.limits(session)
        started = [view for view in views if view.state is not State.QUEUED]
        self._lag.follow(view.job_id for view in started)
        if not views:
            return
        for view in views:
            if view.state is State.QUEUED and view.timed_out:
                self._guard(view, transitions.fail, self._context, view, too_slow(view.spec, 0))
        queued = [view for view in views if view.state is State.QUEUED and not view.timed_out]
        ray = self._connect()
        if ray is None:
            for view in queued:
                self._guard(view, transitions.wait, self._context, view, f"Ray: {self._context.cluster.problem}")
            return
        for view in started:
            self._guard(view, self._look_at, view, ray)
        if queued:
            self._serve_queue(ray, queued, started, limits)

    @staticmethod
    def _guard(view: View, act: Callable[P, object], *args: P.args, **options: P.kwargs) -> None:
        """One job's trouble must not stop the others; it is tried again in the next round."""
        with structlog.contextvars.bound_contextvars(job_id=view.job_id):
            try:
                act(*args, **options)
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

    def _serve_queue(self, ray: RayJobs, queued: list[View], started: list[View], limits: dict[str, int]) -> None:
        capacity = ray.capacity()
        if capacity is None:
            for view in queued:
                self._guard(view, transitions.wait, self._context, view, "Ray: it does not know its own size yet")
            return
        total = capacity.total
        possible = []
        for view in queued:
            if reason := never_fits(view.need(total), total):
                self._guard(view, transitions.fail, self._context, view, impossible(reason))
            else:
                possible.append(view)
        entries = [view.entry(total) for view in possible]
        waiting = plan(entries, capacity, [view.entry(total) for view in started], limits)
        for view in possible:
            if missing := waiting[view.job_id]:
                self._guard(view, transitions.wait, self._context, view, missing)
            else:
                self._guard(view, self._submit, view, ray, new_attempt=True)

    def _submit(self, view: View, ray: RayJobs, *, new_attempt: bool) -> None:
        store = self._context.store
        if not store.exists(keys.request(view.job_id)):
            request = request_of(view)
            store.put(keys.request(view.job_id), request.model_dump_json().encode(), "application/json")
        attempt = view.attempt
        if new_attempt:
            attempt += 1
            if not transitions.begin_attempt(self._context, view, attempt):
                return  # cancelled meanwhile
        settings = self._context.settings
        ray.submit(
            submission_id(view.job_id, attempt),
            entrypoint(settings.worker_command, view.job_id, attempt),
            environment(settings.store_url, settings.job_stop_seconds),
        )
        log.info("job submitted", attempt=attempt)

    # --- a job that was handed to Ray

    def _look_at(self, view: View, ray: RayJobs) -> None:
        context = self._context
        run = ray.run(view.submission)  # asked first: what a run that is over has written is there to be read
        damage = take_in(context, view, self._lag)
        if self._stays_damaged(view, damage) and not run.status.over:
            # Nothing behind the damaged epoch can be taken in: the sooner it is done again, the less is lost.
            self._stop(view, ray)
            return
        outcome = outcome_of(context, view, run, damage)
        action = decide(
            view.state,
            run.status,
            attempt=view.tries,
            has_result=outcome.result is not None,
            broken=outcome.broken,
            timed_out=view.timed_out,
        )
        if action is Action.WAIT:
            return
        if action is Action.MARK_RUNNING:
            transitions.running(context, view)
        elif action is Action.SUBMIT:
            self._submit(view, ray, new_attempt=False)
        elif action is Action.STOP:
            self._stop(view, ray)
        else:
            self._end_attempt(action, view, ray, run, outcome)

    def _end_attempt(self, action: Action, view: View, ray: RayJobs, run: Run, outcome: Outcome) -> None:
        context, tail = self._context, self._log_tail(view, ray)
        take_environment(context, view, anew=True)  # its workers may have been started again, elsewhere
        if action is Action.RETRY:
            self._retry(view, ray, outcome.damage, tail)
        elif action is Action.CANCEL:
            transitions.cancelled(context, view, tail)  # its checkpoints stay: a retry goes on from them
        elif action is Action.TIME_OUT:
            transitions.fail(context, view, too_slow(view.spec, epochs_done(context, view)), tail)
        elif outcome.result is not None:
            if transitions.succeed(context, view, outcome, tail):
                self._drop_checkpoints(view)
        else:
            failure = outcome.report or explain(run, view.tries, tail, str(outcome.damage or ""))
            transitions.fail(context, view, failure, tail)
        self._stop_sent.pop(view.submission, None)
        self._damaged.pop(view.submission, None)

    def _drop_checkpoints(self, view: View) -> None:
        """No attempt will go on from them."""
        for key in list(self._context.store.list(keys.checkpoints(view.job_id))):
            self._context.store.delete(key)

    def _retry(self, view: View, ray: RayJobs, damage: ingest.DamagedError | None, tail: str) -> None:
        """Another attempt, which goes on from a checkpoint before what is damaged or missing."""
        log.warning("the run starts again", attempt=view.attempt, damage=str(damage or ""))
        if damage is not None:
            # Without its commit mark the epoch is missing; without the result's the run is not complete.
            for mark in {damage.mark, keys.result_manifest(view.job_id)}:
                self._context.store.delete(mark)
        if transitions.end_attempt(self._context, view, tail):
            self._submit(view, ray, new_attempt=True)

    def _stays_damaged(self, view: View, damage: ingest.DamagedError | None) -> bool:
        if damage is None:
            self._damaged.pop(view.submission, None)
            return False
        since = self._damaged.setdefault(view.submission, time.monotonic())
        return time.monotonic() - since >= DAMAGE_SECONDS

    def _stop(self, view: View, ray: RayJobs) -> None:
        last = self._stop_sent.get(view.submission, -STOP_AGAIN_SECONDS)
        if time.monotonic() - last >= STOP_AGAIN_SECONDS:
            self._stop_sent[view.submission] = time.monotonic()
            ray.stop(view.submission)

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
    metrics = Metrics()
    context = open_context(settings, metrics)
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        stop.set()
        context.bell.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    log.info("reconciler started", ray=settings.ray_address)
    with listening(context, metrics):
        Reconciler(context, metrics).run(stop)
    context.database.close()


if __name__ == "__main__":
    main()
