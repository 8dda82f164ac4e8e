"""How well predictions agree with labels (MONAI's metrics), and how far probabilities are to be believed.

Shapes: *spatial is (H, W) of an image or (D, H, W) of a volume; C counts the classes, the background included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import (
    compute_confusion_matrix_metric,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    get_confusion_matrix,
)
from numpy.typing import NDArray
from torch import Tensor

from workers.contract.evaluation import Calibration, ClassValues, ReliabilityBin

BINS = 10  # of the reliability diagram


def class_values(
    prediction: Tensor, label: Tensor, classes: int, spacing: Sequence[float] | None = None
) -> ClassValues:
    """Metrics of one sample, for each foreground class.

    Dice and IoU, in [0, 1], are 1 of a class that both lack. HD95 is the larger of the two directed 95th percentiles of
    the distances between the borders, and undefined where one of both lacks the class. Precision, in [0, 1], is
    undefined where nothing is predicted as the class, recall where nothing is labelled so.

    Args:
        prediction: (*spatial), class indices.
        label: (*spatial), class indices.
        classes: C.
        spacing: from element to element along each axis, in the unit that HD95 is to have; None: 1.

    Returns:
        By metric C - 1 values, None where undefined.
    """
    found: ClassValues = {"dice": [], "iou": [], "hd95": [], "precision": [], "recall": []}
    for number in range(1, classes):  # one after the other: all of a volume at once would need C times the memory
        p, t = ((mask == number)[None, None].float() for mask in (prediction, label))
        confusion = get_confusion_matrix(p, t)
        found["dice"].append(_defined(compute_dice(p, t, ignore_empty=False)))
        found["iou"].append(_defined(compute_iou(p, t, ignore_empty=False)))
        found["precision"].append(_defined(compute_confusion_matrix_metric("precision", confusion)))
        found["recall"].append(_defined(compute_confusion_matrix_metric("recall", confusion)))
        distance = None
        if p.any() and t.any():
            own = None if spacing is None else list(spacing)
            distance = _defined(compute_hausdorff_distance(p, t, include_background=True, percentile=95, spacing=own))
        found["hd95"].append(distance)
    return found


def dice(prediction: NDArray[np.uint8], label: NDArray[np.uint8], classes: int) -> float:
    """Mean Dice over the foreground classes, as in `class_values`.

    Args:
        prediction: (*spatial), class indices.
        label: (*spatial), class indices.
        classes: C.
    """
    pairs = [
        [torch.from_numpy(mask == number)[None, None] for mask in (prediction, label)] for number in range(1, classes)
    ]
    return math.fsum(float(compute_dice(p.float(), t.float(), ignore_empty=False)) for p, t in pairs) / len(pairs)


class CalibrationSums:
    """What calibration is computed from, as sums over pixels: of samples one after the other, then over ranks.

    Attributes:
        sums: (C - 1, BINS, 4), float64: of each foreground class and bin of probability the number of pixels, and the
            sums of their probabilities, of their labels (0 or 1), and of the squared differences of the two.
    """

    def __init__(self, classes: int) -> None:
        self.sums = torch.zeros(classes - 1, BINS, 4, dtype=torch.float64)

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """Count some pixels.

        Args:
            probabilities: (B, C, *spatial), in [0, 1].
            labels: (B, *spatial), class indices.
        """
        for number, sums in enumerate(self.sums, start=1):
            said = probabilities[:, number].flatten().cpu().double()
            true = (labels == number).flatten().cpu().double()
            bins = (said * BINS).long().clamp(0, BINS - 1)
            for place, values in enumerate((None, said, true, (said - true).square())):
                sums[:, place] += torch.bincount(bins, values, minlength=BINS)


def calibration_of(sums: Tensor) -> list[Calibration]:
    """Calibration of each foreground class; none where no pixel was counted.

    Args:
        sums: `CalibrationSums.sums`, over all ranks.
    """
    found = []
    for number, of_class in enumerate(sums, start=1):
        pixels = of_class[:, 0].sum().item()
        if not pixels:
            continue
        bins = [
            ReliabilityBin(
                pixels=int(count),
                probability=said / count if count else None,
                frequency=true / count if count else None,
            )
            for count, said, true, _ in of_class.tolist()
        ]
        found.append(
            Calibration(
                label_class=number,
                pixels=int(pixels),
                ece=(of_class[:, 1] - of_class[:, 2]).abs().sum().item() / pixels,
                brier=of_class[:, 3].sum().item() / pixels,
                bins=bins,
            )
        )
    return found


def _defined(value: Tensor | Sequence[Tensor]) -> float | None:
    """The only value; None if it is undefined."""
    number = float(torch.as_tensor(value).item())
    return number if math.isfinite(number) else None
