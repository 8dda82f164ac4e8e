"""Models compared on the samples that all of them had held out."""

from __future__ import annotations

from pydantic import BaseModel, Field

MOST_ROWS = 2000


class ComparedModel(BaseModel):
    """One of the models."""

    id: str
    name: str
    version: int
    dataset_id: str
    dataset_version: int
    held_out: int = Field(description="samples that this one was tested on")
    dice: float = Field(description="mean over the samples in common, in [0, 1]")
    dice_std: float = Field(description="standard deviation over these samples")


class ModelDifference(BaseModel):
    """Of one model from the first: above 0 where it is better."""

    model: str
    baseline: str
    dice: float = Field(description="mean of the paired differences of Dice")
    low: float | None = Field(description="lower bound of its 95 % bootstrap interval; null: of one sample")
    high: float | None
    better: int = Field(description="samples on which it is better than the baseline")
    worse: int
    equal: int
    sign_p: float = Field(description="two-sided p-value of the exact sign test")


class PairedSample(BaseModel):
    """One sample in common."""

    sample: str
    dice: list[float] = Field(description="of each model, in their order")


class ModelComparison(BaseModel):
    """Models on one test split."""

    samples: int = Field(description="that all of them had held out, matched by name, image and mask")
    models: list[ComparedModel] = Field(description="in the order asked; the first is the baseline")
    differences: list[ModelDifference] = Field(description="of each further model from the first")
    pairs: list[PairedSample] = Field(description=f"by name; at most {MOST_ROWS}")
