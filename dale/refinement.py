"""Label refinement: what a doubted sample teaches instead of its label."""

from __future__ import annotations

from torch import Tensor


def refine(labels: Tensor, prediction: Tensor, belief: Tensor) -> Tensor:
    """The label as far as it is believed, the teacher's prediction for the rest: b y + (1 - b) p.

    Args:
        labels: y, (B, C, *spatial), one-hot, as given.
        prediction: p, (B, C, *spatial), the teacher's probabilities.
        belief: b, (B,), in [0, 1].

    Returns:
        (B, C, *spatial), probabilities over the classes.
    """
    b = belief.view(-1, *[1] * (labels.ndim - 1))
    return b * labels + (1 - b) * prediction
