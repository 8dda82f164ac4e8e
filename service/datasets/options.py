"""How an upload is meant: said once here, for the API, the client and the command line."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from service.datasets import remap
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
    layout: Literal["auto", "folders", "nnunet"] = Field(
        default="auto",
        description="folders: images/ and masks/; nnunet: imagesTr/, labelsTr/ and dataset.json; auto: what is there",
    )

    remap: str | None = Field(
        default=None,
        max_length=2_000,
        description="values of masks replaced before anything else is decided: 255=1,3=0 makes 255 class 1 and 3 "
        "background; not together with mask_threshold",
        examples=["255=1,3=0"],
    )

    @field_validator("remap")
    @classmethod
    def _remap_is_sound(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None:
            return None
        remap.parsed(text)
        if info.data.get("mask_threshold") is not None:
            raise ValueError("does not go together with mask_threshold: leave one of them out")
        return text

    @property
    def mapping(self) -> dict[int, int]:
        """What the values of masks become; those that are not in it stay."""
        return remap.parsed(self.remap) if self.remap else {}

    @property
    def asked(self) -> LayoutKind | None:
        """The layout to read the upload by; None recognises it."""
        return None if self.layout == "auto" else LayoutKind(self.layout)
