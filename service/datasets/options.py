"""How an upload is meant: said once here, for the API, the client and the command line."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.datasets.pairs import LayoutKind


class ImportOptions(BaseModel):
    """What may be said of an upload beside its name; the default takes it as it is."""

    model_config = ConfigDict(extra="forbid")

    mask_threshold: int | None = Field(
        default=None,
        ge=1,
        le=255,
        description="mask pixels from this value on become foreground, all others background",
    )
    layout: Literal["auto", "folders", "nnunet", "coco", "dicom"] = Field(
        default="auto",
        description="folders: images/ and masks/; nnunet: imagesTr/, labelsTr/ and dataset.json; "
        "coco: one .json in COCO's format, and its images; "
        "dicom: series of images and segmentations (SEG) of them; auto: what is there",
    )

    @property
    def asked(self) -> LayoutKind | None:
        """The layout to read the upload by; None recognises it."""
        return None if self.layout == "auto" else LayoutKind(self.layout)
