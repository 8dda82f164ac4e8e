"""A job's rows go in pieces: others write in between, and what broke off goes on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from sqlalchemy import func, select, text

from service.api.dependencies import Context
from service.db import jobs, removal
from service.db.session import open_database
from service.db.tables import DEFAULT_PROJECT, Confidence, Job, JobSample

PIECE = 4  # rows


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "PIECE_ROWS", PIECE)


def rows(context: Context, job_id: str) -> tuple[int, int, int]:
    """Of the history, of the newest confidences, and the job itself."""
    with context.database.read() as session:
        history, newest = (
            session.scalar(select(func.count()).select_from(table).where(table.job_id == job_id)) or 0
            for table in (Confidence, JobSample)
        )
        return history, newest, int(jobs.get_job(session, job_id) is not None)


@pytest.mark.usefixtures("pieces")
def test_a_job_goes_in_pieces_and_others_write_in_between(context: Context, finish_job: Callable[..., str]) -> None:
    job_id, other = finish_job("ds-a", "job-a", DEFAULT_PROJECT), finish_job("ds-b", "job-b", DEFAULT_PROJECT)
    before, others = rows(context, job_id), rows(context, other)
    assert before[0] > 2 * PIECE and before[1] > 0
    impatient = open_database(context.settings.database_url)
    sizes = [before[0]]

    def write_meanwhile(_seconds: float) -> None:
        with impatient.engine.execution_options(dale_writes=True).connect() as connection:
            connection.execute(text("UPDATE projects SET name = name"))
            connection.commit()
        sizes.append(rows(context, job_id)[0])

    removal.remove_job(context.database, job_id, sleep=write_meanwhile)
    impatient.close()
    assert rows(context, job_id) == (0, 0, 0)
    assert rows(context, other) == others
    if context.database.engine.dialect.name == "sqlite":
        assert len(sizes) > 2
        assert all(0 <= earlier - later <= PIECE for earlier, later in pairwise(sizes))


@pytest.mark.usefixtures("pieces")
def test_what_broke_off_goes_on(
    context: Context, finish_job: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = finish_job("ds-a", "job-a", DEFAULT_PROJECT)
    before = rows(context, job_id)
    lowest, looks = removal._lowest, iter(range(100))

    def power_cut(*arguments: object) -> int | None:
        if next(looks) == 2:
            raise RuntimeError("power cut")
        return lowest(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(removal, "_lowest", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            removal.remove_job(context.database, job_id, sleep=lambda _seconds: None)
    left = rows(context, job_id)
    assert 0 < left[0] < before[0] and left[2] == 1, "what is gone is gone, and the job is still there to be found"
    removal.remove_job(context.database, job_id, sleep=lambda _seconds: None)
    assert rows(context, job_id) == (0, 0, 0)


def test_numbers_with_holes_and_a_job_without_rows(context: Context, finish_job: Callable[..., str]) -> None:
    job_id = finish_job("ds-a", "job-a", DEFAULT_PROJECT)
    with context.sessions.begin() as session:
        session.execute(text("UPDATE confidences SET ordinal = ordinal + 1000000000 WHERE ordinal > 1"))
    removal.remove_job(context.database, job_id)
    assert rows(context, job_id) == (0, 0, 0)
    removal.remove_job(context.database, job_id)
    removal.remove_job(context.database, "job-none")
    with context.database.read() as session:
        assert session.scalars(select(Job)).all() == []
