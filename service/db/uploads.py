"""Every query about uploads in parts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from service.datasets.kinds import UploadState
from service.db.base import now
from service.db.tables import Upload
from service.errors import NotFound

KEPT = timedelta(days=7)
SILENCE = timedelta(seconds=60)  # of an import: whoever did it is gone


def get(session: Session, upload_id: str, seen: str | None, *, lock: bool = False) -> Upload:
    """One upload, of the project that is `seen` if any; raises `NotFound`."""
    found = session.get(Upload, upload_id, with_for_update=lock, populate_existing=lock)
    if found is None or seen not in (None, found.project_id):
        raise NotFound(f"There is no upload {upload_id!r}.")
    return found


def claim(session: Session, upload_id: str, at: datetime) -> bool:
    """Make an import ours: whether nobody else is at it."""
    silent = (Upload.state == UploadState.IMPORTING) & (Upload.updated_at < at - SILENCE)
    idle = or_(Upload.state.in_([UploadState.OPEN, UploadState.FAILED]), silent)
    claimed = session.execute(
        update(Upload)
        .where(Upload.id == upload_id, idle)
        .values(state=UploadState.IMPORTING, updated_at=at, expires_at=at + KEPT, done=0, total=0, errors=[])
        .returning(Upload.id)
    )
    return claimed.scalar() is not None


def report(session: Session, upload_id: str, done: int, total: int) -> None:
    """How far an import is, which also says that somebody is at it."""
    session.execute(update(Upload).where(Upload.id == upload_id).values(done=done, total=total, updated_at=now()))


def interrupted(upload: Upload) -> bool:
    """Whether whoever did the import is gone."""
    return upload.state == UploadState.IMPORTING and now() - upload.updated_at > SILENCE


def expired(session: Session, limit: int = 20) -> Sequence[Upload]:
    """Some uploads that nobody has gone on with for long."""
    return session.scalars(select(Upload).where(Upload.expires_at < now()).limit(limit)).all()
