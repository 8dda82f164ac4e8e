"""What is posted to train, and what a dry run answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from service.resources.fields import Id
from workers.contract.request import JobSpec

Priority = Annotated[
    int, Field(ge=-10, le=10, description="jobs of higher priority start first; above 0 it is for the project's admins")
]


class PostedJob(JobSpec):
    """A training job as it is posted: what to train, and what only the queue needs to know."""

    priority: Priority = 0
    reproduces: Id | None = Field(
        default=None, description="a job that this one repeats: refused where it is not the same"
    )

    @property
    def spec(self) -> JobSpec:
        """What a run reads."""
        return JobSpec.model_validate(self.model_dump(include=set(JobSpec.model_fields)))


class PlannedDataset(BaseModel):
    """The dataset version that a job would train on."""

    dataset_id: str
    version: int
    sample_count: int
    train_count: int = Field(description="samples that are trained on")
    validation_count: int = Field(description="samples that epochs are compared on; the others are held out")
    spatial_dims: int = Field(description="2: images, 3: volumes")
    classes: int


class PlannedResources(BaseModel):
    """What a job would take of the cluster, and when."""

    cpus: float
    gpus: float
    starts: Literal["now", "later", "unknown"] = Field(description="unknown: the cluster does not answer now")
    waiting_for: str = Field(description="what it would wait for; empty if for nothing")


class PlannedMemory(BaseModel):
    """About what each worker takes at the height of a step, in bytes."""

    weights: int
    gradients: int
    optimizer: int
    teacher: int
    activations: int = Field(description="what the forward pass keeps, and as much again that comes and goes")
    process: int = Field(description="the libraries")
    total: int


class SuggestedValue(BaseModel):
    """A value for a field that was left out. The job itself keeps the default unless the value is posted."""

    field: str
    value: int
    reason: str


class JobPlan(BaseModel):
    """What a POST without `dry_run` would train. It holds for the moment: nothing is set aside."""

    project_id: str
    spec: JobSpec = Field(description="with the defaults filled in")
    priority: int
    dataset: PlannedDataset
    cluster: PlannedResources
    memory: PlannedMemory | None = Field(
        description="null: unknown, as the service has no torch to build networks with"
    )
    suggested: list[SuggestedValue] = Field(description="values for fields that were left out, for this dataset")
    warnings: list[str] = Field(description="what will probably go wrong; the job is taken all the same")
