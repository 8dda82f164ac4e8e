"""Every query of an export: a job's samples with their labels and with what is decided of them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from service.db.sample_filters import SampleFilter, of_version, same_label
from service.db.tables import Job, JobSample, Review, Sample

Line = tuple[JobSample, Sample, Review | None]
AT_ONCE = 5_000


def ordinals(session: Session, job: Job, wanted: SampleFilter, limit: int | None) -> array[int]:
    """The ordinals of the samples that are asked for, the most doubted first.

    They are fixed at once, in 8 bytes each: while a job runs its order moves, and no sample may come twice or be lost.
    """
    query = (
        select(JobSample.ordinal)
        .where(JobSample.job_id == job.id, *wanted.conditions(job))
        .order_by(JobSample.score, JobSample.ordinal)
    )
    if limit is not None:
        query = query.limit(limit)
    return array("q", session.scalars(query.execution_options(yield_per=AT_ONCE)))


def lines(session: Session, job: Job, wanted: Sequence[int]) -> list[Line]:
    """These samples, in the order in which they are named."""
    query = (
        select(JobSample, Sample, Review)
        .join(Sample, and_(of_version(job), Sample.ordinal == JobSample.ordinal))
        .outerjoin(Review, same_label())
        .where(JobSample.job_id == job.id, JobSample.ordinal.in_(wanted))
    )
    found = {row[1].ordinal: (row[0], row[1], row[2]) for row in session.execute(query)}
    return [found[ordinal] for ordinal in wanted if ordinal in found]


def by_ordinal(session: Session, job: Job, ordinals: Sequence[int]) -> Sequence[Sample]:
    """The samples of a job's dataset version by their ordinals, in any order."""
    return session.scalars(select(Sample).where(of_version(job), Sample.ordinal.in_(ordinals))).all()


def by_name(session: Session, job: Job, names: Sequence[str]) -> dict[str, tuple[Sample, Review | None]]:
    """The samples of a job's dataset version by their names, with what is decided of their labels."""
    query = select(Sample, Review).outerjoin(Review, same_label()).where(of_version(job), Sample.name.in_(names))
    return {row[0].name: (row[0], row[1]) for row in session.execute(query)}
