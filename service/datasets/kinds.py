"""What datasets are made of and what becomes of them, in words that are cheap to import."""

from __future__ import annotations

import re
from enum import StrEnum


class LayoutKind(StrEnum):
    """How an archive is laid out."""

    FOLDERS = "folders"  # images/ and masks/, files of the same names
    NNUNET = "nnunet"  # nnU-Net v2 raw: imagesTr/, labelsTr/, dataset.json
    COCO = "coco"  # one .json in COCO's format, and the images that it names
    DICOM = "dicom"  # series of images and segmentations (SEG) of them, in any folders


class Media(StrEnum):
    """What the files of a dataset are; one dataset holds one kind."""

    IMAGE = "image"
    VOLUME = "volume"

    @property
    def spatial_dims(self) -> int:
        """Number of axes that a network sees."""
        return 2 if self is Media.IMAGE else 3


METAIMAGE = ".mha"
ENDINGS = {
    Media.IMAGE: (".png", ".jpg", ".jpeg", ".tif", ".tiff"),
    Media.VOLUME: (".nii", ".nii.gz", METAIMAGE),
}
NAMED = {Media.IMAGE: "PNG, JPEG or TIFF", Media.VOLUME: "NIfTI (.nii or .nii.gz) or MetaImage (.mha)"}
COCO_NAMES = re.compile(r"(^|/)(_?annotations[^/]*|instances[^/]*|[^/]*coco[^/]*)\.json$", re.IGNORECASE)
DICOM_MAGIC = (128, b"DICM")  # where, and what


class UploadState(StrEnum):
    """Where an upload is."""

    OPEN = "OPEN"  # parts are coming
    IMPORTING = "IMPORTING"  # all parts are here and are being checked and stored
    FAILED = "FAILED"  # `errors` says why; parts can be sent again
    SUCCEEDED = "SUCCEEDED"  # `dataset_id` is the dataset


class Change(StrEnum):
    """How a sample differs; the last two may come together."""

    ADDED = "added"
    REMOVED = "removed"
    RELABELLED = "relabelled"  # another mask
    CHANGED_IMAGE = "changed_image"
