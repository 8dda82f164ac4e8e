"""How much an upload may contain: the defence against archives that are small outside and vast inside."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MIB = 1024 * 1024


class ImportLimits(BaseModel):
    """Limits of one upload; each refusal names the limit that was passed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_members: int = Field(default=1_000_000, ge=2, description="files and folders in the archive")
    max_member_bytes: int = Field(default=256 * MIB, ge=1, description="one file, unpacked")
    max_total_bytes: int = Field(default=256 * 1024 * MIB, ge=1, description="all files, unpacked")
    max_ratio: float = Field(default=100.0, ge=1, description="unpacked size over packed size, whole archive")
    ratio_free_bytes: int = Field(
        default=64 * MIB, ge=0, description="the ratio is not looked at up to this unpacked size"
    )
    max_pixels: int = Field(default=64_000_000, ge=1, description="width times height of one image")
    max_voxels: int = Field(default=512 * MIB, ge=1, description="width times height times depth of one volume")
    max_volume_bytes: int = Field(default=2048 * MIB, ge=1, description="one .nii.gz, unpacked once more")
    max_classes: int = Field(default=64, ge=2, le=256, description="classes that masks may name")
