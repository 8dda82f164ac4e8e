"""The end of a review."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from service.resources.datasets import VersionResource
from service.resources.fields import Id
from service.resources.jobs import JobResource


class Finish(BaseModel):
    """What is to follow."""

    model_config = ConfigDict(extra="forbid")

    again: Id | None = Field(default=None, description="train on the new version as this job did")


class Finished(BaseModel):
    """The next version, and the job that trains on it."""

    version: VersionResource
    corrected: int
    excluded: int
    verified: int = Field(description="labels that were accepted or corrected: training believes them")
    job: JobResource | None
