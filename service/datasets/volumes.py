"""Checks one volume and its label: every voxel is read, some planes at a time, so that memory stays flat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.datasets.archive import Archive, Extracted, MemberFault
from service.datasets.checked import CheckedSample, Findings
from service.datasets.limits import ImportLimits
from service.datasets.nifti import MEDIA_TYPES, described, is_packed, open_volume, orientation, planes, spacing, unpack
from service.datasets.pairs import Pair
from service.datasets.sources import Source
from service.errors import FieldError, Invalid

if TYPE_CHECKING:
    import nibabel as nib

SAME_PLACE = 1e-2  # mm, and mm a voxel: so far may the affines of an image and its label differ, as workers allow it
MAX_VALUE = 65_535  # of a label


@dataclass(frozen=True)
class VolumeFacts:
    """What was found in the file of a volume or a label."""

    file: Extracted
    packed: bool
    shape: tuple[int, int, int]  # voxels, in the order of the file's axes
    affine: NDArray[np.float64]


class VolumeCheck:
    """Checks the volumes of one upload; what they unpack to counts, over all of them, as the upload's own bytes do.

    Args:
        archive: the upload.
        limits: what is accepted.
        scratch: a folder for what is unpacked.
    """

    def __init__(self, archive: Archive, limits: ImportLimits, scratch: Path) -> None:
        self._archive, self._limits, self._scratch = archive, limits, scratch
        self._unpacked = 0

    def check(self, pair: Pair, found: Findings) -> CheckedSample | None:
        """Check both files, so that a fault in one does not hide a fault in the other.

        Raises:
            Invalid: the upload unpacks to more than is accepted, so that there is no point in going on.
        """
        image = label = None
        try:
            image, constant = self._image(pair.image)
        except MemberFault as fault:
            found.refuse(pair.image.path, fault.reason, fault.hint)
        try:
            label, counts = self._label(pair.mask)
            for note in label.file.notes:
                found.warn(pair.mask.path, note)
            found.values[pair.mask.path] = tuple(np.flatnonzero(counts).tolist())
        except MemberFault as fault:
            found.refuse(pair.mask.path, fault.reason, fault.hint)
        if image is None or label is None:
            return None
        if mismatch := _mismatch(image, label):
            found.refuse(pair.mask.path, *mismatch)
            return None
        foreground = float(1 - counts[0] / counts.sum())
        if foreground == 0:
            found.warn(pair.mask.path, "is empty", "fine if there is nothing to see")
        if constant:
            found.warn(pair.image.path, "has the same intensity everywhere")
        return CheckedSample(
            pair=pair,
            image_sha256=image.file.sha256,
            mask_sha256=label.file.sha256,
            media_type=MEDIA_TYPES[image.packed],
            mask_media_type=MEDIA_TYPES[label.packed],
            width=image.shape[0],
            height=image.shape[1],
            depth=image.shape[2],
            spacing=spacing(image.affine),
            foreground=foreground,
        )

    def check_label(self, member: Source, image: Path, found: Findings) -> tuple[VolumeFacts, float] | None:
        """Check a label that comes alone, against an image that is stored; gives its facts and share of foreground.

        Args:
            member: the label in the upload.
            image: a copy of the stored file.
            found: takes the faults and the values.
        """
        try:
            below, _ = self._read(image, Extracted(image.stat().st_size, ""))
            label, counts = self._label(member)
        except MemberFault as fault:
            found.refuse(member.path, fault.reason, fault.hint)
            return None
        found.values[member.path] = tuple(np.flatnonzero(counts).tolist())
        if mismatch := _mismatch(below, label):
            found.refuse(member.path, *mismatch)
            return None
        return label, float(1 - counts[0] / counts.sum())

    def _image(self, member: Source) -> tuple[VolumeFacts, bool]:
        """What is in an image, and whether its intensity is the same everywhere."""
        facts, file = self._opened(member)
        low, high = np.inf, -np.inf
        for some in planes(file):
            with np.errstate(over="ignore"):
                values = some.astype(np.float32)  # as it will be trained on
            if not np.isfinite(values).all():
                raise MemberFault("has voxels that are not finite numbers", "replace NaN and infinity by an intensity")
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        return facts, low == high

    def _label(self, member: Source) -> tuple[VolumeFacts, NDArray[np.int64]]:
        """What is in a label, and how many voxels have each value."""
        facts, file = self._opened(member)
        counts = np.zeros(MAX_VALUE + 1, dtype=np.int64)
        for some in planes(file):
            if some.dtype.kind == "f" and not (np.isfinite(some) & (some == np.round(some))).all():
                raise MemberFault("has values that are no whole numbers", "save class numbers; resample by nearest")
            low, high = int(some.min()), int(some.max())
            if low < 0 or high > MAX_VALUE:
                raise MemberFault(f"has values from {low} to {high}", f"use class numbers from 0 to {MAX_VALUE}")
            counts += np.bincount(some.astype(np.int64).ravel(), minlength=MAX_VALUE + 1)
        return facts, counts

    def _opened(self, member: Source) -> tuple[VolumeFacts, nib.Nifti1Image]:
        path = self._scratch / "member"
        return self._read(path, member.extract(self._archive, path))

    def _read(self, path: Path, extracted: Extracted) -> tuple[VolumeFacts, nib.Nifti1Image]:
        packed = is_packed(path)
        if packed:
            source, path = path, self._scratch / "volume"
            self._unpacked += unpack(source, path, self._limits.max_volume_bytes)
            if self._unpacked > self._limits.max_total_bytes:
                raise _too_much(self._limits.max_total_bytes)
        file = open_volume(path, self._limits.max_voxels)
        return VolumeFacts(extracted, packed, file.shape, file.affine), file


def _mismatch(image: VolumeFacts, label: VolumeFacts) -> tuple[str, str] | None:
    """Why a label does not lie voxel by voxel on its image, the plainest reason first."""
    if image.shape != label.shape:
        reason = f"has {described(label.shape)} voxels, its image {described(image.shape)}"
        return reason, "a label must have the shape of its image"
    mine, theirs = spacing(label.affine), spacing(image.affine)
    if not np.allclose(mine, theirs, rtol=0, atol=SAME_PLACE):
        return (
            f"has voxels of {_millimetres(mine)}, its image of {_millimetres(theirs)}",
            "resample the label onto its image",
        )
    codes = _code(label.affine), _code(image.affine)
    if codes[0] != codes[1]:
        return f"is oriented {codes[0]}, its image {codes[1]}", "reorient the label to its image"
    apart = float(np.abs(label.affine - image.affine).max())
    if apart > SAME_PLACE:
        return (
            f"lies elsewhere than its image: their affines differ by up to {apart:.3g} mm",
            f"up to {SAME_PLACE:g} mm are accepted: copy the affine of the image if the voxels do match",
        )
    return None


def _code(affine: NDArray[np.float64]) -> str:
    """Where the axes of a file run to, such as RAS: to the patient's right, front (anterior) and head (superior)."""
    return "".join(("RAS", "LPI")[backwards][axis] for axis, backwards in orientation(affine))


def _millimetres(distances: tuple[float, float, float]) -> str:
    return " x ".join(f"{distance:.3g}" for distance in distances) + " mm"


def _too_much(limit: int) -> Invalid:
    fault = FieldError(
        field="file",
        reason=f"holds volumes that unpack to more than {limit} bytes in all",
        hint="split the dataset",
    )
    return Invalid("The upload unpacks to too much.", [fault])
