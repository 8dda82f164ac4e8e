"""A volume's mask with some slices replaced: what somebody painted, made into a file like the label's."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.datasets.formats.nifti import described, planes
from service.datasets.replacing import write_like
from service.datasets.volumes import SAME_PLACE
from service.errors import FieldError, Invalid
from service.reviews.painted import Painted
from service.slices import Place, extent, paste

if TYPE_CHECKING:
    import nibabel as nib

PLANES_AT_ONCE = 16  # written together


def paint(
    label: nib.Nifti1Image,
    base: nib.Nifti1Image | None,
    base_values: Sequence[int] | None,
    slices: Sequence[Painted],
    mask_values: Sequence[int],
    target: Path,
) -> None:
    """Write a mask: `base` with the slices in their places, each over those before it.

    Args:
        label: gives header, shape, affine and type of the voxels; the type is wider where it does not hold a value of
            the dataset.
        base: what is not painted over, of the label's shape and affine; None: background.
        base_values: what the values of `base`, places in this list, are in the written file; None: as they are.
        slices: what was painted.
        mask_values: of the dataset; a class number of a slice is a place in it.
        target: the .nii.gz to write.

    Raises:
        Invalid: a slice is none of this volume; every fault is listed, and nothing is written.
        MemberFault: `label` or `base` cannot be read.
    """
    ready = decoded(label, slices, len(mask_values))
    if base is not None and not _same_place(base, label):
        fault = FieldError(field="base", reason="lies elsewhere than the label", hint="begin with another")
        raise Invalid("Slices cannot be painted on this mask.", [fault])
    values = np.array(mask_values)
    kind = label.get_data_dtype()
    if kind.kind in "iu" and np.iinfo(kind).max < values.max():
        kind = np.min_scalar_type(int(values.max()))
    with tempfile.TemporaryDirectory(prefix="dale-paint-") as scratch:
        # On disk: a large CT has more voxels than one request should hold in memory.
        voxels = np.memmap(Path(scratch) / "voxels", np.uint16, "w+", shape=label.shape, order="F")
        if base is not None:
            for start, some in _numbered(base):
                whole = some.astype(np.int64)
                voxels[..., start : start + some.shape[2]] = (
                    whole if base_values is None else np.array(base_values)[whole]
                )
        for place, numbers in ready:
            paste(voxels, label.affine, place, values[numbers])
        changed = any((voxels[..., start : start + some.shape[2]] != some).any() for start, some in _numbered(label))
        if not changed:
            fault = FieldError(field="slices", reason="make the label that is there", hint="accept the label instead")
            raise Invalid("This changes nothing.", [fault])
        starts = range(0, label.shape[2], PLANES_AT_ONCE)
        write_like(label, kind, (voxels[..., start : start + PLANES_AT_ONCE] for start in starts), target)


def decoded(file: nib.Nifti1Image, slices: Sequence[Painted], classes: int) -> list[tuple[Place, NDArray[np.uint8]]]:
    """The slices' class numbers (H, W), and where they belong.

    Args:
        file: the volume that they are of.
        slices: as they came.
        classes: how many there are; their numbers begin with 0, background.

    Raises:
        Invalid: some cannot be used; every fault is listed.
    """
    found, faults, seen = [], [], set()
    for index, one in enumerate(slices):
        count, height, width = extent(file, one.axis)
        try:
            if one.number >= count:
                raise _Fault("slice", f"is {one.number}; the volume has {count} {one.axis} slices, 0 to {count - 1}")
            if (one.axis, one.number) in seen:
                raise _Fault("slice", f"{one.axis} {one.number} is there twice", "send each slice once")
            seen.add((one.axis, one.number))
            found.append((Place(one.axis, one.number, count), _class_numbers(one.png, (height, width), classes)))
        except _Fault as fault:
            faults.append(FieldError(field=f"slices.{index}.{fault.field}", reason=fault.reason, hint=fault.hint))
    if faults:
        raise Invalid("These are no slices of this volume; nothing is saved.", faults)
    return found


class _Fault(Exception):
    """What is wrong with one slice."""

    def __init__(self, field: str, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.field, self.reason, self.hint = field, reason, hint


def _class_numbers(png: bytes, shape: tuple[int, int], classes: int) -> NDArray[np.uint8]:
    """The pixels of a PNG; raises `_Fault`."""
    hint = "send 8-bit greyscale of class numbers, as GET …/masks gives it"
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.mode != "L":
                raise _Fault("png", f"has colour mode {image.mode}", hint)
            if (image.height, image.width) != shape:
                height, width = shape
                reason = f"is {described((image.width, image.height))}, the slice {described((width, height))} pixels"
                raise _Fault("png", reason, "send one pixel for each voxel")
            pixels = np.asarray(image)
    except _Fault:
        raise
    except Exception as error:  # decoders raise anything on hostile bytes
        raise _Fault("png", "is no PNG image", hint) from error
    if pixels.max() >= classes:
        reason = f"has the class {pixels.max()}; this dataset has {classes}, 0 to {classes - 1}"
        raise _Fault("png", reason, "send places in the dataset's mask values, not the values")
    return pixels


def _same_place(one: nib.Nifti1Image, other: nib.Nifti1Image) -> bool:
    """Whether two volumes lie on each other voxel by voxel."""
    return one.shape == other.shape and np.allclose(one.affine, other.affine, rtol=0, atol=SAME_PLACE)


def _numbered(file: nib.Nifti1Image) -> Iterator[tuple[int, NDArray[Any]]]:
    """`planes` with the number of the first of each."""
    start = 0
    for some in planes(file):
        yield start, some
        start += some.shape[2]
