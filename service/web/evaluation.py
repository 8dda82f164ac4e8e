"""What a job's page shows of its metrics on held-out samples: a table, a strip of dots for each metric, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from service.db import held_out
from service.db.tables import Job
from workers.contract.evaluation import METRICS, Calibration, Evaluation, MetricName

TITLES: dict[MetricName, str] = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95": "HD95",
    "precision": "Precision",
    "recall": "Recall",
}
WIDTH, HEIGHT = 300, 40  # of a strip
SIDE = 160  # of a reliability diagram
MOST_DOTS, WORST = 400, 6
LANES = 7  # dots lie beside one another in as many


@dataclass(frozen=True)
class Strip:
    """Every held-out sample as a dot, over a box from the lower to the upper quartile with the median in it.

    Attributes:
        title: of the metric, with its unit.
        top: value of the right edge; that of the left is 0.
        dots: x, y, and what the dot is.
        box: x of lower quartile, median and upper quartile.
        text: the same in words.
    """

    title: str
    top: float
    dots: list[tuple[float, float, str]]
    box: tuple[float, float, float]
    text: str


@dataclass(frozen=True)
class Diagram:
    """How often pixels are of a class to which the network gives a probability.

    Attributes:
        of: what is drawn.
        line: points of an SVG polyline.
        dots: x, y, and what the dot is.
    """

    of: Calibration
    line: str
    dots: list[tuple[float, float, str]]


def evaluation_of(session: Session, job: Job) -> dict[str, Any] | None:
    """The values of the template `evaluation.html`; None of a job that has no metrics on held-out samples."""
    if job.evaluation is None:
        return None
    evaluation = Evaluation.model_validate(job.evaluation)
    strips = [strip(session, job.id, metric, evaluation.hd95_unit) for metric in METRICS]
    return {
        **summary_of(evaluation),
        "strips": [one for one in strips if one is not None],
        "worst": held_out.page(session, job.id, WORST, None),
    }


def summary_of(evaluation: Evaluation) -> dict[str, Any]:
    """The values of the macros of `evaluation_parts.html`."""
    return {
        "of": evaluation,
        "titles": {metric: title_of(metric, evaluation.hd95_unit) for metric in METRICS},
        "diagrams": [diagram(one) for one in evaluation.calibration],
    }


def strip(session: Session, job_id: str, metric: MetricName, unit: str) -> Strip | None:
    """The strip of a metric; None where it is defined for no sample."""
    return strip_of(title_of(metric, unit), metric, held_out.values(session, job_id, metric, MOST_DOTS))


def title_of(metric: MetricName, unit: str) -> str:
    """What a metric is called, with its unit."""
    return f"{TITLES[metric]} ({unit})" if metric == "hd95" else TITLES[metric]


def strip_of(title: str, metric: MetricName, found: Sequence[tuple[str, float]]) -> Strip | None:
    """The strip of some values.

    Args:
        title: what they are.
        metric: of which metric.
        found: names of samples, and their values.

    Returns:
        None where there are none.
    """
    if not found:
        return None
    values = [value for _, value in found]
    top = max(values) or 1.0 if metric == "hd95" else 1.0
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    dots = [
        (WIDTH * value / top, HEIGHT * (number % LANES + 1) / (LANES + 1), f"{name}: {value:.3f}")
        for number, (name, value) in enumerate(found)
    ]
    text = f"{title} of {len(found)} samples: half of them between {low:.3f} and {high:.3f}, median {median:.3f}"
    return Strip(title, top, dots, (WIDTH * low / top, WIDTH * median / top, WIDTH * high / top), text)


def diagram(of: Calibration) -> Diagram:
    """The reliability diagram of a class: on the diagonal the network's probabilities are right."""
    dots = [
        (
            SIDE * one.probability,
            SIDE * (1 - one.frequency),
            f"{one.pixels} pixels: probability {one.probability:.2f}, labelled so {one.frequency:.2f}",
        )
        for one in of.bins
        if one.probability is not None and one.frequency is not None
    ]
    return Diagram(of, " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in dots), dots)
