"""Every query of an export: a job's samples with their labels and with what is decided of them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from service.db.tables import Job, JobSample, Review, Sample
from service.reviews.decisions import Decision

Line = tuple[JobSample, Sample, Review | None]
AT_ONCE = 5_000


def ordinals(
    session: Session, job: Job, *, decision: Decision | None, score_max: float | None, limit: int | None
) -> array[int]:
    """The ordinals of the samples that are asked for, the most doubted first.

    They are fixed at once, in 8 bytes each: while a job runs its order moves, and no sample may come twice or be lost.
    """
    query = (
        select(JobSample.ordinal)
        .join(Sample, _same_sample(job))
        .outerjoin(Review, _same_label())
        .where(JobSample.job_id == job.id)
        .order_by(JobSample.score, JobSample.ordinal)
    )
    if decision is not None:
        query = query.where(Review.decision == decision)
    if score_max is not None:
        query = query.where(JobSample.score <= score_max)
    if limit is not None:
        query = query.limit(limit)
    return array("q", session.scalars(query.execution_options(yield_per=AT_ONCE)))


def lines(session: Session, job: Job, wanted: Sequence[int]) -> list[Line]:
    """These samples, in the order in which they are named."""
    query = (
        select(JobSample, Sample, Review)
        .join(Sample, _same_sample(job))
        .outerjoin(Review, _same_label())
        .where(JobSample.job_id == job.id, JobSample.ordinal.in_(wanted))
    )
    found = {row[1].ordinal: (row[0], row[1], row[2]) for row in session.execute(query)}
    return [found[ordinal] for ordinal in wanted if ordinal in found]


def by_name(session: Session, job: Job, names: Sequence[str]) -> dict[str, tuple[Sample, Review | None]]:
    """The samples of a job's dataset version by their names, with what is decided of their labels."""
    query = (
        select(Sample, Review)
        .outerjoin(Review, _same_label())
        .where(Sample.dataset_id == job.dataset_id, Sample.version == job.dataset_version, Sample.name.in_(names))
    )
    return {row[0].name: (row[0], row[1]) for row in session.execute(query)}


def _same_sample(job: Job) -> ColumnElement[bool]:
    return and_(
        Sample.dataset_id == job.dataset_id,
        Sample.version == job.dataset_version,
        Sample.ordinal == JobSample.ordinal,
    )


def _same_label() -> ColumnElement[bool]:
    return and_(
        Review.dataset_id == Sample.dataset_id,
        Review.sample == Sample.name,
        Review.mask_sha256 == Sample.mask_sha256,
    )
