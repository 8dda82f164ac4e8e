"""Two models on the same held-out samples: how far apart they are, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
AT_ONCE = 4_000_000  # numbers drawn in one go
SEED = 0  # the same samples, the same interval


@dataclass(frozen=True)
class Difference:
    """Of paired values: one model's less the other's.

    Attributes:
        mean: of the differences; above 0 where the first is better.
        low, high: bounds of the 95 % bootstrap interval of that mean; None: one sample has no interval.
        better, worse, equal: on how many samples the first is better, worse, the same.
        sign_p: two-sided p-value of the exact sign test, which leaves out equal ones; 1 where all are equal.
    """

    mean: float
    low: float | None
    high: float | None
    better: int
    worse: int
    equal: int
    sign_p: float


def difference(first: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Difference:
    """Compare two models, sample by sample.

    Args:
        first: (N,) Dice of one model, in [0, 1]; N at least 1.
        other: (N,) that of the other on the same samples, in the same order.
    """
    apart = first - other
    better, worse = int((apart > 0).sum()), int((apart < 0).sum())
    low, high = interval(apart)
    return Difference(float(apart.mean()), low, high, better, worse, len(apart) - better - worse, sign_p(better, worse))


def interval(values: np.ndarray[Any, Any]) -> tuple[float | None, float | None]:
    """The 95 % percentile bootstrap interval of a mean; (None, None) of less than two values.

    Args:
        values: (N,).
    """
    count = len(values)
    if count < 2:
        return None, None
    draw = np.random.default_rng(SEED)
    step = max(1, AT_ONCE // count)
    means = [
        values[draw.integers(count, size=(min(step, RESAMPLES - start), count))].mean(axis=1)
        for start in range(0, RESAMPLES, step)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def sign_p(better: int, worse: int) -> float:
    """Two-sided p-value of the sign test: 2 P(X ≤ min(better, worse)) for X ~ Binomial(better + worse, 1/2).

    Both tails are alike for a half, so their sum is twice one of them, and at most 1.
    """
    count, few = better + worse, min(better, worse)
    if count == 0:
        return 1.0
    k = np.arange(1, few + 1)
    log_choose = np.concatenate([[0.0], np.cumsum(np.log(count - k + 1) - np.log(k))])  # log C(n, 0), log C(n, 1), …
    tail = np.exp(log_choose - count * np.log(2)).sum()
    return float(min(1.0, 2 * tail))
