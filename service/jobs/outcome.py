"""What an attempt that is over has left: a result, a report of its failure, or something that another one must mend."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from service import logging
from service.api.dependencies import Context
from service.db import datasets, jobs
from service.jobs import ingest
from service.jobs.intake import View
from service.jobs.lifecycle import RunStatus
from service.jobs.submission import Run
from service.jobs.tasks import Task
from workers.contract import keys
from workers.contract.prediction import PredictionManifest
from workers.contract.request import Failure, ResultManifest

log = logging.get(__name__)
MENDABLE = {"worker_lost", "store"}


@dataclass(frozen=True)
class Outcome:
    """What was found.

    Attributes:
        result: what the finished run left, if it is whole.
        report: why the attempt says that it failed.
        damage: what of its objects cannot be used.
        scores: of the samples that were held out, with the result.
        reasons: why labels are doubted, with the result, if the run says so.
        broken: whether another attempt can mend it: processes were killed or lost, the store was away for too long
            (also to take a report), or what was written is damaged.
    """

    result: ResultManifest | PredictionManifest | None
    report: Failure | None
    damage: ingest.DamagedError | None
    broken: bool
    scores: pa.Table | None = None
    reasons: pa.Table | None = None


def outcome_of(context: Context, view: View, run: Run, damage: ingest.DamagedError | None) -> Outcome:
    """Read what an attempt has left.

    Args:
        context: database and store.
        view: the job.
        run: what Ray says of the attempt.
        damage: what of its epochs is damaged.
    """
    if not run.status.over:
        return Outcome(None, None, damage, broken=False)
    result: ResultManifest | PredictionManifest | None = None
    scores = reasons = None
    try:
        if view.task is Task.PREDICT:
            result = ingest.read_prediction(context.store, view.job_id, _sample_count(context, view))
        elif (trained := _result(context, view)) is not None:
            result = trained
            scores, reasons = _tables(context, view, trained)
    except ingest.DamagedError as error:
        damage = damage or error
    try:
        report = ingest.read_failure(context.store, view.job_id, view.attempt)
    except ingest.DamagedError as error:
        log.warning("damaged failure report", error=str(error))
        report = None
    if report is not None:
        broken = report.kind in MENDABLE
    else:
        broken = damage is not None or run.status in {RunStatus.FAILED, RunStatus.SUCCEEDED}
    return Outcome(result if damage is None else None, report, damage, broken, scores, reasons)


def _result(context: Context, view: View) -> ResultManifest | None:
    """The result, once all epochs before it were taken in.

    Raises:
        DamagedError: it is not what it should be.
    """
    result = ingest.read_result(context.store, view.job_id)
    done = epochs_done(context, view)
    if result is not None and done < result.epochs:
        what = f"the run left {done} of {result.epochs} epochs in the store"
        raise ingest.DamagedError(what, mark=keys.result_manifest(view.job_id))
    return result


def _sample_count(context: Context, view: View) -> int:
    with context.database.read() as session:
        return datasets.version(session, view.spec.dataset_id, view.spec.dataset_version).sample_count


def _tables(context: Context, view: View, result: ResultManifest) -> tuple[pa.Table, pa.Table | None]:
    """How well the network does on each sample that was held out, and why it doubts the labels of the others.

    Raises:
        DamagedError: they are not what they should be.
    """
    with context.database.read() as session:
        version = datasets.version(session, view.spec.dataset_id, view.spec.dataset_version)
        trained, held_out, end = version.train_count, version.held_out_from, version.sample_count
    scores = ingest.read_scores(context.store, result, held_out, end)
    return scores, ingest.read_reasons(context.store, result, trained)


def epochs_done(context: Context, view: View) -> int:
    """How many epochs of a job were taken in."""
    with context.database.read() as session:
        job = jobs.get_job(session, view.job_id)
        return job.epochs_done if job is not None else 0
