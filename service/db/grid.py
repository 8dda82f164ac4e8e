"""The queries of the review grid: an order once, then any part of it directly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from service.db.jobs import ORDERS
from service.db.sample_filters import of_version, same_label
from service.db.tables import Confidence, Job, JobSample, Review, Sample


@dataclass(frozen=True)
class Card:
    """A sample as the grid shows it.

    Attributes:
        row: what the job believes of its label.
        sample: its size and files.
        review: what is decided of its label; None: nothing ever was.
        confidences: one for each epoch, in order.
    """

    row: JobSample
    sample: Sample
    review: Review | None
    confidences: list[float] = field(default_factory=list)


def order(
    session: Session,
    job_id: str,
    *,
    order_by: str,
    descending: bool,
    filters: Sequence[ColumnElement[bool]],
    limit: int,
) -> list[int]:
    """Ordinals of the samples that match, in an order that has its index."""
    column = ORDERS[order_by]
    sorting: tuple[Any, ...] = (column, JobSample.ordinal)
    if descending:
        sorting = (column.desc(), JobSample.ordinal.desc())
    query = select(JobSample.ordinal).where(JobSample.job_id == job_id, *filters).order_by(*sorting).limit(limit)
    return list(session.scalars(query))


def cards(session: Session, job: Job, ordinals: Sequence[int]) -> list[Card]:
    """These samples of a job, in the order in which they are asked for; those that there are not are left out."""
    query = (
        select(JobSample, Sample, Review)
        .join(Sample, Sample.ordinal == JobSample.ordinal)
        .outerjoin(Review, same_label())
        .where(JobSample.job_id == job.id, JobSample.ordinal.in_(ordinals), of_version(job))
    )
    found = {row[0].ordinal: Card(row[0], row[1], row[2]) for row in session.execute(query)}
    history = (
        select(Confidence.ordinal, Confidence.confidence)
        .where(Confidence.job_id == job.id, Confidence.ordinal.in_(found))
        .order_by(Confidence.ordinal, Confidence.epoch)
    )
    for ordinal, confidence in session.execute(history):
        found[ordinal].confidences.append(confidence)
    return [found[ordinal] for ordinal in dict.fromkeys(ordinals) if ordinal in found]
