"""How a job's confidences are spread, epoch by epoch."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from service.api.dependencies import SessionDep, require_key
from service.api.jobs import JobDep
from service.api.problems import problems
from service.db import datasets, histograms

router = APIRouter(prefix="/v1/jobs", tags=["samples"], dependencies=[Depends(require_key)], responses=problems(401))


class EpochCounts(BaseModel):
    """Samples by confidence at the end of an epoch."""

    epoch: int = Field(description="counted from 0")
    counts: list[int] = Field(description="entry i: confidences from i / bins on, below (i + 1) / bins; the last: to 1")


class ConfidenceHistogram(BaseModel):
    """Samples by confidence, in epochs evenly spread over those that are finished, the newest among them."""

    bins: int
    samples: int = Field(description="how many were counted: all, or some that are evenly spread over the dataset")
    epochs: list[EpochCounts]


@router.get("/{job_id}/histogram", responses=problems(404))
def read_histogram(job: JobDep, session: SessionDep) -> ConfidenceHistogram:
    """How confidences are spread over the samples, epoch by epoch: of 1,000 samples and 32 epochs at most."""
    count = datasets.version(session, job.dataset_id, job.dataset_version).train_count
    found = histograms.confidence_histogram(session, job.id, count, job.epochs_done)
    listed = [EpochCounts(epoch=epoch, counts=counts) for epoch, counts in zip(found.epochs, found.counts, strict=True)]
    return ConfidenceHistogram(bins=histograms.BINS, samples=found.samples, epochs=listed)
