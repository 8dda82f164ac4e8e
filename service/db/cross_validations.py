"""Every query about cross-validations, and about the samples of all their folds together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Double, Select, and_, delete, func, literal, select, tuple_
from sqlalchemy.orm import Session, undefer

from service.db import held_out
from service.db.tables import CrossValidation, DatasetVersion, HeldOutSample, Job, Sample
from service.jobs.lifecycle import State
from workers.contract.evaluation import ClassValues, MetricName


def find(session: Session, cross_validation_id: str, *, lock: bool = False) -> CrossValidation | None:
    """A cross-validation, or None; `lock`: nobody else changes it until this transaction ends."""
    return session.get(CrossValidation, cross_validation_id, with_for_update=lock, populate_existing=lock)


def page(
    session: Session, seen: str | None, dataset_id: str | None, limit: int, after: tuple[datetime, str] | None
) -> Sequence[CrossValidation]:
    """Cross-validations of the project that is `seen` (None: of all), newest first, from behind a position on."""
    query = select(CrossValidation).order_by(CrossValidation.created_at.desc(), CrossValidation.id.desc()).limit(limit)
    if seen is not None:
        query = query.where(CrossValidation.project_id == seen)
    if dataset_id is not None:
        query = query.where(CrossValidation.dataset_id == dataset_id)
    if after is not None:
        query = query.where(tuple_(CrossValidation.created_at, CrossValidation.id) < after)
    return session.scalars(query).all()


def jobs_of(session: Session, ids: Sequence[str], *, evaluated: bool = False) -> list[Job]:
    """The jobs of cross-validations that are there, fold by fold; `evaluated`: with their evaluations."""
    query = select(Job).where(Job.cross_validation_id.in_(ids)).order_by(Job.cross_validation_id, Job.fold)
    return list(session.scalars(query.options(undefer(Job.evaluation)) if evaluated else query))


def other_jobs(session: Session, row: CrossValidation) -> list[str]:
    """Ids of the jobs that are over the versions of its folds and none of its own."""
    numbers = range(row.first_version, row.first_version + len(row.folds))
    query = select(Job.id).where(
        Job.dataset_id == row.dataset_id,
        Job.dataset_version.in_(numbers),
        func.coalesce(Job.cross_validation_id, "") != row.id,
    )
    return list(session.scalars(query.order_by(Job.created_at, Job.id)))


def remove(session: Session, row: CrossValidation) -> None:
    """Remove it with the versions of its folds.

    Raises:
        IntegrityError: a job names one of them.
    """
    numbers = range(row.first_version, row.first_version + len(row.folds))
    for table, column in ((Sample, Sample.version), (DatasetVersion, DatasetVersion.number)):
        session.execute(delete(table).where(table.dataset_id == row.dataset_id, column.in_(numbers)))
    session.delete(row)
    session.flush()


@dataclass(frozen=True)
class Wanted:
    """Which samples of a cross-validation; None: any.

    Attributes:
        fold: those of one, counted from 1.
        name: those whose names have this text in them.
    """

    fold: int | None = None
    name: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        conditions: list[ColumnElement[bool]] = []
        if self.fold is not None:
            conditions.append(Job.fold == self.fold)
        if self.name is not None:
            conditions.append(HeldOutSample.name.contains(self.name, autoescape=True))
        return conditions


@dataclass(frozen=True)
class OutOfFold:
    """How a network that was trained on the other folds does on a sample."""

    row: HeldOutSample
    fold: int
    group: str | None
    mask_sha256: str


def samples(
    session: Session,
    row: CrossValidation,
    wanted: Wanted,
    size: int,
    after: tuple[float, str] | None,
    order_by: MetricName = "dice",
) -> list[OutOfFold]:
    """Samples of all folds whose jobs have succeeded, the worst by a metric first, undefined ones last.

    Args:
        session: a transaction.
        row: the cross-validation.
        wanted: which of its samples.
        size: how many, at most.
        after: value and name (`place`) behind which to begin; each name is there once.
        order_by: the metric.
    """
    sign = -1 if order_by == "hd95" else 1  # of a distance the largest is the worst
    value = sign * held_out.value(order_by)
    query = _scored(row.id, HeldOutSample, Job.fold, Sample.group, Sample.mask_sha256).where(*wanted.conditions())
    if after is not None:
        query = query.where(tuple_(value, HeldOutSample.name) > tuple_(literal(sign * after[0], Double), after[1]))
    return [OutOfFold(*found) for found in session.execute(query.order_by(value, HeldOutSample.name).limit(size))]


def count(session: Session, row: CrossValidation, wanted: Wanted) -> int:
    """How many samples match."""
    return session.scalar(_scored(row.id, func.count()).where(*wanted.conditions())) or 0


def place(found: OutOfFold, order_by: MetricName) -> tuple[float, str]:
    """Where a sample stands in the order by a metric."""
    return held_out.place(found.row, order_by)[0], found.row.name


def scores(session: Session, row: CrossValidation) -> list[tuple[str, str | None, ClassValues | None]]:
    """Name, group and class values of every sample that was scored, in the order of the names."""
    query = _scored(row.id, HeldOutSample.name, Sample.group, HeldOutSample.classes).order_by(HeldOutSample.name)
    return [(name, group, classes) for name, group, classes in session.execute(query)]


def values(session: Session, row: CrossValidation, metric: MetricName) -> list[tuple[int, str, float]]:
    """Fold, name and value of each sample for which a metric is defined."""
    column = getattr(HeldOutSample, metric)
    query = _scored(row.id, Job.fold, HeldOutSample.name, column).where(column.is_not(None))
    return [(fold, name, value) for fold, name, value in session.execute(query.order_by(Job.fold, HeldOutSample.name))]


def _scored(cross_validation_id: str, *columns: Any) -> Select[Any]:
    """Something of the samples that the jobs which have succeeded hold out."""
    of_sample = and_(
        Sample.dataset_id == Job.dataset_id,
        Sample.version == Job.dataset_version,
        Sample.ordinal == HeldOutSample.ordinal,
    )
    return (
        select(*columns)
        .select_from(Job)
        .join(HeldOutSample, HeldOutSample.job_id == Job.id)
        .join(Sample, of_sample)
        .where(Job.cross_validation_id == cross_validation_id, Job.state == State.SUCCEEDED)
    )
