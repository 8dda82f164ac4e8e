"""Label refinement: what a doubted sample teaches instead of its label."""

from __future__ import annotations

from torch import Tensor

from dale.consistency import doubt_map


def refine(labels: Tensor, prediction: Tensor, belief: Tensor, kind: str = "sample") -> Tensor:
    """The label as far as it is believed, the teacher's prediction for the rest: w y + (1 - w) p.

    `sample`: every pixel is believed as its sample is, w = b. `pixel`: doubt falls only on the pixels where the
    teacher sees another class, as far as it is sure of it: w = 1 - (1 - b) d, with d the `doubt_map`. What label and
    teacher agree on stays as it is drawn.

    Args:
        labels: y, (B, C, *spatial), one-hot, as given.
        prediction: p, (B, C, *spatial), the teacher's probabilities.
        belief: b, (B,), in [0, 1].
        kind: `sample` or `pixel`.

    Returns:
        (B, C, *spatial), probabilities over the classes.
    """
    w = belief.view(-1, *[1] * (labels.ndim - 1))
    if kind == "pixel":
        w = 1 - (1 - w) * doubt_map(prediction, labels).unsqueeze(1)
    return w * labels + (1 - w) * prediction
