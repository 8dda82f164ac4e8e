"""What has passed the checks of an upload, with what storing it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.datasets.kinds import LayoutKind, Media
from service.datasets.pairs import Pair
from service.errors import FieldError

if TYPE_CHECKING:
    from service.resources.annotators import Agreement


@dataclass
class Findings:
    """What is found on the way through an upload, file by file.

    Attributes:
        faults: files that cannot be used.
        warnings: what is accepted and still deserves a look.
        values: the values in each mask that could be read, by file; whatever is wrong with its image.
        lossy: masks from a format that blurs values.
        remapped: the values that were replaced by others, in any mask.
    """

    faults: list[FieldError]
    warnings: list[FieldError]
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)
    lossy: set[str] = field(default_factory=set)
    remapped: set[int] = field(default_factory=set)

    def refuse(self, file: str, reason: str, hint: str) -> None:
        """Note why a file cannot be used."""
        self.faults.append(FieldError(file=file, reason=reason, hint=hint))

    def warn(self, file: str, reason: str, hint: str = "") -> None:
        """Note what deserves a look; `file` may be empty."""
        self.warnings.append(FieldError(file=file or None, reason=reason, hint=hint))


@dataclass(frozen=True)
class Facts:
    """What may be known of a sample beside its files; None where it is not."""

    group: str | None = None
    split: str | None = None
    annotator: str | None = None
    verified: bool | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class CheckedFile:
    """A file that is stored as it came."""

    sha256: str
    media_type: str


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
    label_values: tuple[int, ...]  # in the mask as it is stored, without 0
    mask_encoded: bool = False  # the stored mask is not the file that came, but one written from it
    depth: int | None = None  # of a volume; width and height are then voxels along the file's first and second axis
    spacing: tuple[float, float, float] | None = None  # mm between voxels, in the order of the file's axes
    channels: tuple[CheckedFile, ...] = ()  # those of `pair.channels`
    fingerprint: bytes | None = None  # what nearly equal images have nearly in common
    facts: Facts = Facts()


@dataclass(frozen=True)
class CheckedDataset:
    """An upload without faults."""

    layout: LayoutKind
    media: Media
    samples: list[CheckedSample]
    mask_values: list[int]  # position = class index, entry = pixel value
    warnings: list[FieldError]
    channels: list[str]  # names of those that a network will see
    agreement: Agreement | None = None
