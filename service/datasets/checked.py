"""What has passed the checks of an upload, with what storing it needs."""

from __future__ import annotations

from dataclasses import dataclass

from service.datasets.pairs import LayoutKind, Media, Pair
from service.errors import FieldError


@dataclass(frozen=True)
class CheckedSample:
    """A sample that has passed."""

    pair: Pair
    image_sha256: str
    mask_sha256: str
    media_type: str
    mask_media_type: str
    width: int
    height: int
    foreground: float
    mask_values: tuple[int, ...]
    mask_encoded: bool = False  # the stored mask is not the file that came, but one written from it
    mask_lossy: bool = False
    depth: int | None = None  # of a volume; width and height are then voxels along the file's first and second axis
    spacing: tuple[float, float, float] | None = None  # mm between voxels, in the order of the file's axes


@dataclass(frozen=True)
class CheckedDataset:
    """An upload without faults."""

    layout: LayoutKind
    media: Media
    samples: list[CheckedSample]
    mask_values: list[int]  # position = class index, entry = pixel value
    warnings: list[FieldError]
