"""How much of the masks of a dataset version is not background: counted by the database."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from service.db.tables import Sample

EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class Balance:
    """Shares of foreground over the samples of a version.

    Attributes:
        mean: of all samples, in [0, 1].
        empty: samples whose mask is background alone.
        counts: entry i counts samples with a share in (EDGES[i], EDGES[i + 1]].
    """

    mean: float
    empty: int
    counts: tuple[int, ...]


def balance(session: Session, dataset_id: str, number: int) -> Balance:
    """Count the samples of a version by their share of foreground."""
    share = Sample.foreground
    conditions = [share <= 0]
    conditions += [(share > low) & (share <= high) for low, high in itertools.pairwise(EDGES)]
    sums = [func.coalesce(func.sum(case((condition, 1), else_=0)), 0) for condition in conditions]
    query = select(func.coalesce(func.avg(share), 0.0), *sums)
    row = session.execute(query.where(Sample.dataset_id == dataset_id, Sample.version == number)).one()
    return Balance(float(row[0]), int(row[1]), tuple(int(count) for count in row[2:]))
