"""Large datasets in numbered parts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from service.datasets.kinds import UploadState
from service.datasets.part_sizes import DEFAULT_PART, LARGEST_PART, MOST_PARTS, SMALLEST_PART, part_count
from service.errors import FieldError
from service.resources.uploading import UploadFields


class UploadSpec(UploadFields):
    """A dataset's archive that is about to be sent."""

    size: int = Field(ge=1, le=1 << 40, description="of the zip, in bytes")
    part_size: int = Field(
        default=DEFAULT_PART,
        ge=SMALLEST_PART,
        le=LARGEST_PART,
        description="bytes of every part but the last",
    )

    @model_validator(mode="after")
    def _few_enough(self) -> UploadSpec:
        if part_count(self.size, self.part_size) > MOST_PARTS:
            least = -(-self.size // MOST_PARTS)
            raise ValueError(f"more than {MOST_PARTS} parts: part_size must be {least} at least")
        return self


class UploadResource(BaseModel):
    """An upload: its parts, then its import."""

    id: str
    project_id: str
    name: str
    state: UploadState
    interrupted: bool = Field(description="whoever imported it is gone: POST :complete again")
    size: int
    part_size: int
    parts: int = Field(description="how many there are, numbered from 1")
    received: list[int] = Field(description="numbers of the parts that are here; empty once the dataset is there")
    done: int = Field(description="files checked by the import")
    total: int = Field(description="files to be checked")
    errors: list[FieldError] = Field(description="why it FAILED; parts can be sent again, and :complete be asked again")
    dataset_id: str | None = Field(description="the dataset, once it is there")
    created_at: datetime
    expires_at: datetime = Field(description="when its parts are removed, if nobody goes on")


class PartTarget(BaseModel):
    """Where to send a part."""

    method: Literal["PUT"] = "PUT"
    url: str = Field(description="absolute and signed, or a path of this service")
    signed: bool = Field(description="true: send no key along, the address is the permission, for an hour")
    length: int = Field(description="bytes that it must have")


class Completion(BaseModel):
    """What the whole must be."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the zip")
