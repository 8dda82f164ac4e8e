"""Metrics of many samples in a few numbers, and how far the mean might be another with other patients.

In the contract, since workers summarise a job's samples and the service those of a cross-validation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.contract.evaluation import LEVEL, METRICS, ClassValues, MetricName, MetricSummary

RESAMPLES = 2000
AT_ONCE = 4_000_000  # draws that are held in memory together


def summaries(values: Sequence[ClassValues], groups: Sequence[str], seed: int) -> list[MetricSummary]:
    """Summaries by metric and foreground class; where there are several classes also of their mean in each sample.

    Args:
        values: of each sample.
        groups: of each sample what it belongs to, such as a patient.
        seed: of the draws; the same for all metrics, so that their intervals belong to the same resamples.
    """
    classes = len(values[0]["dice"])
    found = []
    for metric in METRICS:
        by_class: list[tuple[int | None, list[float | None]]] = [
            (number + 1, [of[metric][number] for of in values]) for number in range(classes)
        ]
        if classes > 1:
            by_class.insert(0, (None, [mean_over_classes(of[metric]) for of in values]))
        found += [_summary(metric, number, column, groups, seed) for number, column in by_class]
    return found


def _summary(
    metric: MetricName, number: int | None, column: Sequence[float | None], groups: Sequence[str], seed: int
) -> MetricSummary:
    pairs = [(value, group) for value, group in zip(column, groups, strict=True) if value is not None]
    defined = np.array([value for value, _ in pairs], dtype=np.float64)
    low, high = interval(defined, [group for _, group in pairs], seed)
    return MetricSummary(
        metric=metric,
        label_class=number,
        samples=len(pairs),
        undefined=len(column) - len(pairs),
        mean=float(defined.mean()) if pairs else None,
        median=float(np.median(defined)) if pairs else None,
        std=float(defined.std()) if pairs else None,
        low=low,
        high=high,
    )


def mean_over_classes(values: Sequence[float | None]) -> float | None:
    """Mean of those that are defined; None if none is."""
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


def interval(
    values: NDArray[np.float64], groups: Sequence[str], seed: int, resamples: int = RESAMPLES
) -> tuple[float | None, float | None]:
    """Percentile bootstrap interval of the mean, with whole groups drawn (Davison and Hinkley 1997, section 3.8).

    Samples of one patient say nearly the same, so drawing them one by one would promise too much.

    Args:
        values: of the samples.
        groups: what each belongs to.
        seed: of the draws.
        resamples: how many.

    Returns:
        Its ends at `LEVEL`; None and None with fewer than two groups.
    """
    _, place = np.unique(np.array(groups, dtype=str), return_inverse=True)
    count = int(place.max()) + 1 if len(values) else 0
    if count < 2:
        return None, None
    sums, sizes = np.bincount(place, values), np.bincount(place)
    rng = np.random.default_rng(seed)
    step = max(1, AT_ONCE // count)
    means = []
    for begin in range(0, resamples, step):
        drawn = rng.integers(count, size=(min(step, resamples - begin), count))
        means.append(sums[drawn].sum(1) / sizes[drawn].sum(1))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return float(low), float(high)
