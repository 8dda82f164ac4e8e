"""Decisions put down and taken back, any number of them in one transaction; `service.db.reviews` reads them.

Who changes a review says which revision of it was seen. What somebody else has changed meanwhile stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.db.base import now
from service.db.tables import Review, ReviewEvent, Sample
from service.reviews.decisions import Decision, Outcome
from service.roles import Caller

NEVER = 0  # revision of a label that nobody has decided about
AT_ONCE = 500  # rows in one query: SQLite limits the values that a statement may have


@dataclass(frozen=True)
class Change:
    """A label to decide about.

    Attributes:
        row: the sample; those of one call are of one dataset, each named once.
        expected: the revision that was seen, `NEVER` for none; None: any, as long as nothing is in force.
        new_mask_sha256: of a correction: the mask to take the label's place.
    """

    row: Sample
    expected: int | None
    new_mask_sha256: str | None = None


@dataclass(frozen=True)
class Changed:
    """A change with what became of it, and the review as it is now; None: there is none."""

    change: Change
    review: Review | None
    outcome: Outcome


def decide_many(
    session: Session, caller: Caller, changes: Sequence[Change], decision: Decision, note: str = ""
) -> list[Changed]:
    """Put down one decision about several labels, in the order in which they are given."""
    _make(session, caller, [change.row for change in changes if change.expected in {NEVER, None}])
    held = _hold(session, changes)
    free = [one for one in held if one.outcome is Outcome.DONE]
    events = []
    for one in free:
        event = _event(one, caller, undo=False)
        event.decision, event.new_mask_sha256, event.note = decision, one.change.new_mask_sha256, note
        events.append(event)
    session.add_all(events)
    session.flush()  # they have their ids now
    for one, event in zip(free, events, strict=True):
        _put_in_force(one, event.id, event, caller)
    return held


def undo_many(session: Session, caller: Caller, changes: Sequence[Change]) -> list[Changed]:
    """Go back, for each label, to what was in force before the newest decision that is not undone."""
    held = [one if one.review and one.review.event_id else _nothing_to_undo(one) for one in _hold(session, changes)]
    free = [one for one in held if one.outcome is Outcome.DONE]
    undone = _events(session, [one.review.event_id for one in free if one.review])
    before = _events(session, [event.previous_id for event in undone.values()])
    events = []
    for one in free:
        event = _event(one, caller, undo=True)
        previous = before.get(undone[event.previous_id or 0].previous_id or 0)
        if previous is not None:
            event.decision, event.new_mask_sha256 = previous.decision, previous.new_mask_sha256
            event.note = previous.note
        events.append(event)
    session.add_all(events)
    session.flush()
    for one, event in zip(free, events, strict=True):
        _put_in_force(one, undone[event.previous_id or 0].previous_id, event, caller)
    return held


def _hold(session: Session, changes: Sequence[Change]) -> list[Changed]:
    """The reviews, locked, each with whether it is as the caller has seen it.

    They are locked in the order of names: of two requests at once the second waits for the first, and neither for ever.
    """
    ordered = sorted(changes, key=lambda change: change.row.name)
    found: dict[tuple[str, str], Review] = {}
    for start in range(0, len(ordered), AT_ONCE):
        some = ordered[start : start + AT_ONCE]
        query = (
            select(Review)
            .where(Review.dataset_id == some[0].row.dataset_id, Review.sample.in_([one.row.name for one in some]))
            .order_by(Review.sample, Review.mask_sha256)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        found |= {(review.sample, review.mask_sha256): review for review in session.scalars(query)}
    held = []
    for change in changes:
        review = found.get((change.row.name, change.row.mask_sha256))
        revision, decision = (review.revision, review.decision) if review else (NEVER, None)
        free = decision is None if change.expected is None else revision == change.expected
        held.append(Changed(change, review, Outcome.DONE if free else Outcome.CONFLICT))
    return held


def _nothing_to_undo(held: Changed) -> Changed:
    return Changed(held.change, held.review, Outcome.NOTHING) if held.outcome is Outcome.DONE else held


def _make(session: Session, caller: Caller, rows: Sequence[Sample]) -> None:
    """A review for each label that has none, in which nothing is decided yet; in the order of names, as locks are."""
    if not rows:
        return
    dialect: Any = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    nothing = {"revision": NEVER, "note": "", "key_id": caller.key_id, "key_name": caller.key_name, "at": now()}
    values = [
        {"dataset_id": row.dataset_id, "sample": row.name, "mask_sha256": row.mask_sha256, **nothing}
        for row in sorted(rows, key=lambda row: row.name)
    ]
    session.execute(dialect.insert(Review).on_conflict_do_nothing(), values)


def _events(session: Session, ids: Sequence[int | None]) -> dict[int, ReviewEvent]:
    known = [number for number in ids if number is not None]
    found: dict[int, ReviewEvent] = {}
    for start in range(0, len(known), AT_ONCE):
        query = select(ReviewEvent).where(ReviewEvent.id.in_(known[start : start + AT_ONCE]))
        found |= {event.id: event for event in session.scalars(query)}
    return found


def _event(held: Changed, caller: Caller, *, undo: bool) -> ReviewEvent:
    row = held.change.row
    return ReviewEvent(
        dataset_id=row.dataset_id,
        sample=row.name,
        mask_sha256=row.mask_sha256,
        undo=undo,
        previous_id=held.review.event_id if held.review else None,
        note="",
        key_id=caller.key_id,
        key_name=caller.key_name,
    )


def _put_in_force(held: Changed, event_id: int | None, event: ReviewEvent, caller: Caller) -> None:
    review = held.review
    assert review is not None  # noqa: S101 - what is free is there
    review.revision += 1
    review.event_id, review.decision = event_id, event.decision
    review.new_mask_sha256, review.note = event.new_mask_sha256, event.note
    review.key_id, review.key_name, review.at = caller.key_id, caller.key_name, now()
