"""Multi-scale stability: a prediction should not depend on the resolution at which the image is seen."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dale.objective import consistency_loss


def half_resolution(images: Tensor) -> Tensor:
    """Average every 2 x 2 (or 2 x 2 x 2) block of pixels.

    An axis of odd size loses its last row: S becomes floor(S / 2).

    Args:
        images: (B, channels, *spatial), spatial = (H, W) or (D, H, W); images, labels or probabilities.

    Returns:
        (B, channels, *floor(spatial / 2)), in the dtype of `images`.

    Raises:
        ValueError: an axis is shorter than 2.
    """
    spatial = tuple(images.shape[2:])
    if min(spatial) < 2:
        raise ValueError(f"spatial size {spatial} cannot be halved; every axis needs at least 2 pixels")
    pool = F.avg_pool3d if len(spatial) == 3 else F.avg_pool2d
    return pool(images.float(), 2).to(images.dtype)


def stability_loss(logits_half: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """w_i times the mean over classes and pixels of (softmax(z_half) - half_resolution(p))^2, for every sample i.

    The network sees the image at half resolution; the teacher has seen it at full resolution.

    Args:
        logits_half: z_half, (B, C, *floor(S / 2)), the network's on `half_resolution(images)`.
        teacher: p, (B, C, *S), the teacher's probabilities in the same view, without gradients.
        weight: w, (B,), >= 0; larger where the partition says fuzzy.

    Returns:
        (B,), float32, >= 0 and at most 2 w / C; lower = more stable.

    Raises:
        ValueError: the logits are not half as large as the teacher's probabilities.
    """
    pooled = half_resolution(teacher.float())
    if logits_half.shape != pooled.shape:
        raise ValueError(
            f"logits of shape {tuple(logits_half.shape)} are not at half the resolution of the teacher's "
            f"{tuple(teacher.shape)}; expected {tuple(pooled.shape)}"
        )
    return weight.float() * consistency_loss(logits_half.float(), pooled)
