"""Writes `.nii.gz` files, plane by plane: the form in which volumes are stored that came as something else."""

from __future__ import annotations

import gzip
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.archive import Extracted, MemberFault
from service.datasets.limits import ImportLimits

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from towards left and back, as ITK and DICOM count, to right and front
FAR = 1e6  # mm; NIfTI holds floats of 32 bits, and nothing honest comes near
LONGEST_AXIS = 32_767  # NIfTI-1 counts in 16 bits
FASTEST = 1  # gzip's level: denser ones take several times as long for a tenth less


@dataclass(frozen=True)
class Volume:
    """What the voxels of a volume are, and where they lie.

    Attributes:
        shape: voxels, in the order of the file's axes.
        dtype: little-endian.
        affine: 4 x 4, from voxel numbers to mm in RAS+.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    affine: NDArray[np.float64]

    @property
    def size(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check(self, limits: ImportLimits) -> None:
        """Raises `MemberFault` where it is larger than what is accepted, or its place cannot be stored."""
        edges = np.linalg.norm(self.affine[:3, :3], axis=0)
        if not (np.abs(self.affine).max() <= FAR and edges.min() >= 1 / FAR):
            raise MemberFault("lies where no patient is, or has voxels of no size", "check its origin and spacing")
        shown = " x ".join(map(str, self.shape))
        if math.prod(self.shape) > limits.max_voxels:
            raise MemberFault(f"has {shown} voxels", f"at most {limits.max_voxels} voxels are accepted")
        if self.size > limits.max_volume_bytes or max(self.shape) > LONGEST_AXIS:
            hint = f"at most {limits.max_volume_bytes} bytes, and {LONGEST_AXIS} voxels along an axis, are accepted"
            raise MemberFault(f"has {shown} voxels of {self.dtype.itemsize} bytes", hint)


def pack(target: Path, volume: Volume, voxels: Iterable[bytes]) -> Extracted:
    """Write a `.nii.gz`; the same volume gives the same bytes.

    Args:
        target: the file to write.
        volume: what the voxels are.
        voxels: `volume.size` bytes in all, the first axis fastest.
    """
    # Neither a name nor the time goes into the file: they would make it another one each time.
    with target.open("wb") as sink, gzip.GzipFile("", "wb", FASTEST, sink, mtime=0) as packed:
        packed.write(_header(volume))
        for some in voxels:
            packed.write(some)
    with target.open("rb") as file:
        return Extracted(target.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _header(volume: Volume) -> bytes:
    """A NIfTI-1 header, and the sign that no extension follows."""
    import nibabel as nib

    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(volume.dtype)
    header.set_data_shape(volume.shape)
    header.set_xyzt_units("mm")
    header.set_sform(volume.affine, code=1)
    header.set_qform(volume.affine, code=1)
    header.set_slope_inter(1, 0)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return bytes(header.binaryblock) + bytes(4)
