"""The loss of a segmentation network, per sample, for hard and soft labels.

Shapes: B samples, C classes (class 0 is the background), spatial axes (H, W) or (D, H, W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Added to both sides of a Dice ratio, as a share of the number of pixels: an empty label and a nearly empty
# prediction then agree, at any image size.
SMOOTH = 1e-3


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean of cross-entropy and soft Dice loss, each reduced per sample (METHOD: l_i).

    The Dice term has squared denominators (Milletari et al., V-Net, 2016), since only that form is least at
    prediction = target when the target is soft.

    Args:
        logits: (B, C, *spatial).
        target: (B, C, *spatial), class probabilities; one-hot for a hard label.

    Returns:
        (B,), each >= 0.
    """
    cross_entropy = -(target * F.log_softmax(logits, dim=1)).sum(1).flatten(1).mean(1)  # (B,)
    return 0.5 * cross_entropy + 0.5 * dice_loss(torch.softmax(logits, dim=1), target)


def dice_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """1 - (2 sum p t + s) / (sum p^2 + sum t^2 + s), mean over the foreground classes.

    Args:
        probabilities: (B, C, *spatial), in [0, 1].
        target: (B, C, *spatial), in [0, 1].

    Returns:
        (B,), in [0, 1); 0 where prediction and target are equal.
    """
    p, t = probabilities[:, 1:].flatten(2), target[:, 1:].flatten(2)  # (B, C - 1, P)
    smooth = SMOOTH * p.shape[2]
    overlap = (2 * (p * t).sum(2) + smooth) / (p.square().sum(2) + t.square().sum(2) + smooth)
    return 1 - overlap.mean(1)


def consistency_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference between the network's and the teacher's class probabilities.

    Args:
        logits: (B, C, *spatial), the network's on its view.
        teacher: (B, C, *spatial), the teacher's probabilities from another view, warped into the network's.

    Returns:
        (B,), in [0, 1] for two classes and at most 2 / C in general.
    """
    return (torch.softmax(logits, dim=1) - teacher).square().flatten(1).mean(1)
