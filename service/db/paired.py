"""Held-out samples that several models have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from service.db.tables import HeldOutSample, Job, Sample


def common(session: Session, job_ids: Sequence[str]) -> tuple[list[str], np.ndarray[Any, Any]]:
    """How well each of several networks does on the samples that all of them had held out.

    A sample is the same where name, image and mask are: in another version, or another dataset, its number may be
    another, and a mask that was corrected makes it another sample, on which a Dice means something else.

    Args:
        session: its transaction.
        job_ids: of the models, each once.

    Returns:
        The samples' names, sorted, and (N, models) the Dice of each.
    """
    found = [_scores(session, job_id) for job_id in job_ids]
    shared = sorted(set.intersection(*(set(scores) for scores in found)))
    values = [[scores[key] for scores in found] for key in shared]
    return [key[0] for key in shared], np.array(values, np.float64).reshape(len(shared), len(job_ids))


def _scores(session: Session, job_id: str) -> dict[tuple[str, str, str, str], float]:
    query = (
        select(HeldOutSample.name, Sample.image_sha256, Sample.channels, Sample.mask_sha256, HeldOutSample.dice)
        .join(Job, Job.id == HeldOutSample.job_id)
        .join(
            Sample,
            and_(
                Sample.dataset_id == Job.dataset_id,
                Sample.version == Job.dataset_version,
                Sample.ordinal == HeldOutSample.ordinal,
            ),
        )
        .where(HeldOutSample.job_id == job_id)
    )
    return {
        (name, image, " ".join(channels or ()), mask): dice
        for name, image, channels, mask, dice in session.execute(query)
    }


def held_out_count(session: Session, job_id: str) -> int:
    """On how many samples a network was tested."""
    query = select(func.count()).select_from(HeldOutSample).where(HeldOutSample.job_id == job_id)
    return session.scalar(query) or 0


def dice_of(session: Session, job_id: str) -> np.ndarray[Any, Any]:
    """(N,) the Dice of each sample that a network was tested on."""
    query = select(HeldOutSample.dice).where(HeldOutSample.job_id == job_id).order_by(HeldOutSample.ordinal)
    return np.array(session.scalars(query).all(), np.float64)
