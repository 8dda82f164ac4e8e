"""Random views of a sample: an affine map of the plane and a change of intensity, the same for any world size.

A view depends on nothing but (seed, epoch, ordinal). Labels and the teacher's predictions, made on the untouched
image, follow the network into its view by `warp`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """One view for each sample of a batch.

    Attributes:
        affine: (B, n, n + 1), maps output to input coordinates in [-1, 1] (n spatial axes).
        gain: (B,), factor on the intensities.
        offset: (B,), added to the intensities, in standard deviations of the dataset.
    """

    affine: Tensor
    gain: Tensor
    offset: Tensor

    def to(self, device: torch.device) -> Views:
        """The same views on a device."""
        return Views(self.affine.to(device), self.gain.to(device), self.offset.to(device))

    def image(self, images: Tensor) -> Tensor:
        """The images (B, channels, *spatial) as the network sees them: intensities changed, warped."""
        return warp(self.intensities(images), self)

    def intensities(self, images: Tensor) -> Tensor:
        """The images (B, channels, *spatial) in their places, intensities changed."""
        per_sample = (-1, *[1] * (images.ndim - 1))
        return images * self.gain.view(per_sample) + self.offset.view(per_sample)


@dataclass(frozen=True)
class Augmentation:
    """How far random views go; every range is symmetric around "unchanged", every axis is flipped or not.

    Attributes:
        rotation: largest angle in the plane of the last two axes, in radians.
        scale: largest logarithm of the magnification.
        shift: largest shift, in half image widths.
        gain: largest change of contrast, as a share of it.
        offset: largest change of brightness, in standard deviations of the dataset.
    """

    rotation: float
    scale: float
    shift: float
    gain: float
    offset: float


AUGMENTATIONS = {
    "light": Augmentation(rotation=0.25, scale=0.1, shift=0.05, gain=0.1, offset=0.1),
    "strong": Augmentation(rotation=math.pi, scale=0.2, shift=0.1, gain=0.15, offset=0.2),
}


def random_views(ordinals: Tensor, epoch: int, seed: int, spatial_dims: int = 2, augmentation: str = "strong") -> Views:
    """Views for a batch: flips, rotation in the plane of the last two axes, scale, shift, gain and offset.

    Args:
        ordinals: (B,), the samples' numbers in the dataset.
        epoch: counted from 0.
        seed: of the run, in [0, 2^32).
        spatial_dims: 2 or 3.
        augmentation: one of `AUGMENTATIONS`.
    """
    reach = AUGMENTATIONS[augmentation]
    n = spatial_dims
    # A counter-based generator (Philox): sample i draws from its own stream, whoever draws before it.
    draws = np.stack(
        [
            np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, int(i)])).random(2 * n + 4)
            for i in ordinals
        ]
    )
    u = torch.from_numpy(draws).float()  # (B, 2n + 4), in [0, 1)
    flip = torch.where(u[:, :n] < 0.5, -1.0, 1.0)
    around = 2 * u - 1  # in [-1, 1)
    shift = reach.shift * around[:, n : 2 * n]
    scale = torch.exp(reach.scale * around[:, 2 * n])
    angle = reach.rotation * around[:, 2 * n + 1]
    linear = torch.eye(n).repeat(len(u), 1, 1)  # coordinates in the order x, y(, z)
    linear[:, 0, 0], linear[:, 0, 1] = angle.cos(), -angle.sin()
    linear[:, 1, 0], linear[:, 1, 1] = angle.sin(), angle.cos()
    linear = linear * flip[:, None, :] * scale[:, None, None]
    gain = 1 + reach.gain * around[:, 2 * n + 2]
    offset = reach.offset * around[:, 2 * n + 3]
    return Views(torch.cat([linear, shift[:, :, None]], dim=2), gain, offset)


def warp(fields: Tensor, views: Views) -> Tensor:
    """Resample per-pixel fields (images, labels or probabilities) into the views, linearly, reflecting at the rim.

    Args:
        fields: (B, channels, *spatial).
        views: one for each sample.

    Returns:
        (B, channels, *spatial); class probabilities still sum to 1 over the channels.
    """
    exact = fields.to(torch.promote_types(fields.dtype, torch.float32))  # half precision is off by pixels
    grid = F.affine_grid(views.affine.to(exact), list(exact.shape), align_corners=False)
    warped = F.grid_sample(exact, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return warped.to(fields.dtype)
