"""Which samples of a job are meant: the one filter of lists, of the grid, of its facets and of exports."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, or_, select

from service.db.disagreements import disagreement_filter
from service.db.listed import holds
from service.db.tables import Job, JobSample, Review, Sample
from service.reviews.decisions import DecisionState


@dataclass(frozen=True)
class SampleFilter:
    """What a sample must be like; None: anything.

    Attributes:
        name_contains: part of the name, in any case.
        text: part of the name, or of the note of what is decided.
        confidence, score: bounds, inclusive.
        reason: kind of the reason for which the label is doubted.
        decision: what is decided of the label.
        annotator: who drew the label.
        verified: whether it was known to be right before the training.
        label_value: a value of the dataset's masks that the label has.
        predicted_class: number of a class that the job's prediction has.
        disagree: ids of the keys of two people who disagree on the label.
    """

    name_contains: str | None = None
    text: str | None = None
    confidence: tuple[float | None, float | None] = (None, None)
    score: tuple[float | None, float | None] = (None, None)
    reason: str | None = None
    decision: DecisionState | None = None
    annotator: str | None = None
    verified: bool | None = None
    label_value: int | None = None
    predicted_class: int | None = None
    disagree: tuple[str, str] | None = None

    def conditions(self, job: Job) -> list[ColumnElement[bool]]:
        """As conditions on `JobSample`."""
        found = _of_beliefs(self)
        if labels := _of_labels(self):
            found.append(JobSample.ordinal.in_(_samples(job, *labels)))
        if self.text:
            noted = _decided(job).where(Review.decision.is_not(None), Review.note.icontains(self.text, autoescape=True))
            found.append(or_(JobSample.name.icontains(self.text, autoescape=True), JobSample.ordinal.in_(noted)))
        if self.decision is DecisionState.UNDECIDED:
            found.append(JobSample.ordinal.not_in(_decided(job).where(Review.decision.is_not(None))))
        elif self.decision is not None:
            found.append(JobSample.ordinal.in_(_decided(job).where(Review.decision == self.decision.value)))
        if self.disagree is not None:
            found.append(disagreement_filter(job, *self.disagree))
        return found


def same_label() -> ColumnElement[bool]:
    """Of a `Sample` and a `Review`: the decision is about this label."""
    return and_(
        Review.dataset_id == Sample.dataset_id,
        Review.sample == Sample.name,
        Review.mask_sha256 == Sample.mask_sha256,
    )


def of_version(job: Job) -> ColumnElement[bool]:
    """A `Sample` is of the dataset version that a job is over."""
    return and_(Sample.dataset_id == job.dataset_id, Sample.version == job.dataset_version)


def _of_beliefs(wanted: SampleFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.name_contains:
        conditions.append(JobSample.name.icontains(wanted.name_contains, autoescape=True))
    for column, (low, high) in ((JobSample.confidence, wanted.confidence), (JobSample.score, wanted.score)):
        if low is not None:
            conditions.append(column >= low)
        if high is not None:
            conditions.append(column <= high)
    if wanted.reason is not None:
        conditions.append(JobSample.reason_kind == wanted.reason)
    if wanted.predicted_class is not None:
        conditions.append(holds(JobSample.predicted_classes, wanted.predicted_class))
    return conditions


def _of_labels(wanted: SampleFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.annotator is not None:
        conditions.append(Sample.annotator == wanted.annotator)
    if wanted.verified is not None:
        known = Sample.verified.is_(True)
        conditions.append(known if wanted.verified else or_(Sample.verified.is_(None), Sample.verified.is_(False)))
    if wanted.label_value is not None:
        conditions.append(holds(Sample.label_values, wanted.label_value))
    return conditions


def _samples(job: Job, *conditions: ColumnElement[bool]) -> Select[int]:
    return select(Sample.ordinal).where(of_version(job), *conditions)


def _decided(job: Job) -> Select[int]:
    """From the decisions to the samples, since there are fewer of them."""
    return _samples(job).join(Review, same_label()).where(Review.dataset_id == job.dataset_id)
