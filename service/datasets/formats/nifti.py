"""NIfTI files, opened without trusting them: unpacked up to a limit before anything looks inside.

What is accepted here is what `workers.nifti` accepts: three axes, numbers, and an affine that says where voxels lie.
nibabel, which loads SciPy, is imported when the first volume comes: most of what imports this never sees one.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.archive import CHUNK, MemberFault

if TYPE_CHECKING:
    import nibabel as nib

GZIP = b"\x1f\x8b"
MEDIA_TYPES = {True: "application/gzip", False: "application/octet-stream"}  # by whether it is packed; none is its own
NIFTI_2 = 540  # size of its header, which a file begins with; NIfTI-1 has 348
VOXELS_AT_ONCE = 4 << 20


def is_packed(path: Path) -> bool:
    """Whether the file is packed (.nii.gz), told from its first bytes."""
    with path.open("rb") as file:
        return file.read(2) == GZIP


def unpack(path: Path, target: Path, limit: int) -> int:
    """Unpack a .nii.gz in chunks; returns its size.

    Raises:
        MemberFault: it is damaged, or unpacks to more than `limit` bytes.
    """
    size = 0
    try:
        with gzip.open(path) as source, target.open("wb") as sink:
            while chunk := source.read(CHUNK):
                size += len(chunk)
                if size > limit:
                    raise MemberFault(f"unpacks to more than {limit} bytes", "crop or resample the volume")
                sink.write(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise MemberFault(f"cannot be unpacked: {error}", "check that it is complete, and pack it again") from error
    return size


def open_volume(path: Path, max_voxels: int) -> nib.Nifti1Image:
    """An unpacked NIfTI file, its voxels not yet read.

    Raises:
        MemberFault: it is no NIfTI file of three axes, or has more voxels than `max_voxels`.
    """
    import nibabel as nib
    from nibabel.fileholders import FileHolder
    from nibabel.orientations import io_orientation

    try:
        with path.open("rb") as file:
            head = file.read(4)
        sizes = {int.from_bytes(head, order) for order in ("little", "big")}
        kind = nib.Nifti2Image if NIFTI_2 in sizes else nib.Nifti1Image
        image = kind.from_file_map({"image": FileHolder(filename=str(path))})
        shape, affine, dtype = image.shape, image.affine, image.get_data_dtype()
    except Exception as error:  # nibabel raises anything on hostile bytes; each becomes a fault
        raise MemberFault("is not a NIfTI file", "convert it to .nii.gz, or leave it out") from error
    if len(shape) != 3 or 0 in shape:
        raise MemberFault(
            f"has the shape {described(shape)}, not three axes",
            "save one channel, or one point in time, as a volume of its own",
        )
    if math.prod(shape) > max_voxels:
        raise MemberFault(f"has {described(shape)} voxels", f"at most {max_voxels} voxels are accepted")
    if dtype.kind not in "iuf":
        raise MemberFault(f"has voxels of type {dtype}", "save it as integers or floats, one number a voxel")
    if not np.isfinite(affine).all() or not np.linalg.det(affine) or np.isnan(io_orientation(affine)).any():
        raise MemberFault("does not say where its voxels lie: its affine is singular", "write sform or qform anew")
    return image


def planes(file: nib.Nifti1Image) -> Iterator[NDArray[Any]]:
    """A volume's voxels, scaled as its header says, some planes of its third axis at a time.

    Raises:
        MemberFault: some are missing.
    """
    width, height, depth = file.shape
    step = max(1, VOXELS_AT_ONCE // (width * height))
    for start in range(0, depth, step):
        try:
            some = np.asanyarray(file.dataobj[..., start : start + step])
        except Exception as error:  # as above
            raise MemberFault(f"cannot be decoded: {error}", "check that it is complete") from error
        yield some


def spacing(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Millimetres between voxels, along each axis of the file."""
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).tolist()
    return x, y, z


def orientation(affine: NDArray[np.float64]) -> list[tuple[int, bool]]:
    """For each axis of the file: which axis of RAS+ it is, and whether it runs the other way."""
    from nibabel.orientations import io_orientation

    return [(int(axis), bool(direction < 0)) for axis, direction in io_orientation(affine)]


def slab(file: nib.Nifti1Image, axis: int, number: int) -> nib.Nifti1Image:
    """One plane of a volume, in RAS+ order and direction; no other is read.

    Args:
        file: the volume.
        axis: of the file, perpendicular to the plane.
        number: of the plane, as the file counts.
    """
    import nibabel as nib

    window = tuple(slice(number, number + 1) if place == axis else slice(None) for place in range(3))
    return nib.as_closest_canonical(file.slicer[window])


def described(shape: tuple[int, ...]) -> str:
    """A shape in words, such as 35 x 51 x 35."""
    return " x ".join(map(str, shape))
