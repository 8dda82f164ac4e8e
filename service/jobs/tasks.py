"""What jobs do. The rest of their life, from the queue to the end, is the same."""

from __future__ import annotations

from enum import StrEnum

from workers.contract.prediction import AnySpec, PredictSpec


class Task(StrEnum):
    """What a job does."""

    TRAIN = "train"
    PREDICT = "predict"


def task_of(spec: AnySpec) -> Task:
    """What a job of this specification does."""
    return Task.PREDICT if isinstance(spec, PredictSpec) else Task.TRAIN
