"""Cross-validations as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.jobs.lifecycle import State
from service.resources.posting import Priority
from workers.contract.evaluation import ClassValues, Evaluation, Finite, MetricName
from workers.contract.request import JobSpec

MOST_FOLDS = 20


class Derived(BaseModel):
    """What a version was derived from: all folds of that one but one are trained on, the one is held out."""

    version: int = Field(description="number of the version that was cut into folds")
    fold: int = Field(description="that is held out, counted from 1")
    folds: int = Field(description="how many there are")
    cross_validation: str = Field(description="its id")


class FoldOf(BaseModel):
    """Which fold of which cross-validation a job is."""

    id: str = Field(description="of the cross-validation")
    fold: int = Field(description="that it is tested on, counted from 1")
    path: str


class PostedCrossValidation(BaseModel):
    """A cross-validation as it is posted: what to train on all but one fold each time."""

    model_config = ConfigDict(extra="forbid")

    job: JobSpec = Field(
        description="what to train; `exports` left out: none, as the models are there to be tested, not to be used"
    )
    folds: int = Field(default=5, ge=2, le=MOST_FOLDS, description="how many; as many jobs are trained")
    seed: int = Field(default=0, ge=0, lt=2**32, description="of the draw; another one puts other groups together")
    priority: Priority = 0

    @model_validator(mode="after")
    def _models_are_not_exported(self) -> PostedCrossValidation:
        if "exports" not in self.job.model_fields_set:
            self.job = self.job.model_copy(update={"exports": []})
        return self


class CrossValidationState(StrEnum):
    """Where the jobs of a cross-validation are."""

    RUNNING = "RUNNING"  # some are not over
    SUCCEEDED = "SUCCEEDED"  # all have
    PARTIAL = "PARTIAL"  # all are over, and only some have succeeded
    FAILED = "FAILED"  # none has succeeded
    CANCELLED = "CANCELLED"  # none has succeeded, and all that are there were cancelled

    @property
    def over(self) -> bool:
        """Whether no job of it is under way."""
        return self is not CrossValidationState.RUNNING


class FoldJob(BaseModel):
    """A fold, and the job that trains on the others."""

    fold: int = Field(description="counted from 1")
    samples: int = Field(description="that it holds, on which the job's network is tested")
    groups: int = Field(description="that these belong to; samples of no group, and nearly equal images, count as one")
    dataset_version: int = Field(description="the derived version, in which the fold is held out")
    job_id: str | None = Field(description="null: the job was deleted, and the fold with it")
    state: State | None
    test_dice: float | None = Field(description="mean over the fold, once the job has succeeded")
    cause: str | None = Field(description="why the job failed")


class CrossValidation(BaseModel):
    """Jobs that train on all but one fold of a version each; each is tested on the fold that it has not seen."""

    id: str
    project_id: str
    name: str
    state: CrossValidationState
    dataset_id: str
    dataset_version: int = Field(description="the version that was cut into folds")
    seed: int
    left_out: int = Field(description="samples that the version holds out: neither trained on nor tested on here")
    spec: JobSpec = Field(description="what each job trains, on its own derived version")
    folds: list[FoldJob]
    created_at: datetime


class CrossValidationPage(BaseModel):
    """Some cross-validations, newest first."""

    cross_validations: list[CrossValidation]
    next_page_token: str | None


class FoldSpread(Finite):
    """The mean of one metric in each fold, and how far the folds are apart."""

    metric: MetricName
    label_class: int | None = Field(description="as in the evaluation")
    folds: list[float | None] = Field(
        description="of each fold that counts, in the order of `counted`; null where it is undefined"
    )
    mean: float | None = Field(description="of these; each fold weighs the same")
    std: float | None = Field(
        description="their standard deviation (n - 1); null with fewer than two. Not a standard error: the folds share "
        "most of what they are trained on"
    )


class MissingFold(BaseModel):
    """A fold that is in none of the numbers."""

    fold: int
    job_id: str | None
    state: State | None = Field(description="null: the job was deleted")
    reason: str


class CrossValidationMetrics(BaseModel):
    """How well the way of training does: each sample is scored once, by a network that has not seen its group."""

    state: CrossValidationState
    folds: int = Field(description="how many there are")
    counted: list[int] = Field(description="folds whose jobs have succeeded: all numbers are of these")
    missing: list[MissingFold] = Field(description="the others")
    evaluation: Evaluation | None = Field(
        description="over the samples of all folds that count together, intervals by a bootstrap over groups; null "
        "while none does"
    )
    spread: list[FoldSpread] = Field(description="the same, fold by fold")


class OutOfFoldSample(BaseModel):
    """A sample as the network sees it that was trained on the other folds: means over its classes."""

    sample: str
    fold: int
    job_id: str
    ordinal: int = Field(description="in the fold's version")
    group: str | None
    dice: float
    iou: float | None
    hd95: float | None = Field(description="px of images, mm of volumes")
    precision: float | None
    recall: float | None
    classes: ClassValues | None = Field(description="by metric a value for each foreground class; null where undefined")
    mask_sha256: str = Field(description="of the label")
    image: str
    overlay: str


class OutOfFoldPage(BaseModel):
    """Some samples over all folds, the worst first."""

    samples: list[OutOfFoldSample]
    total: int = Field(description="that match, over all pages")
    next_page_token: str | None
