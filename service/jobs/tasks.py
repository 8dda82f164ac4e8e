"""What jobs do. The rest of their life, from the queue to the end, is the same."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from workers.contract.prediction import AnySpec, PredictSpec
from workers.contract.request import JobSpec

if TYPE_CHECKING:
    from service.db.tables import Job


class Task(StrEnum):
    """What a job does."""

    TRAIN = "train"
    PREDICT = "predict"


def task_of(spec: AnySpec) -> Task:
    """What a job of this specification does."""
    return Task.PREDICT if isinstance(spec, PredictSpec) else Task.TRAIN


def spec_of(job: Job) -> AnySpec:
    """The specification of a job, by its task."""
    return (PredictSpec if job.task == Task.PREDICT else JobSpec).model_validate(job.spec)
