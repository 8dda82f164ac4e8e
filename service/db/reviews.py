"""Every query about what people decided of labels.

A label is a sample's name with its mask, within a dataset. So a decision holds in every version that has the label, and
is gone from view, not lost, where the mask is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session

from service.db import deciding
from service.db.deciding import Change, Changed, decide_many, undo_many
from service.db.tables import Review, ReviewEvent, Sample
from service.errors import Conflict, PreconditionFailed
from service.reviews.decisions import Decision, Outcome
from service.roles import Caller
from workers.contract.tables import TRAIN

NEVER = deciding.NEVER


@dataclass(frozen=True)
class Opinion:
    """What one person last decided of a label, whatever others did after it.

    Attributes:
        sample: name of the sample.
        key_id: the person's key.
        key_name: its name, for people.
        decision: what it was.
        new_mask_sha256: of the mask that was to take the label's place.
    """

    sample: str
    key_id: str
    key_name: str
    decision: Decision
    new_mask_sha256: str | None


def find(session: Session, row: Sample, *, lock: bool = False) -> Review | None:
    """What is decided of a sample's label now; None: nothing ever was."""
    where = row.dataset_id, row.name, row.mask_sha256
    return session.get(Review, where, with_for_update=lock, populate_existing=lock)


def decide(
    session: Session,
    row: Sample,
    caller: Caller,
    expected: int,
    decision: Decision,
    *,
    new_mask_sha256: str | None = None,
    note: str = "",
) -> Review:
    """Put down a decision.

    Args:
        session: its transaction.
        row: the sample, whose label it is about.
        caller: who decides.
        expected: the revision that the caller has seen, `NEVER` for none.
        decision: what.
        new_mask_sha256: of a correction: the mask to take the label's place.
        note: for people.

    Raises:
        PreconditionFailed: somebody has decided meanwhile.
    """
    (done,) = decide_many(session, caller, [Change(row, expected, new_mask_sha256)], decision, note)
    return _review(done)


def undo(session: Session, row: Sample, caller: Caller, expected: int) -> Review:
    """Go back to what was in force before the newest decision that is not undone.

    Raises:
        PreconditionFailed: somebody has decided meanwhile.
        Conflict: there is nothing to undo.
    """
    (done,) = undo_many(session, caller, [Change(row, expected)])
    return _review(done)


def history(session: Session, row: Sample) -> Sequence[ReviewEvent]:
    """Everything that was decided and undone of a label, oldest first."""
    query = select(ReviewEvent).where(
        ReviewEvent.dataset_id == row.dataset_id,
        ReviewEvent.sample == row.name,
        ReviewEvent.mask_sha256 == row.mask_sha256,
    )
    return session.scalars(query.order_by(ReviewEvent.id)).all()


def page(
    session: Session,
    dataset_id: str,
    number: int,
    decision: Decision | None,
    limit: int,
    after: str | None,
    split: str | None = None,
) -> list[tuple[Sample, Review]]:
    """What is decided of the labels of a version, in the order of the samples' names, from behind a name on.

    With a `split` (`tables.SPLITS`) only of its labels.
    """
    query = _in_force(dataset_id, number, split).order_by(Sample.name).limit(limit)
    if decision is not None:
        query = query.where(Review.decision == decision)
    if after is not None:
        query = query.where(Sample.name > after)
    return [(row[0], row[1]) for row in session.execute(query)]


def all_in_force(session: Session, dataset_id: str, number: int) -> list[tuple[Sample, Review]]:
    """As `page`, all of them."""
    query = _in_force(dataset_id, number).order_by(Sample.name)
    return [(row[0], row[1]) for row in session.execute(query)]


def counts(session: Session, dataset_id: str, number: int, split: str | None = None) -> dict[Decision, int]:
    """How many labels of a version, or of one split of it, each decision is in force for."""
    inner = _in_force(dataset_id, number, split).with_only_columns(Review.decision).subquery()
    query = select(inner.c.decision, func.count()).group_by(inner.c.decision)
    found: dict[str, int] = {row[0]: row[1] for row in session.execute(query)}
    return {decision: found.get(decision, 0) for decision in Decision}


def opinions(session: Session, dataset_id: str, number: int) -> list[Opinion]:
    """What each person last decided of each label of a version; who has undone it since has none."""
    newest = (
        select(func.max(ReviewEvent.id))
        .where(ReviewEvent.dataset_id == dataset_id)
        .group_by(ReviewEvent.sample, ReviewEvent.mask_sha256, ReviewEvent.key_id)
    )
    same = and_(Sample.name == ReviewEvent.sample, Sample.mask_sha256 == ReviewEvent.mask_sha256)
    query = (
        select(ReviewEvent)
        .join(Sample, same)
        .where(
            Sample.dataset_id == dataset_id,
            Sample.version == number,
            ReviewEvent.id.in_(newest),
            ReviewEvent.undo.is_(False),
        )
        .order_by(ReviewEvent.sample, ReviewEvent.key_name, ReviewEvent.key_id)
    )
    return [
        Opinion(event.sample, event.key_id, event.key_name, Decision(event.decision or ""), event.new_mask_sha256)
        for event in session.scalars(query)
    ]


def _in_force(dataset_id: str, number: int, split: str | None = None) -> Select[Sample, Review]:
    same = and_(
        Review.dataset_id == Sample.dataset_id,
        Review.sample == Sample.name,
        Review.mask_sha256 == Sample.mask_sha256,
    )
    query = select(Sample, Review).join(Review, same)
    if split is not None:  # a sample of no split is trained on
        query = query.where(func.coalesce(Sample.split, TRAIN) == split)
    return query.where(Sample.dataset_id == dataset_id, Sample.version == number, Review.decision.is_not(None))


def _review(changed: Changed) -> Review:
    """The review, where what was asked for is done."""
    name = changed.change.row.name
    if changed.outcome is Outcome.NOTHING:
        raise Conflict(f"Nothing is decided of sample {name!r}, so nothing can be undone.")
    if changed.outcome is Outcome.CONFLICT or changed.review is None:
        raise PreconditionFailed(f"Somebody has decided about sample {name!r} meanwhile: look at it again.")
    return changed.review
