"""How well a network does on the samples that it was not trained on."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from workers.contract.evaluation import Evaluation, MetricName


class HeldOutSample(BaseModel):
    """A sample that was not trained on. Metrics are means over the foreground classes for which they are defined."""

    sample: str = Field(description="its name, which is its id within the dataset version")
    ordinal: int
    dice: float = Field(description="of prediction and label, in [0, 1]")
    iou: float | None = Field(description="in [0, 1]; null, as the others: undefined, or of a job that did not say it")
    hd95: float | None = Field(description="95th percentile of the Hausdorff distance: px of images, mm of volumes")
    precision: float | None = Field(description="in [0, 1]")
    recall: float | None = Field(description="in [0, 1]")
    classes: dict[MetricName, list[float | None]] | None = Field(
        description="by metric a value for each foreground class; null where undefined"
    )
    image: str
    overlay: str


class HeldOutPage(BaseModel):
    """Some held-out samples of a job, the worst first."""

    samples: list[HeldOutSample]
    total: int = Field(description="how many are held out, over all pages")
    next_page_token: str | None


class EvaluationState(StrEnum):
    """Whether it is known how well a job does on held-out samples."""

    KNOWN = "known"
    NOT_YET = "not-yet"  # it is not over
    NONE = "none"  # it has not succeeded, holds no sample out, or is from before this was computed


class JobMetrics(BaseModel):
    """How well the network that a job delivered does on the samples that were held out."""

    state: EvaluationState
    evaluation: Evaluation | None = Field(description="set where the state is known")
