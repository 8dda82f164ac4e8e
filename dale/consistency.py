"""Loss consistency: the evidence for or against a label, allowing for the sample's difficulty.

A label is believed because prediction and label agree *consistently*, and a sample that the network itself is
unsure of (small, faint, blurred) is not blamed for what the network cannot do.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dale.objective import SMOOTH

# Share of the areas of prediction and label together that ranks a label: a fifth of a lesion that both see alike.
WORST = 0.1


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


def doubt_map(probabilities: Tensor, label: Tensor) -> Tensor:
    """Doubt about each pixel of a label: d = max_k p_k - p_y, y the label's class.

    This is (1 - p_y) - (1 - max_k p_k): the network's disbelief in the label less its disbelief in its own best
    guess. It is 0 wherever the label's class is the most likely one, and small wherever the network is unsure, so
    a blurred border is not doubted as 1 - p_y would (half of it, all around every lesion).

    Args:
        probabilities: (B, C, *spatial), class probabilities of the network.
        label: (B, C, *spatial), one-hot; a soft label counts with its expected p_y.

    Returns:
        (B, *spatial), float32, in [0, 1]; 1 = the network is sure of another class.

    Raises:
        ValueError: the shapes differ.
    """
    check_shapes(probabilities, label)
    p = probabilities.float()
    return (p.amax(1) - (p * label.float()).sum(1)).clamp(0, 1)


def doubt(probabilities: Tensor, label: Tensor) -> Tensor:
    """How much prediction and label disagree, where the network is sure: sum d^2 / (sum p + sum y + s).

    d is the `doubt_map`, p and y the foreground of prediction and label. For a network that is sure everywhere this is
    one minus the Dice of the two foregrounds, and a pixel of a wrong lesion class counts half. The square leaves the
    pixels of which the network is sure; disagreement at the others (a blurred border, a lesion too faint to see) hardly
    counts: so what is hard is not taken for wrong, pixel by pixel.

    Args:
        probabilities: (B, C, *spatial), class probabilities of the network.
        label: (B, C, *spatial), one-hot.

    Returns:
        (B,), float32, in [0, 1]; 0 = nothing speaks against the label, 1 = the foregrounds do not meet.
    """
    return doubt_map(probabilities, label).square().flatten(1).sum(1) / _areas(probabilities, label)


def worst_doubt(probabilities: Tensor, label: Tensor, share: float = WORST) -> Tensor:
    """How sure the network is that some part of the label is wrong: the mean of d^2 over the m pixels doubted most.

    m = share (sum p + sum y + s), at least one pixel, the last one counted by the fraction of it. This is the expected
    shortfall (conditional value at risk) of d^2: min over t of t + sum max(d^2 - t, 0) / m (Rockafellar & Uryasev,
    2000). With share = 1 it is the `doubt`, where no more pixels than that are doubted. With less, a label of which a
    part is surely wrong comes as early as one that is surely wrong altogether, and before one of which the network has
    its doubts everywhere: small faults are not lost among lesions that the network cannot see.

    Args:
        probabilities: (B, C, *spatial), class probabilities of the network.
        label: (B, C, *spatial), one-hot.
        share: of the areas, in (0, 1].

    Returns:
        (B,), float32, in [0, 1]; 0 = nothing speaks against the label, 1 = a part of it is surely wrong.

    Raises:
        ValueError: the shapes differ.
    """
    d = doubt_map(probabilities, label).square().flatten(1).sort(1, descending=True).values  # (B, pixels)
    d = F.pad(d, (0, 1))  # of all pixels, the next one has none
    size = (share * _areas(probabilities, label)).clamp_min(1)[:, None]
    whole = size.long().clamp_max(d.shape[1] - 1)
    most = d.cumsum(1).gather(1, whole - 1) + d.gather(1, whole) * (size - whole)
    return (most / size)[:, 0].clamp_max(1)


def _areas(probabilities: Tensor, label: Tensor) -> Tensor:
    """Foreground of prediction and label together, smoothed, in pixels, (B,)."""
    p, y = probabilities[:, 1:].float().flatten(1), label[:, 1:].float().flatten(1)
    return p.sum(1) + y.sum(1) + SMOOTH * label[0, 0].numel()


def check_shapes(probabilities: Tensor, label: Tensor) -> None:
    """Raise ValueError if probabilities and label differ in shape."""
    if probabilities.shape != label.shape:
        raise ValueError(f"probabilities {tuple(probabilities.shape)} and label {tuple(label.shape)} differ in shape")
