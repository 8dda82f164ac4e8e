"""Every query about samples that a job did not train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import insert, select, tuple_
from sqlalchemy.orm import Session

from service.db.datasets import ROWS_AT_ONCE
from service.db.tables import HeldOutSample, Job, Sample


def insert_scores(session: Session, job: Job, scores: pa.Table) -> None:
    """Keep how well a job's network does on each held-out sample.

    Args:
        session: a transaction.
        job: the job, which has none yet.
        scores: `tables.TEST_SCORES`.
    """
    known = select(Sample.ordinal, Sample.name).where(
        Sample.dataset_id == job.dataset_id, Sample.version == job.dataset_version
    )
    for start in range(0, scores.num_rows, ROWS_AT_ONCE):
        some = scores[start : start + ROWS_AT_ONCE].to_pylist()
        within = Sample.ordinal.between(some[0]["ordinal"], some[-1]["ordinal"])
        names = {row.ordinal: row.name for row in session.execute(known.where(within))}
        rows = [{**row, "job_id": job.id, "name": names[row["ordinal"]]} for row in some]
        session.execute(insert(HeldOutSample), rows)


def page(session: Session, job_id: str, size: int, after: tuple[Any, int] | None) -> Sequence[HeldOutSample]:
    """Held-out samples of a job, that with the lowest Dice first, from behind a Dice and ordinal on."""
    query = select(HeldOutSample).where(HeldOutSample.job_id == job_id)
    if after is not None:
        query = query.where(tuple_(HeldOutSample.dice, HeldOutSample.ordinal) > tuple_(*after))
    return session.scalars(query.order_by(HeldOutSample.dice, HeldOutSample.ordinal).limit(size)).all()
