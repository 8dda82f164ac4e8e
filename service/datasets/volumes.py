"""Checks one volume and its label: every voxel is read, some planes at a time, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.datasets.archive import Archive, Extracted, MemberFault, sha256
from service.datasets.checked import CheckedFile, CheckedSample, Findings
from service.datasets.duplicates import fingerprint_of_plane
from service.datasets.formats.nifti import (
    MEDIA_TYPES,
    described,
    is_packed,
    open_volume,
    orientation,
    planes,
    slab,
    spacing,
    unpack,
)
from service.datasets.formats.sources import Source
from service.datasets.limits import ImportLimits
from service.datasets.pairs import Pair
from service.datasets.replacing import replaced, write_label
from service.errors import FieldError, Invalid

if TYPE_CHECKING:
    import nibabel as nib

SAME_PLACE = 1e-2  # mm, and mm a voxel: so far may the affines of an image and its label differ, as workers allow it
AXIAL = 2  # of the axes of RAS+: the one that axial planes are perpendicular to
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
        mapping: what values of labels become.
    """

    def __init__(
        self, archive: Archive, limits: ImportLimits, scratch: Path, mapping: Mapping[int, int] | None = None
    ) -> None:
        self._mapping = mapping or {}
        self._archive, self._limits, self._scratch = archive, limits, scratch
        self._unpacked = 0

    def check(self, pair: Pair, found: Findings) -> CheckedSample | None:
        """Check both files, so that a fault in one does not hide a fault in the other.

        Raises:
            Invalid: the upload unpacks to more than is accepted, so that there is no point in going on.
        """
        label = None
        images: list[tuple[Source, VolumeFacts]] = []
        constant, marks = [], []
        for member in (pair.image, *pair.channels):
            try:
                facts, same, mark = self._image(member)
                images.append((member, facts))
                marks.append(mark)
                constant += [member] if same else []
            except MemberFault as fault:
                found.refuse(member.path, fault.reason, fault.hint)
        try:
            label, counts, remapped = self._label(pair.mask)
            found.remapped |= remapped
            for note in label.file.notes:
                found.warn(pair.mask.path, note)
            found.values[pair.mask.path] = tuple(np.flatnonzero(counts).tolist())
        except MemberFault as fault:
            found.refuse(pair.mask.path, fault.reason, fault.hint)
        if label is None or len(images) < 1 + len(pair.channels):
            return None
        image = images[0][1]
        apart = [(pair.mask, _mismatch(image, label))]
        apart += [(member, _mismatch(image, facts, "a channel", "channel 0")) for member, facts in images[1:]]
        for member, mismatch in apart:
            if mismatch:
                found.refuse(member.path, *mismatch)
        if any(mismatch for _, mismatch in apart):
            return None
        foreground = float(1 - counts[0] / counts.sum())
        if foreground == 0:
            found.warn(pair.mask.path, "is empty", "fine if there is nothing to see")
        for member in constant:
            found.warn(member.path, "has the same intensity everywhere")
        return CheckedSample(
            pair=pair,
            image_sha256=image.file.sha256,
            mask_sha256=label.file.sha256,
            media_type=MEDIA_TYPES[image.packed],
            mask_media_type=MEDIA_TYPES[label.packed],
            mask_encoded=bool(remapped),
            width=image.shape[0],
            height=image.shape[1],
            depth=image.shape[2],
            spacing=spacing(image.affine),
            foreground=foreground,
            label_values=tuple(value for value in found.values[pair.mask.path] if value),
            channels=tuple(CheckedFile(facts.file.sha256, MEDIA_TYPES[facts.packed]) for _, facts in images[1:]),
            fingerprint=marks[0],
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
            label, counts, _ = self._label(member)
        except MemberFault as fault:
            found.refuse(member.path, fault.reason, fault.hint)
            return None
        found.values[member.path] = tuple(np.flatnonzero(counts).tolist())
        if mismatch := _mismatch(below, label):
            found.refuse(member.path, *mismatch)
            return None
        return label, float(1 - counts[0] / counts.sum())

    def _image(self, member: Source) -> tuple[VolumeFacts, bool, bytes | None]:
        """What is in an image, whether its intensity is the same everywhere, and what volumes like it have in common.

        The latter is the fingerprint of the axial plane in the middle.
        """
        facts, file = self._opened(member)
        low, high = np.inf, -np.inf
        for some in planes(file):
            with np.errstate(over="ignore"):
                values = some.astype(np.float32)  # as it will be trained on
            if not np.isfinite(values).all():
                raise MemberFault("has voxels that are not finite numbers", "replace NaN and infinity by an intensity")
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        axis = next(place for place, (name, _) in enumerate(orientation(facts.affine)) if name == AXIAL)
        middle = np.asanyarray(slab(file, axis, facts.shape[axis] // 2).dataobj).squeeze(AXIAL)
        return facts, low == high, fingerprint_of_plane(middle)

    def _label(self, member: Source) -> tuple[VolumeFacts, NDArray[np.int64], set[int]]:
        """What is in a label, how many voxels have each value, and which values were replaced by others.

        Of one with replaced values the facts are of the file that is stored, which is `stored` in the scratch folder.
        """
        facts, file = self._opened(member)
        counts = np.zeros(MAX_VALUE + 1, dtype=np.int64)
        remapped: set[int] = set()
        for given in planes(file):
            some, met = replaced(given, self._mapping)
            remapped |= met
            if some.dtype.kind == "f" and not (np.isfinite(some) & (some == np.round(some))).all():
                raise MemberFault("has values that are no whole numbers", "save class numbers; resample by nearest")
            low, high = int(some.min()), int(some.max())
            if low < 0 or high > MAX_VALUE:
                raise MemberFault(f"has values from {low} to {high}", f"use class numbers from 0 to {MAX_VALUE}")
            counts += np.bincount(some.astype(np.int64).ravel(), minlength=MAX_VALUE + 1)
        if remapped:
            write_label(file, self._mapping, self._scratch / "stored")
            written = Extracted((self._scratch / "stored").stat().st_size, sha256(self._scratch / "stored"))
            facts = replace(facts, file=written, packed=True)
        return facts, counts, remapped

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


def write_stored_label(path: Path, limits: ImportLimits, mapping: Mapping[int, int], target: Path) -> None:
    """Write what is stored of a label (.nii or .nii.gz) that has passed, whose values are replaced."""
    if is_packed(path):
        volume = target.with_name("volume")
        unpack(path, volume, limits.max_volume_bytes)
        path = volume
    write_label(open_volume(path, limits.max_voxels), mapping, target)


def _mismatch(
    image: VolumeFacts, label: VolumeFacts, what: str = "a label", whose: str = "its image"
) -> tuple[str, str] | None:
    """Why a label (or a further channel) does not lie voxel by voxel on its image, the plainest reason first."""
    if image.shape != label.shape:
        reason = f"has {described(label.shape)} voxels, {whose} {described(image.shape)}"
        return reason, f"{what} must have the shape of {whose}"
    mine, theirs = spacing(label.affine), spacing(image.affine)
    if not np.allclose(mine, theirs, rtol=0, atol=SAME_PLACE):
        return (
            f"has voxels of {_millimetres(mine)}, {whose} of {_millimetres(theirs)}",
            f"resample it onto {whose}",
        )
    codes = _code(label.affine), _code(image.affine)
    if codes[0] != codes[1]:
        return f"is oriented {codes[0]}, {whose} {codes[1]}", f"reorient it to {whose}"
    apart = float(np.abs(label.affine - image.affine).max())
    if apart > SAME_PLACE:
        return (
            f"lies elsewhere than {whose}: their affines differ by up to {apart:.3g} mm",
            f"up to {SAME_PLACE:g} mm are accepted: copy the affine of {whose} if the voxels do match",
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
