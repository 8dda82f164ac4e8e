"""Every query about samples that a job did not train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import ColumnElement, Double, func, insert, literal, select, tuple_
from sqlalchemy.orm import Session

from service.db.datasets import ROWS_AT_ONCE
from service.db.tables import HeldOutSample, Job, Sample
from workers.contract.evaluation import METRICS, ClassValues, MetricName

# Keeps the place of an undefined value in the order from bad to good: behind all others.
UNDEFINED = {name: -1.0 if name == "hd95" else 2.0 for name in METRICS}


def insert_scores(session: Session, job: Job, scores: pa.Table) -> None:
    """Keep how well a job's network does on each held-out sample.

    Args:
        session: a transaction.
        job: the job, which has none yet.
        scores: `tables.TEST_SCORES`.
    """
    known = select(Sample.ordinal, Sample.name).where(
        Sample.dataset_id == job.dataset_id, Sample.version == job.dataset_version
    )
    for start in range(0, scores.num_rows, ROWS_AT_ONCE):
        some = scores[start : start + ROWS_AT_ONCE].to_pylist()
        within = Sample.ordinal.between(some[0]["ordinal"], some[-1]["ordinal"])
        names = {row.ordinal: row.name for row in session.execute(known.where(within))}
        rows = [_means(row["classes"]) | row | {"job_id": job.id, "name": names[row["ordinal"]]} for row in some]
        session.execute(insert(HeldOutSample), rows)


def page(
    session: Session, job_id: str, size: int, after: tuple[float, int] | None, order_by: MetricName = "dice"
) -> Sequence[HeldOutSample]:
    """Held-out samples of a job, the worst by a metric first, those for which it is undefined last.

    Args:
        session: a transaction.
        job_id: the job.
        size: how many, at most.
        after: the place (`place`) behind which to begin.
        order_by: the metric.
    """
    sign = -1 if order_by == "hd95" else 1  # of a distance the largest is the worst
    worst = sign * value(order_by)
    query = select(HeldOutSample).where(HeldOutSample.job_id == job_id)
    if after is not None:
        query = query.where(tuple_(worst, HeldOutSample.ordinal) > tuple_(literal(sign * after[0], Double), after[1]))
    return session.scalars(query.order_by(worst, HeldOutSample.ordinal).limit(size)).all()


def place(row: HeldOutSample, order_by: MetricName) -> tuple[float, int]:
    """Where a sample stands in the order by a metric."""
    found = getattr(row, order_by)
    return (UNDEFINED[order_by] if found is None else found), row.ordinal


def values(session: Session, job_id: str, metric: MetricName, limit: int) -> list[tuple[str, float]]:
    """Names and values of the samples for which a metric is defined, evenly chosen if there are more than `limit`."""
    column = getattr(HeldOutSample, metric)
    within = (HeldOutSample.job_id == job_id, column.is_not(None))
    count = session.scalar(select(func.count()).select_from(HeldOutSample).where(*within)) or 0
    step = max(1, -(-count // limit))
    query = select(HeldOutSample.name, column).where(*within, HeldOutSample.ordinal % step == 0)
    return [(name, value) for name, value in session.execute(query.order_by(HeldOutSample.ordinal))]


def class_values(session: Session, job_id: str) -> list[tuple[str, ClassValues | None]]:
    """Name and class values of every held-out sample, by its ordinal; None of a job that did not say them."""
    query = select(HeldOutSample.name, HeldOutSample.classes).where(HeldOutSample.job_id == job_id)
    return [(name, classes) for name, classes in session.execute(query.order_by(HeldOutSample.ordinal))]


def value(metric: MetricName) -> ColumnElement[float]:
    """What samples are ordered by: a metric, with something behind all others where it is undefined."""
    column: Any = getattr(HeldOutSample, metric)
    return column if metric == "dice" else func.coalesce(column, UNDEFINED[metric])


def _means(classes: Mapping[str, Sequence[float | None]] | None) -> dict[str, float | None]:
    """Of each metric the mean over the classes for which it is defined."""
    found: dict[str, float | None] = {}
    for metric in METRICS:
        defined = [value for value in (classes or {}).get(metric) or () if value is not None]
        found[metric] = sum(defined) / len(defined) if defined else None
    return found
