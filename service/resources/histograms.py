"""How a job's confidences are spread."""

from __future__ import annotations

from pydantic import BaseModel, Field


class EpochCounts(BaseModel):
    """Samples by confidence at the end of an epoch."""

    epoch: int = Field(description="counted from 0")
    counts: list[int] = Field(description="entry i: confidences from i / bins on, below (i + 1) / bins; the last: to 1")


class ConfidenceHistogram(BaseModel):
    """Samples by confidence, in epochs evenly spread over those that are finished, the newest among them."""

    bins: int
    samples: int = Field(description="how many were counted: all, or some that are evenly spread over the dataset")
    epochs: list[EpochCounts]
