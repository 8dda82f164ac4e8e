"""The audit trail: an entry is written in the transaction of the change, and never again touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from service.actions import Action
from service.db.tables import AuditEntry
from service.roles import Caller


def add(session: Session, caller: Caller, action: Action, target: str, project_id: str | None, **details: Any) -> None:
    """Put down a change, to be committed with it.

    Args:
        session: the transaction of the change.
        caller: who makes it.
        action: what it is.
        target: id of what is changed.
        project_id: the project that it happens in, whose admins may read of it; None: in none.
        details: what else to know, as JSON; never a secret.
    """
    session.add(
        AuditEntry(
            project_id=project_id,
            key_id=caller.key_id,
            key_name=caller.key_name,
            action=action,
            target=target,
            details=details,
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
        )
    )


@dataclass(frozen=True)
class Filter:
    """Which entries; None: any."""

    project: str | None = None
    action: Action | None = None
    key: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL; `since` is inclusive and `until` is not, so that periods can follow each other."""
        exact = (
            (AuditEntry.project_id, self.project),
            (AuditEntry.action, self.action),
            (AuditEntry.key_id, self.key),
            (AuditEntry.target, self.target),
        )
        conditions: list[ColumnElement[bool]] = [column == value for column, value in exact if value is not None]
        if self.since is not None:
            conditions.append(AuditEntry.at >= self.since)
        if self.until is not None:
            conditions.append(AuditEntry.at < self.until)
        return conditions


def newest(session: Session, seen: str | None, wanted: Filter, before: int | None, limit: int) -> Sequence[AuditEntry]:
    """Entries, newest first, from before an id on; only of the project that is `seen`, if any."""
    query = select(AuditEntry).where(*_seen(seen), *wanted.conditions()).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return session.scalars(query).all()


def oldest(session: Session, seen: str | None, wanted: Filter, after: int, limit: int) -> Sequence[AuditEntry]:
    """Entries, oldest first, from behind an id on; only of the project that is `seen`, if any."""
    query = select(AuditEntry).where(AuditEntry.id > after, *_seen(seen), *wanted.conditions())
    return session.scalars(query.order_by(AuditEntry.id).limit(limit)).all()


def _seen(project_id: str | None) -> list[ColumnElement[bool]]:
    return [] if project_id is None else [AuditEntry.project_id == project_id]
