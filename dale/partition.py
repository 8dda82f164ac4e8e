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
    """Split by Otsu's criterion for three parts: clear, fuzzy and plainly wrong (Otsu, 1979; Liao et al., 2001).

    A missed lesion is doubted so much more than a wrong border that two parts would be "missed" and "all others".
    With three, the lower threshold ends the clear ones, whatever else there is.

    Args:
        counts: (BINS,), `histogram` of all samples, summed over the ranks.

    Returns:
        The partition; everything non-fuzzy (threshold 1, gate 0) where all doubts fall into two bins.
    """
    centres = torch.linspace(0, 1, BINS, dtype=torch.float64, device=counts.device)
    size, mass = counts.cumsum(0), (counts * centres).cumsum(0)
    # Parts end with bins i < j; the variance between them is largest where the sum of mass^2 / size is.
    i, j = torch.triu_indices(BINS - 1, BINS - 1, offset=1, device=counts.device)
    sizes = torch.stack([size[i], size[j] - size[i], size[-1] - size[j]])
    masses = torch.stack([mass[i], mass[j] - mass[i], mass[-1] - mass[j]])
    means = masses / sizes.clamp_min(1e-9)
    between = torch.where((sizes > 1e-6).all(0), (masses * means).sum(0), -1.0)
    best = int(between.argmax())
    if between[best] < 0:
        return Partition(threshold=1.0, share=0.0, gate=0.0)
    low, middle, high = means[:, best].tolist()
    rest = sizes[1:, best].sum()
    gap = float(masses[1:, best].sum() / rest) - low
    # Where the variance between the parts is largest, the thresholds lie midway between their means. The lower one is
    # taken as far as the two lower parts are apart; else they are one part in two halves.
    apart = min(max((middle - low - LEAST_APART) / LEAST_APART, 0.0), 1.0)
    threshold = (low + middle) / 2 + (1 - apart) * (high - low) / 2
    return Partition(
        threshold=threshold,
        share=share_above(counts, threshold),
        gate=min(max((gap - GAP_OF_CLEAN) / (GAP_OF_NOISY - GAP_OF_CLEAN), 0.0), 1.0),
    )


def share_above(counts: Tensor, threshold: float) -> float:
    """Share of the samples whose doubt is larger, in [0, 1]."""
    centres = torch.linspace(0, 1, BINS, dtype=torch.float64, device=counts.device)
    inside = ((centres - threshold) * (BINS - 1) + 0.5).clamp(0, 1)  # of each bin, the part beyond the threshold
    return float((counts * inside).sum() / counts.sum())


# Difference between the mean doubts of two parts, in units of Dice, from which they count as two.
LEAST_APART = 0.06
# Difference between the mean doubt of the clear samples and of all others, in units of Dice. Any data have three parts;
# on clean labels they are the easy, the hard and the hardest samples, and lie close together.
GAP_OF_CLEAN = 0.1
GAP_OF_NOISY = 0.2
