"""How well a score finds the corrupted labels, and the scores of others to compare with.

Scores are (N,), one per label; lower = more suspicious.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cleanlab.segmentation.rank import get_label_quality_scores
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

BATCH = 64  # images whose probabilities are held as float32 at once
TINY = 1e-7


def metrics(
    score: ArrayLike, corrupted: ArrayLike, kinds: Sequence[str] | None = None
) -> dict[str, float | dict[str, float] | None]:
    """Quality of a ranking, each between 0 and 1, higher = better; None where it is not defined.

    Not defined: every label is clean, every label is corrupted, or a score is not finite (a run that diverged).

    Args:
        score: (N,), lower = more suspicious.
        corrupted: (N,), true where the label is wrong.
        kinds: (N,), what was done to each label; gives `kinds`, the AUROC of each kind against the clean labels.

    Returns:
        `auroc` (chance: 0.5), `average_precision` (chance: the share of corrupted labels), `precision_first_tenth`
        (share of corrupted labels among the N / 10 most suspicious), and `kinds`.
    """
    score, corrupted = np.asarray(score, np.float64), np.asarray(corrupted, bool)
    if corrupted.all() or not corrupted.any() or not np.isfinite(score).all():
        return {"auroc": None, "average_precision": None, "precision_first_tenth": None, "kinds": {}}
    by_kind = {}
    if kinds is not None:
        names = np.asarray(kinds)
        for kind in np.unique(names[corrupted]):
            chosen = ~corrupted | (names == kind)
            by_kind[str(kind)] = float(roc_auc_score(corrupted[chosen], -score[chosen]))
    return {
        "auroc": float(roc_auc_score(corrupted, -score)),
        "average_precision": float(average_precision_score(corrupted, -score)),
        "precision_first_tenth": _precision_first(score, corrupted, max(1, round(len(score) / 10))),
        "kinds": by_kind,
    }


def _precision_first(score: NDArray[np.float64], corrupted: NDArray[np.bool_], first: int) -> float:
    """Share of corrupted labels among the `first` lowest scores; among equal scores, the share to expect."""
    limit = np.partition(score, first - 1)[first - 1]
    below, equal = score < limit, score == limit
    return float((corrupted[below].sum() + (first - below.sum()) * corrupted[equal].mean()) / first)


def cleanlab_scores(labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.float64]:
    """cleanlab's label quality score of each image, by its own library: the softmin over pixels of p(label).

    Lad and Mueller, "Estimating label quality and errors in semantic segmentation data via any model" (2023);
    method and temperature are the library's defaults.

    Args:
        labels: (N, H, W), class indices.
        probabilities: (N, C, H, W); arrays or tensors on the CPU.

    Returns:
        (N,), between 0 and 1.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    parts = [
        get_label_quality_scores(
            labels[start : start + BATCH].astype(np.int64),
            probabilities[start : start + BATCH].astype(np.float32),
            method="softmin",
            verbose=False,
        )[0]
        for start in range(0, len(labels), BATCH)
    ]
    return np.concatenate(parts)


def mean_loss_scores(labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.float64]:
    """Minus the mean cross-entropy of each image: mean over pixels of ln p(label), at most 0.

    Args:
        labels: (N, H, W), class indices.
        probabilities: (N, C, H, W).

    Returns:
        (N,), 0 = the network says exactly what the label says.
    """
    indices = np.asarray(labels).astype(np.int64)[:, None]
    of_label = np.take_along_axis(np.asarray(probabilities), indices, axis=1)[:, 0]
    scores: NDArray[np.float64] = np.log(np.maximum(of_label.astype(np.float64), TINY)).mean((1, 2))
    return scores
