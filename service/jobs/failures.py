"""Failures in words: what happened and what to do, where the run could not say it itself."""

from __future__ import annotations

import signal

from service.jobs.lifecycle import MAX_ATTEMPTS, RunStatus
from service.jobs.submission import Run
from workers.contract.prediction import AnySpec, PredictSpec
from workers.contract.request import Failure

DETAIL_CHARACTERS = 4000


def impossible(reason: str) -> Failure:
    """The job is larger than the cluster."""
    return Failure(
        kind="internal", cause=reason, hint="Post it again with fewer workers or GPUs, or enlarge the cluster."
    )


def too_slow(spec: AnySpec, epochs_done: int) -> Failure:
    """The job has taken longer than it may."""
    cause = f"the job was not done in {spec.timeout_seconds} s"
    if isinstance(spec, PredictSpec):
        hint = "Retry it: what is predicted stays. Or post it again with a larger timeout_seconds or more workers."
        return Failure(kind="timeout", cause=cause, hint=hint)
    return Failure(
        kind="timeout",
        cause=f"{cause} ({epochs_done} of {spec.epochs} epochs)",
        hint="Post it again with a larger timeout_seconds, more workers or fewer epochs.",
    )


def explain(  # noqa: PLR0911 - one answer for each way a run can end
    run: Run, attempt: int, log_tail: str, damage: str = ""
) -> Failure:
    """Why a run that left no report of its own is over.

    Args:
        run: what Ray says of it.
        attempt: which attempt it was, counted from 1; after somebody's retry from 1 again.
        log_tail: the end of its log.
        damage: what is wrong with what it wrote; empty if nothing is.
    """
    detail = log_tail[-DETAIL_CHARACTERS:]
    if damage:
        return Failure(
            kind="store",
            cause=f"what the run wrote cannot be used: {damage}",
            hint="Check the object store, then post the job again.",
            detail=detail,
        )
    if run.status is RunStatus.UNKNOWN:
        return Failure(
            kind="worker_lost",
            cause=f"the Ray cluster lost the run {attempt} times, at most {MAX_ATTEMPTS} attempts are made",
            hint="See why the cluster restarts (its memory, its nodes), then post the job again.",
            detail=detail,
        )
    if run.status is RunStatus.STOPPED:
        return Failure(
            kind="worker_lost",
            cause="somebody stopped the run on the Ray cluster, past this service",
            hint="To end a job, cancel it here. Post it again to start over.",
            detail=detail,
        )
    if run.status is RunStatus.SUCCEEDED:
        return Failure(cause="the process ended without leaving a result", detail=detail)
    if run.exit_code is None:
        first_line = run.message.strip().splitlines()[0] if run.message.strip() else "Ray gives no reason"
        return Failure(cause=f"Ray could not start the run: {first_line}", detail=detail or run.message)
    if run.exit_code < 0:
        return _killed(-run.exit_code, detail)
    return Failure(
        cause=f"the process ended with exit code {run.exit_code}",
        hint="The log's last lines say more.",
        detail=detail,
    )


def _killed(number: int, detail: str) -> Failure:
    try:
        name = f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGKILL:
        return Failure(
            kind="out_of_memory",
            cause=f"the process was killed ({name}), most often because the machine ran out of memory",
            hint="Try a smaller batch_size, image_size or patch_size, or fewer workers on a machine.",
            detail=detail,
        )
    return Failure(
        kind="worker_lost", cause=f"the process was killed ({name})", hint="Post the job again.", detail=detail
    )
