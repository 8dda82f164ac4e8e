"""Loss consistency: the evidence for or against a label, corrected for the sample's difficulty.

A label is believed because prediction and label agree *consistently*, and a sample that the network itself is
unsure of (small, faint, blurred) is not blamed for what the network cannot do.
"""

from __future__ import annotations

from torch import Tensor

from dale.objective import SMOOTH


def soft_dice(probabilities: Tensor, label: Tensor) -> Tensor:
    """Soft Dice of a prediction and the given label: (2 sum p y + s) / (sum p + sum y + s).

    Args:
        probabilities: (B, C, *spatial), in [0, 1].
        label: (B, C, *spatial), one-hot.

    Returns:
        (B,), in [0, 1], mean over the foreground classes; 1 = they agree.
    """
    p, y = probabilities[:, 1:].flatten(2), label[:, 1:].flatten(2)
    smooth = SMOOTH * p.shape[2]
    return ((2 * (p * y).sum(2) + smooth) / (p.sum(2) + y.sum(2) + smooth)).mean(1)


def expected_dice(probabilities: Tensor) -> Tensor:
    """The Dice that a prediction expects of itself, were every pixel's label drawn from its own probabilities.

    E = (2 sum p^2 + s) / (2 sum p + s): replace y by its expectation p in `soft_dice`. It is low where the
    network is unsure, so 1 - E measures difficulty.

    Args:
        probabilities: (B, C, *spatial), in [0, 1].

    Returns:
        (B,), in [0, 1], mean over the foreground classes; 1 = sure.
    """
    p = probabilities[:, 1:].flatten(2)
    smooth = SMOOTH * p.shape[2]
    return ((2 * p.square().sum(2) + smooth) / (2 * p.sum(2) + smooth)).mean(1)


def size_excess(probabilities: Tensor, label: Tensor) -> Tensor:
    """How much larger the label is than the prediction: (sum y - sum p) / (sum y + sum p + s).

    The sign tells a border drawn too wide from one drawn too narrow, which Dice cannot.

    Args:
        probabilities: (B, C, *spatial), in [0, 1].
        label: (B, C, *spatial), one-hot.

    Returns:
        (B,), in [-1, 1], all foreground classes together; 0 = equally large, 1 = nothing predicted.
    """
    p, y = probabilities[:, 1:].flatten(1), label[:, 1:].flatten(1)
    predicted, given = p.sum(1), y.sum(1)
    return (given - predicted) / (given + predicted + SMOOTH * p.shape[1])


def doubt(dice: Tensor, expected: Tensor, difficulty: float) -> Tensor:
    """How much prediction and label disagree beyond what the sample's difficulty explains.

    Args:
        dice: (B,), `soft_dice` of teacher and label.
        expected: (B,), `expected_dice` of the teacher.
        difficulty: share of 1 - expected that is subtracted, in [0, 1].

    Returns:
        (B,), in [0, 1]; 0 = the label is as good as can be told, 1 = it has nothing to do with the prediction.
    """
    return ((1 - dice) - difficulty * (1 - expected)).clamp(0, 1)
