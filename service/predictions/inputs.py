"""Files to predict from, checked before anything trusts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.datasets.archive import MemberFault
from service.datasets.formats import nifti
from service.datasets.limits import ImportLimits
from service.datasets.pixels import inspect_image
from service.errors import FieldError, Invalid
from service.predictions.limits import PredictionLimits

BYTES_A_VOXEL = 8  # at most, of the types that are read
HEADER_BYTES = 1 << 20  # and what else may lie before the voxels


@dataclass(frozen=True)
class SentFile:
    """A file that came with a request: as it is called there, and where it lies."""

    name: str
    path: Path


def checked(
    about: dict[str, Any], files: Sequence[SentFile], limits: PredictionLimits, at_import: ImportLimits
) -> list[Path]:
    """The files of one image or volume as the model's preprocessing may open them, volumes unpacked.

    Args:
        about: the model's `model.json`.
        files: in the order of the channels; what is unpacked is put beside them.
        limits: of predictions.
        at_import: what holds for images and volumes of datasets holds here too.

    Raises:
        Invalid: they are too many, too few, too large or not what the model takes; names each.
    """
    volume, channels = about["spatial_dims"] == 3, about["channels"]
    wanted = "a volume (NIfTI)" if volume else "an image (PNG, JPEG or TIFF)"
    if len(files) != about["files"]:
        hint = f"one file for each channel, in this order: {', '.join(channels)}" if about["files"] > 1 else "one file"
        fault = FieldError(field="file", reason=f"there are {len(files)}, the model takes {about['files']}", hint=hint)
        raise Invalid(f"The model takes {wanted} of {about['files']} file(s).", [fault])
    most = limits.max_values // (about["classes"] + len(channels))
    paths, faults, sizes = [], [], set()
    for sent in files:
        try:
            if volume:
                path = _unpacked(sent.path, min(most, at_import.max_voxels))
            else:
                path = sent.path
                facts = inspect_image(path, min(most, at_import.max_pixels), grey=about["files"] > 1)
                sizes.add((facts.width, facts.height))
            paths.append(path)
        except MemberFault as error:
            faults.append(FieldError(file=sent.name, field="file", reason=error.reason, hint=error.hint))
    if len(sizes) > 1:
        described = " and ".join(f"{width} x {height}" for width, height in sorted(sizes))
        hint = "all channels show the same pixels"
        faults.append(FieldError(field="file", reason=f"the channels have {described} pixels", hint=hint))
    if faults:
        raise Invalid(f"The model takes {wanted}; what was sent cannot be used.", faults)
    return paths


def _unpacked(path: Path, max_voxels: int) -> Path:
    if nifti.is_packed(path):
        target = path.with_name(f"{path.name}.nii")
        nifti.unpack(path, target, BYTES_A_VOXEL * max_voxels + HEADER_BYTES)
        path = target
    if nifti.is_packed(path):  # whoever opens it next would unpack it without a limit
        raise MemberFault("is packed twice", "pack it once, as .nii.gz")
    nifti.open_volume(path, max_voxels)
    return path
