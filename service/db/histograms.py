"""How confidences are spread over the samples of a job, epoch by epoch: of a bounded part of its history."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from service.db.tables import Confidence

BINS = 10
MOST_SAMPLES = 1000  # of which the histogram is made, evenly spread over the dataset
MOST_EPOCHS = 32


@dataclass(frozen=True)
class Histogram:
    """Counts of samples by confidence.

    Attributes:
        epochs: numbers of the epochs, in order; the first and the newest are among them.
        counts: for each epoch as many numbers as there are bins; bin i holds confidences from i / BINS on.
        samples: how many samples were counted.
    """

    epochs: list[int]
    counts: list[list[int]]
    samples: int


def confidence_histogram(session: Session, job_id: str, samples: int, epochs_done: int) -> Histogram:
    """Count `MOST_SAMPLES` samples in `MOST_EPOCHS` epochs at most, whatever the size of the history.

    Args:
        session: to read by.
        job_id: of the job.
        samples: how many the job trains on; their ordinals are counted from 0.
        epochs_done: how many epochs are finished.
    """
    ordinals, epochs = evenly(samples, MOST_SAMPLES), evenly(epochs_done, MOST_EPOCHS)
    if not ordinals or not epochs:
        return Histogram([], [], 0)
    # Which bin by comparisons: rounding and casts differ between the databases.
    place = case(*((Confidence.confidence < (number + 1) / BINS, number) for number in range(BINS - 1)), else_=BINS - 1)
    query = select(Confidence.epoch, place, func.count()).where(
        Confidence.job_id == job_id, Confidence.ordinal.in_(ordinals), Confidence.epoch.in_(epochs)
    )
    counts = {epoch: [0] * BINS for epoch in epochs}
    for epoch, number, count in session.execute(query.group_by(Confidence.epoch, place)):
        counts[epoch][number] = count
    return Histogram(epochs, [counts[epoch] for epoch in epochs], len(ordinals))


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [number * (count - 1) // (most - 1) for number in range(most)]
