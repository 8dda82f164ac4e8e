"""A sample over the jobs of its dataset."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from service.jobs.lifecycle import State
from service.reviews.decisions import Decision


class JobBelief(BaseModel):
    """What one job believed of the label, at the end of its newest epoch."""

    job_id: str
    job_name: str
    state: State
    dataset_version: int
    created_at: datetime
    finished_at: datetime | None
    ordinal: int = Field(description="the sample's number in that version")
    epoch: int = Field(description="that these values are of, counted from 0")
    rank: int = Field(description="1: look at it first")
    samples: int = Field(description="how many the job was trained on")
    confidence: float = Field(description="in [0, 1], lower = more doubtful label")
    score: float = Field(description="in [0, 1], lower = look first")
    dice: float = Field(description="soft Dice of prediction and label")
    expected_dice: float
    mask_sha256: str = Field(description="the label that it was trained on")
    same_label: bool = Field(description="whether that is the label of the job that was asked; false: only the name is")
    decision: Decision | None = Field(description="in force about that label, whichever it was; null: none")
    decided_by: str | None = Field(description="name of the key")


class SampleOverJobs(BaseModel):
    """Jobs over any version of the dataset that were trained on a sample of this name, newest first."""

    sample: str
    mask_sha256: str = Field(description="the label in the job that was asked")
    jobs: list[JobBelief]
    next_page_token: str | None
