"""What a model came from: job, data, configuration, code, and the models that its training started from."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from service.db import datasets, jobs
from service.db.tables import Job, TrainedModel
from workers.contract.environment import Environment
from workers.contract.request import JobSpec

LONGEST = 100  # of the chain


class LineageData(BaseModel):
    """The version that was trained on."""

    dataset_id: str
    name: str
    version: int
    sha256: str | None = Field(
        description="of the version's table, which holds the hashes of all files; null: not known"
    )
    train: int = Field(description="samples that were trained on")
    test: int = Field(description="samples that were held out")
    path: str


class LineageCode(BaseModel):
    """What was run."""

    version: str = Field(description="of this service's package")
    commit: str | None = Field(description="with -dirty where it was changed; null: not under git")


class Ancestor(BaseModel):
    """A model that training started from, or from which that one did."""

    id: str
    deleted: bool = Field(description="of such a one nothing more is known")
    name: str | None = None
    version: int | None = None
    dataset_id: str | None = None
    dataset_version: int | None = None


class Lineage(BaseModel):
    """All that is known of how a model came about."""

    model: str
    job: str
    attempt: int = Field(description="that led to it, counted from 1")
    started_at: datetime | None
    finished_at: datetime | None
    reproduces: str | None = Field(description="the job that this one repeated, which may be deleted by now")
    data: LineageData
    config: JobSpec = Field(description="every option, also those that nobody named")
    code: LineageCode | None = Field(description="null: the run did not write it down")
    environment: Environment | None = Field(description="packages, hardware and data as the run found them")
    warm_start: list[Ancestor] = Field(description="the model that it started from, what that one started from, …")


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
            test=version.sample_count - version.train_count,
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
