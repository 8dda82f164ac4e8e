"""What differs between two versions of a dataset, told by the database: a join of both on the samples' names."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, case, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from service.datasets.kinds import Change
from service.db.tables import Sample


def page(
    session: Session, dataset_id: str, before: int, now: int, size: int, after: str | None
) -> list[tuple[str, list[Change]]]:
    """Names of samples that differ, in their order, from behind the name `after` on, each with what differs."""
    query, name, changes = _joined(dataset_id, before, now)
    query = query.add_columns(name, *(case((changes[change], 1), else_=0) for change in Change))
    query = query.where(or_(*changes.values())).order_by(name).limit(size)
    if after is not None:
        query = query.where(name > after)
    found = session.execute(query).all()
    return [(row[0], [change for change, is_so in zip(Change, row[1:], strict=True) if is_so]) for row in found]


def counts(session: Session, dataset_id: str, before: int, now: int) -> dict[str, int]:
    """How many samples differ in each way."""
    query, _, changes = _joined(dataset_id, before, now)
    numbers = [func.coalesce(func.sum(case((changes[change], 1), else_=0)), 0) for change in Change]
    return dict(zip(Change, session.execute(query.add_columns(*numbers)).one(), strict=True))


def _joined(
    dataset_id: str, before: int, now: int
) -> tuple[Select[Any], ColumnElement[str], dict[Change, ColumnElement[bool]]]:
    """Both versions side by side (no columns chosen yet), the name of a row, and the condition of each change."""
    old, new = (
        aliased(Sample, select(Sample).where(Sample.dataset_id == dataset_id, Sample.version == number).subquery())
        for number in (before, now)
    )
    changes: dict[Change, ColumnElement[bool]] = {
        Change.ADDED: old.name.is_(None),
        Change.REMOVED: new.name.is_(None),
        Change.RELABELLED: and_(old.name == new.name, old.mask_sha256 != new.mask_sha256),
        Change.CHANGED_IMAGE: and_(
            old.name == new.name,
            or_(old.image_sha256 != new.image_sha256, _text(old.channels) != _text(new.channels)),
        ),
    }
    query = select().select_from(old).join(new, old.name == new.name, full=True)
    return query, func.coalesce(old.name, new.name), changes


def _text(channels: Any) -> ColumnElement[str]:
    """A list as the database keeps it: PostgreSQL does not compare JSON."""
    return func.coalesce(cast(channels, Text), "")
