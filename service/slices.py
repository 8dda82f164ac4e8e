"""One slice of a volume as a picture: which one, cut out of the file, turned and windowed as it is looked at.

Slices are counted from 0 to the patient's right (sagittal), front (coronal) or head (axial), whatever the order of the
file's axes. They are shown as radiologists look at them: the patient's right, or front, on the left; the head, or the
front of an axial slice, at the top. Only what is shown is read into memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.axes import Axis
from service.datasets.formats.nifti import is_packed, open_volume, orientation, planes, slab, spacing, unpack
from service.errors import FieldError, Invalid

if TYPE_CHECKING:
    import nibabel as nib

PERCENTILES = (0.5, 99.5)  # intensities from black to white
SAMPLED = 8  # planes that the percentiles are taken from
UNLIMITED = 1 << 62  # what is stored has passed the limits of the upload


@dataclass(frozen=True)
class Place:
    """A slice among those along its axis."""

    axis: Axis
    number: int  # counted from 0
    count: int  # slices along this axis


@contextmanager
def stored_volume(chunks: Iterable[bytes]) -> Iterator[nib.Nifti1Image]:
    """A NIfTI file from the store, its voxels on disk for as long as the context lasts.

    Raises:
        MemberFault: it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="dale-volume-") as scratch:
        path = Path(scratch) / "stored"
        with path.open("wb") as file:
            file.writelines(chunks)
        if is_packed(path):
            unpack(path, Path(scratch) / "volume", UNLIMITED)
            path = Path(scratch) / "volume"
        yield open_volume(path, UNLIMITED)


def place(axis: Axis, asked: int | None, masks: Iterable[nib.Nifti1Image]) -> Place:
    """The slice that was asked for, or else the one with the most foreground.

    Args:
        axis: what slices are perpendicular to.
        asked: its number; None leaves the choice to us.
        masks: of one shape, at least one; the first that has any foreground decides, and no further one is asked for.
            If none has, the middle is shown.

    Raises:
        Invalid: there is no slice of that number.
    """
    chosen, count = asked, 0
    for mask in masks:
        where, backwards = _axis_of(mask, axis)
        count = mask.shape[where]
        if chosen is None:
            filled = _foreground(mask, where)
            fullest = int(filled.argmax())
            if filled[fullest]:
                chosen = count - 1 - fullest if backwards else fullest
        if chosen is not None:
            break
    if chosen is None:
        chosen = count // 2
    if chosen >= count:
        reason = f"is {chosen}; the volume has {count} {axis} slices, 0 to {count - 1}"
        raise Invalid("There is no such slice.", [FieldError(field="slice", reason=reason)])
    return Place(axis, chosen, count)


def extent(file: nib.Nifti1Image, axis: Axis) -> tuple[int, int, int]:
    """How many slices there are along an axis, and their height and width in voxels, as they are looked at."""
    by_name = dict(zip((found for found, _ in orientation(file.affine)), file.shape, strict=True))
    width, height = (by_name[other] for other in range(3) if other != axis.number)
    return by_name[axis.number], height, width


def cut(file: nib.Nifti1Image, at: Place) -> tuple[NDArray[np.generic], float]:
    """The voxels of a slice (H, W), as they are looked at, and the height of one in units of its width."""
    where, backwards = _axis_of(file, at.axis)
    turned = slab(file, where, at.count - 1 - at.number if backwards else at.number)
    plane = np.asanyarray(turned.dataobj).squeeze(axis=at.axis.number)
    width, height = (size for axis, size in enumerate(spacing(turned.affine)) if axis != at.axis.number)
    return plane.T[::-1, ::-1], height / width


def paste(voxels: NDArray[np.generic], affine: NDArray[np.float64], at: Place, plane: NDArray[np.generic]) -> None:
    """Put other voxels in a slice's place: what `cut` would give of it then.

    Args:
        voxels: of a volume, in the order of its file's axes; changed in place.
        affine: the file's.
        at: which slice.
        plane: (H, W), as it is looked at.
    """
    axes = orientation(affine)
    # A view of the voxels in RAS+ order and direction: what is written to it lands where the file has it.
    turned = voxels.transpose(sorted(range(3), key=lambda where: axes[where][0]))
    turned = turned[tuple(slice(None, None, -1 if backwards else 1) for _, backwards in sorted(axes))]
    turned = turned[tuple(at.number if axis == at.axis.number else slice(None) for axis in range(3))]
    turned.T[::-1, ::-1] = plane


def grey(file: nib.Nifti1Image, plane: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Intensities (H, W) as (H, W, 3), from black to white over what is usual in the volume."""
    sample = np.asanyarray(file.dataobj[..., :: max(1, file.shape[2] // SAMPLED)])
    low, high = np.percentile(sample, PERCENTILES)
    values = (plane.astype(np.float64) - low) * (255 / max(high - low, 1e-6))
    return np.repeat(values.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def classes(plane: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Values of a mask (H, W) in 8 bits: different ones stay different, and 0 stays 0."""
    _, numbers = np.unique(np.append(0, plane.ravel()), return_inverse=True)
    return numbers[1:].reshape(plane.shape).astype(np.uint8)


def _axis_of(file: nib.Nifti1Image, axis: Axis) -> tuple[int, bool]:
    """Which axis of the file it is, and whether the file counts it backwards."""
    axes = orientation(file.affine)
    where = next(place for place, (found, _) in enumerate(axes) if found == axis.number)
    return where, axes[where][1]


def _foreground(mask: nib.Nifti1Image, where: int) -> NDArray[np.int64]:
    """How many voxels are not background, for each place along an axis of the file."""
    others = tuple(axis for axis in range(3) if axis != where)
    counts = [np.count_nonzero(some, axis=others) for some in planes(mask)]
    found: NDArray[np.int64] = np.concatenate(counts) if where == 2 else np.sum(counts, axis=0)
    return found
