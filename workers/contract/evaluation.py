"""How well the delivered network does on the samples that were held out: summaries with intervals, and calibration."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import ConfigDict, Field

from workers.contract.model import Model

MetricName = Literal["dice", "iou", "hd95", "precision", "recall"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)
ClassValues = dict[MetricName, list[float | None]]  # of a sample: a value for each foreground class
LEVEL = 0.95  # of the intervals


class Finite(Model):
    """A record of numbers that databases and JSON can hold."""

    model_config = ConfigDict(allow_inf_nan=False)


class MetricSummary(Finite):
    """One metric over the held-out samples for which it is defined."""

    metric: MetricName
    label_class: int | None = Field(
        description="number of the class, from 1 on; null: of each sample the mean over its classes"
    )
    samples: int = Field(ge=0, description="for which it is defined")
    undefined: int = Field(ge=0, description="for which it is not: they are in none of the numbers")
    mean: float | None = Field(description="null where it is defined for no sample; so the others")
    median: float | None
    std: float | None = Field(description="standard deviation over the samples, not that of the mean")
    low: float | None = Field(
        description="lower end of the interval of the mean (percentile bootstrap over groups, level 0.95); null with "
        "fewer than two groups"
    )
    high: float | None = Field(description="its upper end")


class ReliabilityBin(Finite):
    """Pixels to which the network gives a class with about the same probability; bin i of n: from i/n to (i + 1)/n."""

    pixels: int = Field(ge=0)
    probability: float | None = Field(description="mean that the network says; null without pixels")
    frequency: float | None = Field(description="share of the pixels that are labelled as the class")


class Calibration(Finite):
    """How far the probabilities of one class are to be believed, over the pixels of all held-out samples together.

    Pixels are those of the images as the network sees them; of volumes their voxels.
    """

    label_class: int
    pixels: int
    ece: float = Field(description="expected calibration error: |frequency - probability|, weighted by pixels")
    brier: float = Field(description="mean square of probability minus label (0 or 1)")
    bins: list[ReliabilityBin]


class Evaluation(Finite):
    """Metrics of a finished job on its held-out samples."""

    samples: int = Field(ge=1, description="that are held out")
    groups: int = Field(ge=1, description="that they belong to, which are what is resampled; without groups: samples")
    level: float = Field(description="of the intervals")
    resamples: int
    hd95_unit: Literal["px", "mm"]
    metrics: list[MetricSummary]
    calibration: list[Calibration]

    def overall(self, metric: MetricName) -> MetricSummary | None:
        """The summary of a metric over all classes, which is that of the only class where there is one."""
        found = [one for one in self.metrics if one.metric == metric]
        return next((one for one in found if one.label_class is None), found[0] if len(found) == 1 else None)
