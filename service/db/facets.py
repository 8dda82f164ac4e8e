"""How many samples each choice of a filter would leave, from one query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from service.db.listed import unlisted
from service.db.sample_filters import SampleFilter, of_version, same_label
from service.db.tables import Job, JobSample, Review, Sample
from service.resources.grid import MOST_ANNOTATORS
from service.reviews.decisions import DecisionState

# What is counted; a filter without any of these is asked of the database, the rest is chosen among its groups.
CHOICES = ("decision", "reason", "annotator", "verified", "label_value", "predicted_class")


@dataclass
class Facets:
    """Numbers of samples.

    Each kind is counted as if the filter did not name it: what is chosen of it can be exchanged for another.

    Attributes:
        total: of those that match the whole filter.
        decisions, reasons, annotators, verified: by choice.
        label_values: by value of the dataset's masks; None: not known. A sample may have several.
        predicted: by number of a class in the prediction. A sample may have several.
    """

    total: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str | None] = field(default_factory=Counter)
    annotators: Counter[str | None] = field(default_factory=Counter)
    verified: Counter[bool] = field(default_factory=Counter)
    label_values: Counter[int | None] = field(default_factory=Counter)
    predicted: Counter[int | None] = field(default_factory=Counter)

    def most_annotators(self) -> list[tuple[str, int]]:
        """Those with most samples, by name."""
        known = Counter({who: count for who, count in self.annotators.items() if who is not None})
        return sorted(known.most_common(MOST_ANNOTATORS))


def count(session: Session, job: Job, wanted: SampleFilter) -> Facets:
    """Count the samples of a job.

    Samples that are alike in all that is counted are one row of the answer: there are few of these, whatever the number
    of samples.
    """
    nothing: dict[str, Any] = dict.fromkeys(CHOICES)
    base = replace(wanted, **nothing)
    kinds = (
        func.coalesce(Review.decision, DecisionState.UNDECIDED.value),
        JobSample.reason_kind,
        Sample.annotator,
        func.coalesce(Sample.verified, False),
        Sample.label_values,
        JobSample.predicted_classes,
    )
    named: list[ColumnElement[Any]] = [kind.label(f"kind_{place}") for place, kind in enumerate(kinds)]
    # A subquery: PostgreSQL takes a `coalesce` with a parameter in SELECT and one in GROUP BY for two things.
    alike = (
        select(*named)
        .join(Sample, and_(of_version(job), Sample.ordinal == JobSample.ordinal))
        .outerjoin(Review, same_label())
        .where(JobSample.job_id == job.id, *base.conditions(job))
        .subquery()
    )
    rows: Iterable[Any] = session.execute(select(*alike.c, func.count()).group_by(*alike.c))
    asked = [getattr(wanted, name) for name in CHOICES]
    found = Facets()
    counters: list[Counter[Any]] = [
        found.decisions, found.reasons, found.annotators, found.verified, found.label_values, found.predicted,
    ]  # fmt: skip
    for decision, reason, annotator, verified, values, classes, number in rows:
        has = [[decision], [reason], [annotator], [bool(verified)], _numbers(values), _numbers(classes)]
        misses = [kind for kind, one in enumerate(asked) if one is not None and one not in has[kind]]
        if not misses:
            found.total += number
        for kind, counter in enumerate(counters):
            if misses in ([], [kind]):
                for choice in has[kind]:
                    counter[choice] += number
    return found


def _numbers(text: str | None) -> list[int | None]:
    return [None] if text is None else [*unlisted(text)]
