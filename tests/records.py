"""What several tests put into the database, as the service leaves it there."""

from __future__ import annotations

from service.api.dependencies import Context
from service.datasets.kinds import UploadState
from service.db import jobs
from service.db.base import now
from service.db.tables import Upload
from service.db.uploads import KEPT
from service.jobs.intake import take_in, view_of
from service.jobs.lag import IngestLag
from service.jobs.lifecycle import State
from service.metrics import Metrics


def succeed(context: Context, job_id: str) -> None:
    """Take in what the only unfinished job has written, and let it be over."""
    with context.database.read() as session:
        view = view_of(jobs.unfinished(session)[0])
    assert take_in(context, view, IngestLag(Metrics())) is None
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        for state in (State.STARTING, State.RUNNING, State.SUCCEEDED):
            if job.state != state:
                jobs.set_state(session, job, state)


def put_upload(context: Context, upload_id: str, project_id: str) -> None:
    """An upload that waits for its only part, also where an earlier request gave it up."""
    with context.sessions.begin() as session:
        session.merge(
            Upload(
                id=upload_id,
                project_id=project_id,
                fields={"name": "large", "mask_threshold": None, "layout": "auto"},
                size=1,
                part_size=1,
                state=UploadState.OPEN,
                done=0,
                total=0,
                errors=[],
                expires_at=now() + KEPT,
            )
        )
