"""Mixing: two samples of a batch exchange a box, image and target alike (CutMix, Yun et al., ICCV 2019).

The network then meets hardly any image twice, so it cannot learn a wrong label by heart; and fuzzy samples share images
with clear ones, so that both are seen in the same contexts. Which samples pair, and which box they exchange, depends on
nothing but (seed, epoch, ordinals of the two).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

EDGES = (0.3, 0.75)  # of a box, each as a share of the image's edge


@dataclass(frozen=True)
class Mixing:
    """What each sample of a batch takes from its partner.

    Attributes:
        partner: (B,), int64, row of the partner; a sample without one is its own. Partners are mutual.
        box: (B, 1, *spatial), bool, true where the partner's pixels are taken; the same box for both partners.
    """

    partner: Tensor
    box: Tensor

    def to(self, device: torch.device) -> Mixing:
        """The same mixing on a device."""
        return Mixing(self.partner.to(device), self.box.to(device))

    def exchange(self, fields: Tensor) -> Tensor:
        """Exchange the boxes of per-pixel fields (B, channels, *spatial). Done twice, it undoes itself."""
        return torch.where(self.box, fields[self.partner], fields)


def draw_mixing(ordinals: Tensor, epoch: int, seed: int, spatial: Sequence[int], share: float) -> Mixing:
    """Pair the first half of a batch with the second, and draw for each pair whether it mixes and which box.

    Row i pairs with row i + floor(B / 2); the last row of an odd batch has no partner. Where rank r of W takes every
    W-th row of a global batch whose size is a multiple of 2 W, the pairs are the same for every W.

    Args:
        ordinals: (B,), the samples' numbers in the dataset.
        epoch: counted from 0.
        seed: of the run, in [0, 2^32).
        spatial: size of the images, (H, W) or (D, H, W).
        share: of the pairs that mix, in [0, 1].
    """
    count, half = len(ordinals), len(ordinals) // 2
    partner = torch.arange(count)
    box = torch.zeros(count, 1, *spatial, dtype=torch.bool)
    for i in range(half if share > 0 else 0):
        j = i + half
        first, second = sorted((int(ordinals[i]), int(ordinals[j])))
        # A counter-based generator, as in `random_views`; the second word keeps the streams apart.
        rng = np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 1 + second, 0, first]))
        if rng.random() >= share:
            continue
        partner[i], partner[j] = j, i
        inside = torch.ones(tuple(spatial), dtype=torch.bool)
        for axis, size in enumerate(spatial):
            edge = max(1, round(size * rng.uniform(*EDGES)))
            begin = int(rng.integers(0, size - edge + 1))
            place = torch.arange(size).view(-1, *[1] * (len(spatial) - 1 - axis))
            inside &= (place >= begin) & (place < begin + edge)
        box[i, 0] = box[j, 0] = inside
    return Mixing(partner, box)
