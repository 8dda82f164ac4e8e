"""Removes a job's rows in pieces: a history of ten million takes its time, and others want to write meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import delete, func, select

from service.db import jobs
from service.db.session import Database
from service.db.tables import Confidence, Job, JobSample

PIECE_ROWS = 50_000  # of the history, in one transaction
# SQLite lets nobody queue: whoever waits for the write lock looks again every 100 ms at the latest.
PAUSE_S = 0.12


def remove_job(database: Database, job_id: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Remove a job and every row that refers to it; the job itself goes last.

    Each piece is a transaction of its own, and what is gone stays gone: broken off anywhere, it can be called again.

    Args:
        database: where the job is; nobody may be adding to it any more.
        job_id: its id.
        sleep: waits between pieces on SQLite, where others could not write else.
    """
    pauses = database.engine.dialect.name == "sqlite"
    with database.read() as session:
        epochs = session.scalar(select(Job.epochs_done).where(Job.id == job_id)) or 0
    samples = max(1, PIECE_ROWS // max(1, epochs))
    for table, step in ((Confidence, samples), (JobSample, PIECE_ROWS)):
        end = 0
        while (first := _lowest(database, table, job_id, end)) is not None:
            if pauses and end:
                sleep(PAUSE_S)
            end = first + step
            with database.write.begin() as session:
                session.execute(
                    delete(table).where(table.job_id == job_id, table.ordinal >= first, table.ordinal < end)
                )
    with database.write.begin() as session:
        jobs.remove(session, job_id)


def _lowest(database: Database, table: type[Confidence | JobSample], job_id: str, first: int) -> int | None:
    """The lowest number of a sample from `first` on that still has a row; looked up before the lock is taken."""
    with database.read() as session:
        return session.scalar(select(func.min(table.ordinal)).where(table.job_id == job_id, table.ordinal >= first))
