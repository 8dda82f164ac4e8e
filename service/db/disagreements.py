"""On which labels two people disagree: as a condition on a job's samples, for the grid."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Subquery, and_, func, or_, select

from service.db.tables import Job, JobSample, ReviewEvent, Sample
from service.reviews.decisions import Decision

BELIEVING = [decision.value for decision in Decision if decision.believes]


def disagreement_filter(job: Job, one: str, other: str) -> ColumnElement[bool]:
    """Condition on `JobSample`: one of the two says that the label may stay, the other that it may not.

    What each last decided counts (`service.db.reviews.opinions`), so these are the labels that
    `service.reviews.agreement` does not count as `same`.

    Args:
        job: whose samples.
        one: id of a key.
        other: id of another.
    """
    first, second = _opinions(job.dataset_id, one, "first"), _opinions(job.dataset_id, other, "second")
    differ = or_(
        and_(first.c.decision.in_(BELIEVING), second.c.decision.not_in(BELIEVING)),
        and_(first.c.decision.not_in(BELIEVING), second.c.decision.in_(BELIEVING)),
    )
    ordinals = (
        select(Sample.ordinal)
        .join(first, and_(first.c.sample == Sample.name, first.c.mask_sha256 == Sample.mask_sha256))
        .join(second, and_(second.c.sample == Sample.name, second.c.mask_sha256 == Sample.mask_sha256))
        .where(Sample.dataset_id == job.dataset_id, Sample.version == job.dataset_version, differ)
    )
    return JobSample.ordinal.in_(ordinals)


def _opinions(dataset_id: str, key_id: str, name: str) -> Subquery:
    """What a person last decided of each label, unless it is undone."""
    newest = (
        select(func.max(ReviewEvent.id))
        .where(ReviewEvent.dataset_id == dataset_id, ReviewEvent.key_id == key_id)
        .group_by(ReviewEvent.sample, ReviewEvent.mask_sha256)
    )
    columns = (ReviewEvent.sample, ReviewEvent.mask_sha256, ReviewEvent.decision)
    return select(*columns).where(ReviewEvent.id.in_(newest), ReviewEvent.undo.is_(False)).subquery(name)
