"""Datasets, their versions and their samples."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from service.datasets.kinds import LayoutKind
from service.errors import FieldError
from service.resources.annotators import Agreement
from service.resources.cross_validations import Derived

Split = Literal["train", "validation", "test"]


class Splits(BaseModel):
    """How many samples there are to train on, to choose an epoch by, and held out to judge the network by."""

    train: int
    validation: int
    test: int


class VersionResource(BaseModel):
    """An immutable list of samples."""

    dataset_id: str
    number: int
    sample_count: int
    splits: Splits
    layout: LayoutKind = Field(description="how the upload was laid out")
    spatial_dims: int = Field(description="2: images; 3: volumes, which are trained by patches")
    channels: list[str] = Field(description="names of those that a network sees, in order; three of an RGB image")
    mask_values: list[int] = Field(description="position = class index, entry = pixel value in the mask files")
    agreement: Agreement | None = Field(description="of the annotators; null: nobody is named")
    derived: Derived | None = Field(description="where it is a fold of a cross-validation; null: people made it")
    warnings: list[FieldError] = Field(description="what was accepted and still deserves a look")
    created_at: datetime
    samples: str = Field(description="where its samples are")


class DatasetResource(BaseModel):
    """A named series of immutable versions."""

    id: str
    project_id: str
    name: str
    created_at: datetime
    newest: VersionResource = Field(description="the newest version")
    versions: str = Field(description="where all versions are")


class DatasetPage(BaseModel):
    """Some datasets, newest first."""

    datasets: list[DatasetResource]
    next_page_token: str | None


class VersionList(BaseModel):
    """The versions of a dataset, newest first."""

    versions: list[VersionResource]


class DatasetSample(BaseModel):
    """An image with its label."""

    sample: str = Field(description="its name, which is its id within the version")
    ordinal: int
    width: int
    height: int
    depth: int | None = Field(description="of a volume: voxels along the third axis of its file")
    spacing: list[float] | None = Field(description="of a volume: mm between voxels, along each axis of its file")
    foreground: float = Field(description="share of the mask that is not background, in [0, 1]")
    group: str | None = Field(description="such as a patient; no group is split")
    split: Split = Field(description="validation: epochs are compared on it; test: it is held out")
    annotator: str | None = Field(description="who drew the label")
    agreement: float | None = Field(
        description="mean Dice with the other annotators' masks of the same image, in [0, 1]; null: not known"
    )
    verified: bool | None = Field(description="whether the label was checked; null: not known")
    image_sha256: str = Field(description="of several channels that are a file each: the first")
    channels: list[str] = Field(description="sha256 of the files of the further channels, in order")
    mask_sha256: str
    image: str
    mask: str


class DatasetSamplePage(BaseModel):
    """Some samples of a version: by name those that are trained on, then those that are held out."""

    samples: list[DatasetSample]
    next_page_token: str | None
