"""What a model came from: job, data, configuration, code, and the models that its training started from."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from workers.contract.environment import Environment
from workers.contract.request import JobSpec


class LineageData(BaseModel):
    """The version that was trained on."""

    dataset_id: str
    name: str
    version: int
    sha256: str | None = Field(
        description="of the version's table, which holds the hashes of all files; null: not known"
    )
    train: int = Field(description="samples that were trained on")
    validation: int = Field(description="samples that epochs were compared on")
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
