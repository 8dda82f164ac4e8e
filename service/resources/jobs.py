"""Jobs, and the epochs of those that train."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.jobs.lifecycle import State
from service.jobs.tasks import Task
from service.resources.posting import Priority
from workers.contract.prediction import PredictSpec
from workers.contract.request import Failure, JobSpec, Progress


class JobLinks(BaseModel):
    """Where the rest of a job is; null where its task has no such thing."""

    self: str
    events: str
    logs: str
    environment: str | None
    epochs: str | None
    samples: str | None
    held_out: str | None
    metrics: str | None
    model: str | None = Field(description="that it trained: set once it has succeeded; or that it predicts by")
    files: str | None = Field(description="of a job that predicts: set once it has succeeded")


class JobResource(BaseModel):
    """A job: it trains a model, or predicts a dataset by one."""

    id: str
    project_id: str
    task: Task
    name: str
    state: State
    waiting_for: str = Field(description="what a job that does not run yet waits for; empty if for nothing")
    priority: int = Field(description="of those that wait, jobs of higher priority start first")
    spec: JobSpec | PredictSpec = Field(description="by its task; a job that predicts names its model in `model_id`")
    reproduces: str | None = Field(description="the job that it repeats, which may be deleted by now")
    attempt: int = Field(
        description="0 before the first; a run that the cluster lost resumes as the next one, a retry too"
    )
    epochs_done: int
    progress: Progress | None
    metrics: dict[str, Any] | None = Field(
        description="of the last finished epoch, at the end also of held-out samples; or of what was predicted"
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
