"""Every query about projects."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.db.tables import Project
from service.errors import Conflict, FieldError, NotFound


def add(session: Session, name: str) -> Project:
    """Make a project; raises `Conflict` where the name is taken."""
    project = Project(id=f"prj-{secrets.token_hex(8)}", name=name)
    session.add(project)
    try:
        session.flush()
    except IntegrityError as error:
        fault = FieldError(field="name", reason="is taken", hint="choose another; GET /v1/projects lists them")
        raise Conflict(f"There is a project {name!r} already.", [fault]) from error
    return project


def get(session: Session, project_id: str, seen: str | None) -> Project:
    """One project, if it is the one that is `seen` (None: all are); raises `NotFound`."""
    found = session.get(Project, project_id) if seen in {None, project_id} else None
    if found is None:
        raise NotFound(f"There is no project {project_id!r}; GET /v1/projects lists those there are.")
    return found


def lock(session: Session, project_id: str) -> Project:
    """A project that nobody else can change until this transaction ends; raises `NotFound`."""
    found = session.get(Project, project_id, with_for_update=True, populate_existing=True)
    return found if found is not None else get(session, project_id, None)


def limits(session: Session) -> dict[str, int]:
    """How many jobs may run at a time, of each project that has a limit."""
    query = select(Project.id, Project.max_running_jobs).where(Project.max_running_jobs.is_not(None))
    return {project_id: limit for project_id, limit in session.execute(query) if limit is not None}


def page(session: Session, seen: str | None, size: int, after: tuple[datetime, str] | None) -> Sequence[Project]:
    """Projects, newest first, from behind `after` (creation time and id) on; only the one that is `seen`, if any."""
    query = select(Project).order_by(Project.created_at.desc(), Project.id.desc()).limit(size)
    if seen is not None:
        query = query.where(Project.id == seen)
    if after:
        query = query.where(tuple_(Project.created_at, Project.id) < after)
    return session.scalars(query).all()
