"""What the database knows about the data behind a model: for its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from service.db.sample_filters import of_version, same_label
from service.db.tables import Job, JobSample, Review, Sample

DOUBTED = 0.5  # of confidences: below it a label is more doubted than believed


@dataclass(frozen=True)
class DataFacts:
    """Of the version of the dataset that a model was trained and tested on.

    Attributes:
        sizes: (smallest, largest) width, height and, of volumes, depth, in pixels or voxels.
        spacings: of volumes, how many different ones there are.
        spacing: the (smallest, largest) along any axis, in mm; None: not known.
        annotators: how many are named.
        groups: how many groups, such as patients, are named.
        verified: how many labels were checked before the upload.
        empty: how many labels show no lesion.
        test_reviewed: of how many held-out labels a person has decided something.
    """

    sizes: list[tuple[int, int]]
    spacings: int
    spacing: tuple[float, float] | None
    annotators: int
    groups: int
    verified: int
    empty: int
    test_reviewed: int


@dataclass(frozen=True)
class NoiseFacts:
    """What the training thought of the labels, and what people decided.

    Attributes:
        judged: labels that have a confidence.
        doubted: those below `DOUBTED`.
        reasons: number of labels by what is wrong with them in the network's eyes; empty: the run does not say.
        decisions: number of these labels by what people decided of them.
    """

    judged: int
    doubted: int
    reasons: dict[str, int]
    decisions: dict[str, int]


def data_facts(session: Session, job: Job, held_out_from: int) -> DataFacts:
    """Count the samples of a job's version; those from ordinal `held_out_from` on are held out."""
    here = of_version(job)
    edges = (Sample.width, Sample.height, Sample.depth)
    bounds: Sequence[Any] = session.execute(
        select(
            *(extreme(edge) for edge in edges for extreme in (func.min, func.max)),
            func.count(Sample.annotator.distinct()),
            func.count(Sample.group.distinct()),
        ).where(here)
    ).one()
    sizes = [(bounds[2 * axis], bounds[2 * axis + 1]) for axis in range(3) if bounds[2 * axis] is not None]

    def count(*conditions: ColumnElement[bool]) -> int:
        return session.scalar(select(func.count()).select_from(Sample).where(here, *conditions)) or 0

    reviewed = (
        select(func.count())
        .select_from(Sample)
        .join(Review, same_label())
        .where(here, Sample.ordinal >= held_out_from, Review.decision.is_not(None))
    )
    found: set[tuple[float, ...]] = set()
    if len(sizes) == 3:
        found = {tuple(spacing) for spacing in session.scalars(select(Sample.spacing).where(here)) if spacing}
    values = [value for spacing in found for value in spacing]
    return DataFacts(
        sizes=sizes,
        spacings=len(found),
        spacing=(min(values), max(values)) if values else None,
        annotators=bounds[6],
        groups=bounds[7],
        verified=count(Sample.verified.is_(True)),
        empty=count(Sample.foreground == 0),
        test_reviewed=session.scalar(reviewed) or 0,
    )


def noise_facts(session: Session, job: Job) -> NoiseFacts:
    """Count a job's doubts, and what people decided of the labels that it was trained on."""
    of_job = JobSample.job_id == job.id
    judged = session.scalar(select(func.count()).select_from(JobSample).where(of_job)) or 0
    doubted = session.scalar(select(func.count()).select_from(JobSample).where(of_job, JobSample.confidence < DOUBTED))
    kinds = select(JobSample.reason_kind, func.count()).where(of_job, JobSample.reason_kind.is_not(None))
    reasons = {kind: number for kind, number in session.execute(kinds.group_by(JobSample.reason_kind)) if kind}
    decided = (
        select(Review.decision, func.count())
        .select_from(JobSample)
        .join(Sample, of_version(job) & (Sample.ordinal == JobSample.ordinal))
        .join(Review, same_label())
        .where(of_job, Review.decision.is_not(None))
        .group_by(Review.decision)
    )
    decisions = {decision: number for decision, number in session.execute(decided) if decision}
    return NoiseFacts(judged, doubted or 0, reasons, decisions)
