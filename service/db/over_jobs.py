"""What the jobs over a dataset believed of a sample, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, select, tuple_
from sqlalchemy.orm import Session

from service.db.tables import DatasetVersion, Job, JobSample, Review, Sample


@dataclass(frozen=True)
class Belief:
    """What one job believed.

    Attributes:
        job: the job.
        row: what it believed of the label at the end of its newest epoch.
        mask_sha256: the label that it was trained on.
        samples: how many samples it was trained on.
        review: what is decided of that label; None: nothing ever was.
    """

    job: Job
    row: JobSample
    mask_sha256: str
    samples: int
    review: Review | None


def page(
    session: Session, dataset_id: str, name: str, limit: int, after: tuple[datetime, str] | None = None
) -> list[Belief]:
    """The jobs that have a confidence of a sample of this name, newest first, from behind a position on.

    Jobs over any version of the dataset: the label may be another in each.

    Args:
        session: its transaction.
        dataset_id: the dataset.
        name: of the sample.
        limit: at most so many.
        after: time and id of the job to begin behind.
    """
    trained_on = and_(
        Sample.dataset_id == Job.dataset_id,
        Sample.version == Job.dataset_version,
        Sample.ordinal == JobSample.ordinal,
    )
    same_label = and_(
        Review.dataset_id == Job.dataset_id, Review.sample == Sample.name, Review.mask_sha256 == Sample.mask_sha256
    )
    version = and_(DatasetVersion.dataset_id == Job.dataset_id, DatasetVersion.number == Job.dataset_version)
    query = (
        select(Job, JobSample, Sample.mask_sha256, DatasetVersion.train_count, Review)
        .join(JobSample, and_(JobSample.job_id == Job.id, JobSample.name == name))
        .join(Sample, trained_on)
        .join(DatasetVersion, version)
        .outerjoin(Review, same_label)
        .where(Job.dataset_id == dataset_id)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < after)
    return [Belief(*row) for row in session.execute(query)]
