"""What a model came from: job, data, configuration, code, and the models that its training started from."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.db import datasets, jobs
from service.db.tables import Job, TrainedModel
from service.resources.lineage import Ancestor, Lineage, LineageCode, LineageData
from workers.contract.environment import Environment
from workers.contract.request import JobSpec

LONGEST = 100  # of the chain


def lineage(session: Session, job: Job) -> Lineage:
    """Put together what is known of a model.

    Args:
        session: its transaction.
        job: that has succeeded.
    """
    version = datasets.version(session, job.dataset_id, job.dataset_version)
    attempt = jobs.newest_environment(session, job.id)
    environment = Environment.model_validate(attempt.environment) if attempt is not None else None
    return Lineage(
        model=f"/v1/models/{job.id}",
        job=f"/v1/jobs/{job.id}",
        attempt=job.attempt,
        started_at=job.started_at,
        finished_at=job.finished_at,
        reproduces=job.reproduces,
        data=LineageData(
            dataset_id=job.dataset_id,
            name=datasets.get(session, job.dataset_id, None).name,
            version=job.dataset_version,
            sha256=environment.dataset_sha256 if environment else None,
            train=version.train_count,
            validation=version.validation_count,
            test=version.test_count,
            path=f"/v1/datasets/{job.dataset_id}/versions/{job.dataset_version}",
        ),
        config=JobSpec.model_validate(job.spec),
        code=LineageCode(version=environment.version, commit=environment.commit) if environment else None,
        environment=environment,
        warm_start=ancestors(session, job),
    )


def ancestors(session: Session, job: Job) -> list[Ancestor]:
    """The models that a training started from, the nearest first; it ends with one that is deleted."""
    chain: list[Ancestor] = []
    before: str | None = job.spec.get("warm_start")
    while before is not None and len(chain) < LONGEST:
        parent = jobs.get_job(session, before)
        model = session.get(TrainedModel, before)
        if parent is None or model is None or parent.project_id != job.project_id:
            chain.append(Ancestor(id=before, deleted=True))
            break
        chain.append(
            Ancestor(
                id=parent.id,
                deleted=False,
                name=model.series,
                version=model.number,
                dataset_id=parent.dataset_id,
                dataset_version=parent.dataset_version,
            )
        )
        before = parent.spec.get("warm_start")
    return chain
