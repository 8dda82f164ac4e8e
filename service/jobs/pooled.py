"""The folds of a cross-validation taken together: one score for each sample, by a network that has not seen it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from service.db import cross_validations, datasets
from service.db.tables import CrossValidation, Job
from service.jobs.lifecycle import State
from service.resources.cross_validations import CrossValidationMetrics, CrossValidationState, FoldSpread, MissingFold
from workers.contract.evaluation import LEVEL, Calibration, Evaluation, MetricSummary, ReliabilityBin
from workers.contract.summaries import RESAMPLES, summaries


def state_of(folds: int, states: Sequence[State]) -> CrossValidationState:
    """Where a cross-validation is.

    Args:
        folds: how many it has.
        states: of the jobs that are there.
    """
    done = sum(state is State.SUCCEEDED for state in states)
    if not all(state.terminal for state in states):
        return CrossValidationState.RUNNING
    if done:
        return CrossValidationState.SUCCEEDED if done == folds else CrossValidationState.PARTIAL
    if states and all(state is State.CANCELLED for state in states):
        return CrossValidationState.CANCELLED
    return CrossValidationState.FAILED


def metrics_of(session: Session, row: CrossValidation) -> CrossValidationMetrics:
    """Metrics over all folds whose jobs have succeeded, and which have not."""
    found = cross_validations.jobs_of(session, [row.id], evaluated=True)
    by_fold = {job.fold: job for job in found}
    done = [job for job in found if job.state == State.SUCCEEDED]
    numbers = range(1, len(row.folds) + 1)
    return CrossValidationMetrics(
        state=state_of(len(row.folds), [State(job.state) for job in found]),
        folds=len(row.folds),
        counted=[number for number in numbers if by_fold.get(number) in done],
        missing=[_missing(number, by_fold.get(number)) for number in numbers if by_fold.get(number) not in done],
        evaluation=_pooled(session, row, done),
        spread=spread_of([Evaluation.model_validate(job.evaluation) for job in done if job.evaluation]),
    )


def _missing(fold: int, job: Job | None) -> MissingFold:
    if job is None or job.state == State.DELETING:
        return MissingFold(fold=fold, job_id=None, state=None, reason="its job was deleted")
    reasons = {
        State.FAILED: (job.failure or {}).get("cause") or "its job failed",
        State.CANCELLED: "its job was cancelled",
    }
    state = State(job.state)
    return MissingFold(fold=fold, job_id=job.id, state=state, reason=reasons.get(state, "its job is not over"))


def _pooled(session: Session, row: CrossValidation, done: Sequence[Job]) -> Evaluation | None:
    scores = sorted(cross_validations.scores(session, row))
    values = [classes for _, _, classes in scores if classes is not None]
    if not values or len(values) < len(scores):
        return None
    groups = [f"sample {name}" if group is None else f"group {group}" for name, group, _ in scores]
    volumes = datasets.version(session, row.dataset_id, row.dataset_version).spatial_dims == 3
    calibrations = [Evaluation.model_validate(job.evaluation).calibration for job in done if job.evaluation]
    return Evaluation(
        samples=len(scores),
        groups=len(set(groups)),
        level=LEVEL,
        resamples=RESAMPLES,
        hd95_unit="mm" if volumes else "px",
        metrics=summaries(values, groups, row.seed),
        calibration=pooled_calibration(calibrations) if len(calibrations) == len(done) else [],
    )


def pooled_calibration(found: Sequence[Sequence[Calibration]]) -> list[Calibration]:
    """Calibration over the pixels of several evaluations together, class by class.

    Args:
        found: of each evaluation, the classes of which pixels were counted; bins are the same in all.
    """
    pooled = []
    for number in sorted({one.label_class for some in found for one in some}):
        same = [one for some in found for one in some if one.label_class == number]
        counts = np.array([[each.pixels for each in one.bins] for one in same])
        said, true = (
            (counts * [[getattr(each, name) or 0.0 for each in one.bins] for one in same]).sum(0)
            for name in ("probability", "frequency")
        )
        total, pixels = counts.sum(0), int(counts.sum())
        bins = [
            ReliabilityBin(
                pixels=int(count),
                probability=float(p / count) if count else None,
                frequency=float(t / count) if count else None,
            )
            for count, p, t in zip(total, said, true, strict=True)
        ]
        pooled.append(
            Calibration(
                label_class=number,
                pixels=pixels,
                ece=float(np.abs(said - true).sum() / pixels),
                brier=sum(one.brier * one.pixels for one in same) / pixels,
                bins=bins,
            )
        )
    return pooled


def spread_of(evaluations: Sequence[Evaluation]) -> list[FoldSpread]:
    """The means of each metric fold by fold."""
    if not evaluations:
        return []
    by_fold = [{(one.metric, one.label_class): one for one in each.metrics} for each in evaluations]
    return [
        _spread(one, [each[one.metric, one.label_class].mean for each in by_fold]) for one in evaluations[0].metrics
    ]


def _spread(one: MetricSummary, means: list[float | None]) -> FoldSpread:
    defined = [mean for mean in means if mean is not None]
    return FoldSpread(
        metric=one.metric,
        label_class=one.label_class,
        folds=means,
        mean=float(np.mean(defined)) if defined else None,
        std=float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
    )
