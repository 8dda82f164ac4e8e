"""How a job's confidences are spread, epoch by epoch."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from service.api.dependencies import SessionDep, require_key
from service.api.jobs import JobDep
from service.api.problems import problems
from service.db import datasets, histograms
from service.resources.histograms import ConfidenceHistogram, EpochCounts

router = APIRouter(prefix="/v1/jobs", tags=["samples"], dependencies=[Depends(require_key)], responses=problems(401))


@router.get("/{job_id}/histogram", responses=problems(404))
def read_histogram(job: JobDep, session: SessionDep) -> ConfidenceHistogram:
    """How confidences are spread over the samples, epoch by epoch: of 1,000 samples and 32 epochs at most."""
    count = datasets.version(session, job.dataset_id, job.dataset_version).train_count
    found = histograms.confidence_histogram(session, job.id, count, job.epochs_done)
    listed = [EpochCounts(epoch=epoch, counts=counts) for epoch, counts in zip(found.epochs, found.counts, strict=True)]
    return ConfidenceHistogram(bins=histograms.BINS, samples=found.samples, epochs=listed)
