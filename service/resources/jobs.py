"""Training jobs and their epochs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.jobs.lifecycle import State
from service.resources.posting import Priority
from workers.contract.request import Failure, JobSpec, Progress


class JobLinks(BaseModel):
    """Where the rest of a job is."""

    self: str
    events: str
    epochs: str
    logs: str
    environment: str
    samples: str
    held_out: str
    metrics: str
    model: str | None = Field(description="set once the job has succeeded")


class JobResource(BaseModel):
    """A training job."""

    id: str
    project_id: str
    name: str
    state: State
    waiting_for: str = Field(description="what a job that is not training yet waits for; empty if for nothing")
    priority: int = Field(description="of those that wait, jobs of higher priority start first")
    spec: JobSpec
    reproduces: str | None = Field(description="the job that it repeats, which may be deleted by now")
    attempt: int = Field(
        description="0 before the first; a run that the cluster lost resumes as the next one, a retry too"
    )
    epochs_done: int
    progress: Progress | None
    metrics: dict[str, Any] | None = Field(
        description="of the last finished epoch; at the end also of held-out samples"
    )
    failure: Failure | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: JobLinks


class JobChange(BaseModel):
    """What can be changed of a job that is not over."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[JobResource]
    next_page_token: str | None


class EpochResource(BaseModel):
    """A finished epoch."""

    epoch: int = Field(description="counted from 0")
    metrics: dict[str, Any]
    created_at: datetime


class EpochPage(BaseModel):
    """Some epochs of a job, in order."""

    epochs: list[EpochResource]
    next_page_token: str | None
