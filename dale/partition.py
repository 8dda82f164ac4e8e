"""The soft split into non-fuzzy and fuzzy samples, from statistics of the whole dataset.

Owners of samples count their own doubts into a histogram; the sum of the histograms over all ranks is all that
the split needs. So the threshold is the same for any number of workers, and nobody sees all samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 256


@dataclass(frozen=True)
class Partition:
    """Where non-fuzzy ends and fuzzy begins, and how much there is to split.

    Attributes:
        threshold: tau, in [0, 1]: samples of larger doubt are fuzzy.
        share: share of the samples beyond the threshold, in [0, 1].
        gate: in [0, 1]; 0 = the doubts look like those of clean labels, 1 = they plainly have two parts.
    """

    threshold: float
    share: float
    gate: float


def histogram(values: Tensor) -> Tensor:
    """Count values of [0, 1] into `BINS` bins whose centres are evenly spaced from 0 to 1.

    A value is shared between the two centres beside it, in proportion to its nearness. So the counts, and all that
    follows from them, change continuously with the values: rounding errors cannot push a sample over an edge.

    Args:
        values: (N,), in [0, 1].

    Returns:
        (BINS,), float64, additive over disjoint sets of samples; their mean is that of the values.
    """
    place = values.double() * (BINS - 1)
    lower = place.floor().long().clamp(0, BINS - 2)
    above = place - lower
    counts = torch.zeros(BINS, dtype=torch.float64, device=values.device)
    return counts.index_add(0, lower, 1 - above).index_add(0, lower + 1, above)


def split(counts: Tensor) -> Partition:
    """Split by Otsu's threshold: the one with the largest variance between the two sides (Otsu, 1979).

    Args:
        counts: (BINS,), `histogram` of all samples, summed over the ranks.

    Returns:
        The partition; everything non-fuzzy (threshold 1, gate 0) where all doubts fall into one bin.
    """
    total = counts.sum()
    centres = torch.linspace(0, 1, BINS, dtype=torch.float64, device=counts.device)
    below = counts.cumsum(0)[:-1]  # samples below each inner bin edge
    mass = (counts * centres).cumsum(0)
    valid = (below > 0) & (below < total)
    if not valid.any():
        return Partition(threshold=1.0, share=0.0, gate=0.0)
    mean_below = mass[:-1] / below.clamp_min(1)
    mean_above = (mass[-1] - mass[:-1]) / (total - below).clamp_min(1)
    between = torch.where(valid, below * (total - below) * (mean_above - mean_below).square(), -1.0)
    edge = int(between.argmax())
    low, high = float(mean_below[edge]), float(mean_above[edge])
    return Partition(
        # Where the variance between the sides is largest, the threshold lies midway between their means.
        threshold=(low + high) / 2,
        share=float(1 - below[edge] / total),
        gate=min(max((high - low - GAP_OF_CLEAN) / (GAP_OF_NOISY - GAP_OF_CLEAN), 0.0), 1.0),
    )


# Difference between the mean doubts of the two sides, in units of Dice. Otsu always finds two sides; on clean
# labels they are the easy and the hard samples and lie close together.
GAP_OF_CLEAN = 0.2
GAP_OF_NOISY = 0.4
