"""Guarantee (c) of docs/method.md: what wrong labels can cost at most, against adversaries and a global search.

Location of labels on a line, l_i = (y_i - theta)^2 / 2: the best theta is found by a grid, without the closed form.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

import dale
from dale.joint import corruption_bound, robust_loss

Array = NDArray[np.float64]

TAU, TEMPERATURE = 0.5, 0.1


def robust_at(theta: Array, labels: Array) -> Array:
    """Sum of rho over the labels, at each theta."""
    losses = torch.from_numpy((labels[:, None] - np.atleast_1d(theta)) ** 2 / 2)
    return robust_loss(losses.flatten(), TAU, TEMPERATURE).view(losses.shape).sum(0).numpy()


def global_minimiser(labels: Array) -> float:
    """Grid around every label (far from all of them the objective is zero), then refinement of the best cell."""
    offsets = np.linspace(-2, 2, 81)
    grid = np.unique((labels[:, None] + offsets).ravel())
    best = grid[np.argmin(robust_at(grid, labels))]
    step = offsets[1] - offsets[0]
    found = minimize_scalar(
        lambda theta: robust_at(theta, labels)[0], bounds=(best - step, best + step), method="bounded"
    )
    return float(found.x) if found.fun < robust_at(best, labels)[0] else float(best)


ADVERSARIES: dict[str, Callable[[int, float, np.random.Generator], Array]] = {
    "all at one place": lambda m, d, rng: np.full(m, d),
    "both sides": lambda m, d, rng: np.where(np.arange(m) % 2, d, -d),
    "spread": lambda m, d, rng: rng.uniform(-d, d, m),
    "a rival crowd": lambda m, d, rng: d + 0.1 * rng.normal(size=m),
}


def clean_labels() -> Array:
    return 0.5 * np.random.default_rng(0).normal(size=60)


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("share", [0.05, 0.2, 0.4, 0.49])
def test_corrupted_labels_cost_at_most_twice_the_bound(adversary: str, share: float) -> None:
    clean, rng = clean_labels(), np.random.default_rng(1)
    corrupted = int(share * len(clean))
    bound = corruption_bound(corrupted, TAU, TEMPERATURE)
    optimum = robust_at(global_minimiser(clean), clean)[0]
    assert 2 * bound < -robust_at(clean.mean(), np.full(60, clean.mean()))[0]  # less than the whole range
    for distance in (1.0, 2.0, 1e1, 1e2, 1e4, 1e6):
        labels = clean.copy()
        labels[:corrupted] = ADVERSARIES[adversary](corrupted, distance, rng)
        anywhere = np.concatenate([np.linspace(-5, 5, 201), labels])
        assert np.abs(robust_at(anywhere, labels) - robust_at(anywhere, clean)).max() <= bound
        found = global_minimiser(labels)
        excess = robust_at(found, clean)[0] - optimum
        assert -1e-9 <= excess <= 2 * bound
        untouched = clean[corrupted:]
        assert robust_at(found, untouched)[0] <= robust_at(global_minimiser(untouched), untouched)[0] + bound


@pytest.mark.parametrize("corrupted", [1, 6, 24])
def test_no_smaller_bound_holds(corrupted: int) -> None:
    """Two crowds, the larger by 2 m - 1: m labels decide which is found, and that costs (2 m - 1) / m times B."""
    clean = np.concatenate([np.zeros(40 + 2 * corrupted - 1), np.full(40, 1e3)])
    labels = clean.copy()
    labels[:corrupted] = 1e3
    bound = corruption_bound(corrupted, TAU, TEMPERATURE)
    excess = robust_at(global_minimiser(labels), clean)[0] - robust_at(global_minimiser(clean), clean)[0]
    assert excess == pytest.approx((2 - 1 / corrupted) * bound, rel=1e-9)
    assert np.abs(robust_at(np.zeros(1), labels) - robust_at(np.zeros(1), clean)) == pytest.approx(bound)


def test_plain_training_has_no_such_bound() -> None:
    """One label drags the mean anywhere: its plain loss on clean labels grows as d^2, its robust one is the worst."""
    clean = clean_labels()
    bound = corruption_bound(1, TAU, TEMPERATURE)
    optimum = robust_at(global_minimiser(clean), clean)[0]
    costs = []
    for distance in (1e3, 1e4, 1e5, 1e6):
        labels = clean.copy()
        labels[0] = distance
        mean = labels.mean()
        costs.append(((clean - mean) ** 2 / 2).sum() - ((clean - clean.mean()) ** 2 / 2).sum())
        assert robust_at(mean, clean)[0] - optimum > 10 * bound
        assert robust_at(mean, clean)[0] > -1e-9  # no sample is fitted
        assert abs(global_minimiser(labels) - global_minimiser(clean)) < 0.1
    assert [b / a for a, b in pairwise(costs)] == pytest.approx([100] * 3, rel=0.01)


def test_the_start_decides_which_minimum_is_found() -> None:
    """Alternation descends to a local minimum: from a start at the outlier it stays there, far from the best."""
    labels = clean_labels()
    labels[0] = 1e3

    def from_start(theta: float) -> float:
        for _ in range(50):
            confidence = dale.closed_form_confidence(torch.from_numpy((labels - theta) ** 2 / 2), TAU, TEMPERATURE)
            theta = float(np.average(labels, weights=confidence.numpy()))
        return theta

    assert from_start(1.0) == pytest.approx(global_minimiser(labels), abs=1e-3)
    assert from_start(1e3) == pytest.approx(1e3)
