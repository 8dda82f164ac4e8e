"""Trained models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.models.stages import Stage
from workers.contract.request import CheckpointKind, NetworkSpec

TAG_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
TagName = Annotated[str, Field(pattern=rf"^{TAG_NAME}$")]
Words = Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]
TagValue = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class ModelFile(BaseModel):
    """One file of a model."""

    name: str
    size: int
    sha256: str
    media_type: str
    url: str


class ModelCheckpoint(BaseModel):
    """Weights of one epoch of the training."""

    kind: CheckpointKind = Field(description="last: of the end; best: of the highest Dice on the validation samples")
    epoch: int = Field(description="counted from 0")
    validation_dice: float | None = Field(description="mean over the validation samples; null: there are none")
    delivered: bool = Field(description="whether these are the model: what is tested, exported, and predicts")
    file: str = Field(description="safetensors, one of the model's files; model.safetensors is what is delivered")
    size: int
    sha256: str
    url: str


class ModelResource(BaseModel):
    """A trained model."""

    id: str = Field(description="the id of the job that trained it")
    project_id: str
    name: str = Field(description="of its series: that of the job, or of the dataset where the job has none")
    version: int = Field(description="number within the series, from 1 on; none is given twice")
    stage: Stage
    tags: dict[str, str]
    description: str
    intended_use: str = Field(description="what it is for, as its card says; empty: nobody has said it")
    revision: int = Field(description="grows with every change; the ETag")
    job: str = Field(description="path of that job")
    card: str = Field(description="path of its model card")
    lineage: str = Field(description="path of what it came from")
    network: NetworkSpec
    dataset_id: str
    dataset_version: int
    warm_start: str | None = Field(description="the job whose model it started from, which may be deleted by now")
    metrics: dict[str, Any] | None
    finished_at: datetime | None
    files: list[ModelFile]
    checkpoints: list[ModelCheckpoint] = Field(
        description="last; and best, where there were samples to choose it by: of one epoch, both may be one file"
    )
    predict: str | None = Field(description="where it predicts; null: it has no ONNX file")


class ChangedModel(ModelResource):
    """A model after a change."""

    archived: str | None = Field(
        description="the model of the same name that was in production until now, and is archived by this change"
    )


class ModelChange(BaseModel):
    """What can be changed of a model; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    stage: Stage | None = Field(default=None, description="to and from production: for admins")
    tags: dict[TagName, TagValue] | None = Field(
        default=None, max_length=50, description="take the place of all that there are"
    )
    description: Words | None = None
    intended_use: Words | None = None


class ModelPage(BaseModel):
    """Some models, newest first."""

    models: list[ModelResource]
    next_page_token: str | None
