"""What a few verified labels, and the names of the annotators, tell about all the other labels: the border standard.

If some always draw wide, the network learns a border between theirs and the others'; nothing in a single sample says
which of the two is meant. The sizes of label and prediction tell the two apart, and then

- verified labels say how large labels are meant to be: s* is their mean excess (`size_excess`);
- failing those, the median annotator says it: s* is the median of the annotators' mean excesses, by samples.

For concentric shapes |excess| is just 1 - Dice, so |s - s*| is a doubt in units of Dice: about an annotator where
annotators are known, about the single label where only verified labels are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_TRUSTED = 3  # verified labels from which they set the standard
CLIP = 0.5  # of the excess: beyond it is a lesion missed or added, not a border
ERRORS = 2.0  # standard errors or deviations from the standard that are not held against a label


@dataclass(frozen=True)
class Hints:
    """What is known of the labels beforehand.

    Attributes:
        trusted: (N,), bool: the label was verified; it is believed whatever the evidence.
        annotator: (N,), int64: who drew the label, counted from 0; -1 where that is not known.
        agreement: (N,), float32, in [0, 1]: mean Dice with the labels that others drew of the same image; NaN where
            nobody did. None: of no label.
    """

    trusted: Tensor
    annotator: Tensor
    agreement: Tensor | None = None

    def of(self, rows: Tensor) -> Hints:
        """What is known of some of the samples."""
        agreement = self.agreement[rows] if self.agreement is not None else None
        return Hints(self.trusted[rows], self.annotator[rows], agreement)

    @staticmethod
    def none(samples: int) -> Hints:
        """Nothing is known of any of the samples."""
        return Hints(torch.zeros(samples, dtype=torch.bool), torch.full((samples,), -1))

    @property
    def annotators(self) -> int:
        """Number of annotators that are known by name."""
        return int(self.annotator.max()) + 1 if len(self.annotator) else 0


def border_sums(excess: Tensor, annotator: Tensor, trusted: Tensor, annotators: int) -> Tensor:
    """Count, sum and sum of squares of the clipped excess: a row for each annotator, then all, then the trusted.

    Args:
        excess: (n,), of some of the samples.
        annotator: (n,), of each, -1 where not known.
        trusted: (n,), bool.
        annotators: A.

    Returns:
        (A + 2, 3), float64, additive over disjoint sets of samples.
    """
    e = excess.double().clamp(-CLIP, CLIP)
    moments = torch.stack([torch.ones_like(e), e, e.square()], dim=1)
    sums = torch.zeros(annotators + 2, 3, dtype=torch.float64)
    known = annotator >= 0
    sums.index_add_(0, annotator[known], moments[known])
    sums[-2], sums[-1] = moments.sum(0), moments[trusted].sum(0)
    return sums


def border_doubt(excess: Tensor, annotator: Tensor, sums: Tensor) -> Tensor:
    """How far the borders of a label's annotator, or of the label itself, are from the standard, beyond chance.

    Args:
        excess: (n,), of the samples in question.
        annotator: (n,), of each, -1 where not known.
        sums: (A + 2, 3), `border_sums` of all samples.

    Returns:
        (n,), float32, in [0, 1], in units of Dice; 0 where there is nothing to tell it by.
    """
    count, total, squares = sums.unbind(1)
    mean = total / count.clamp_min(1)
    deviation = (squares / count.clamp_min(1) - mean.square()).clamp_min(0).sqrt()
    people = count[:-2] > 0
    if count[-1] >= LEAST_TRUSTED:
        standard = mean[-1]
    elif int(people.sum()) > 2:
        standard = _weighted_median(mean[:-2][people], count[:-2][people])
    else:
        return torch.zeros(len(excess))
    drawn = excess.double().clamp(-CLIP, CLIP)
    tolerance = torch.full_like(drawn, float(ERRORS * deviation[-1]) if count[-1] >= LEAST_TRUSTED else 2 * CLIP)
    known = annotator >= 0
    drawn[known] = mean[annotator[known]]
    tolerance[known] = ERRORS * deviation[-2] / count[annotator[known]].sqrt()
    return ((drawn - standard).abs() - tolerance).clamp(0, 1).float()


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    order = torch.argsort(values)
    below = weights[order].cumsum(0)
    return values[order][int((below < below[-1] / 2).sum())]
