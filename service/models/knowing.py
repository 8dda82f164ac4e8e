"""Gathers what a model card is made of."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.db import datasets, jobs, model_facts, paired
from service.db.tables import Job, TrainedModel
from service.models.card import Known
from service.models.comparing import interval
from service.models.lineage import lineage
from workers.contract.evaluation import Evaluation


def known(session: Session, job: Job, model: TrainedModel) -> Known:
    """All that is known of a model.

    Args:
        session: its transaction.
        job: that has succeeded.
        model: its model.
    """
    version = datasets.version(session, job.dataset_id, job.dataset_version)
    dice = paired.dice_of(session, job.id)
    return Known(
        job=job,
        model=model,
        version=version,
        lineage=lineage(session, job),
        files=jobs.artifacts(session, job.id),
        data=model_facts.data_facts(session, job, version.held_out_from),
        noise=model_facts.noise_facts(session, job),
        held_out=len(dice),
        interval=interval(dice),
        evaluation=Evaluation.model_validate(job.evaluation) if job.evaluation else None,
    )
