"""Slices that somebody has painted."""

from __future__ import annotations

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from service.axes import Axis
from service.resources.deciding import Note
from service.resources.fields import Id
from service.reviews.decisions import PaintBase

MAX_SLICES = 8192


class PaintedSlice(BaseModel):
    """One slice as it is to be."""

    model_config = ConfigDict(extra="forbid")

    axis: Axis
    slice: int = Field(ge=0, description="counted from 0, as GET …/masks/{kind} counts")
    png: Base64Bytes = Field(
        description="8-bit greyscale as GET …/masks/{kind} gives it, voxel by voxel: 0 is background, n the n-th of "
        "the dataset's other mask values"
    )


class PaintedSlices(BaseModel):
    """What is to become of a volume's label."""

    model_config = ConfigDict(extra="forbid")

    base: PaintBase = Field(default=PaintBase.LABEL, description="what stays where no slice is sent")
    job_id: Id | None = Field(default=None, description="with `prediction`: whose")
    slices: list[PaintedSlice] = Field(
        max_length=MAX_SLICES, description="each over those before it, where they cross; none: the base as it is"
    )
    note: Note = ""
