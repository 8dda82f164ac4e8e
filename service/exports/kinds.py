"""The names of the formats, apart from what writes them: the command line knows them and loads nothing heavy."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What an export can be written as, and an import read from."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    COCO = "coco"  # one JSON with the masks as RLE; 2D only
    CVAT = "cvat"  # a zip with images and what "CVAT for images 1.1" reads; 2D only
    LABEL_STUDIO = "label-studio"  # a zip with images, tasks and the interface for them; 2D only
    FIFTYONE = "fiftyone"  # a zip of a folder that FiftyOne's own loader reads; 2D only
    MASKS = "masks"  # a zip; it comes back by `dale correct`, not by an import

    @property
    def ending(self) -> str:
        """What a file of it ends in."""
        if self in {Format.MASKS, Format.CVAT, Format.LABEL_STUDIO, Format.FIFTYONE}:
            return "zip"
        return "json" if self is Format.COCO else self.value


class Source(StrEnum):
    """Where the masks of an export come from."""

    LABEL = "label"
    PREDICTION = "prediction"
    BOTH = "both"

    @property
    def each(self) -> tuple[Source, ...]:
        """The sources that it stands for."""
        return (Source.LABEL, Source.PREDICTION) if self is Source.BOTH else (self,)
