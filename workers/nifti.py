"""From the bytes of NIfTI files to the arrays that a network is trained on, and back.

Arrays are (D, H, W) in RAS+ orientation: W runs to the patient's right, H to the front, D upwards, so that the plane of
the last two axes is the axial one. Voxels are not resampled: an array has as many as the file.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

PERCENTILES = (0.5, 99.5)  # intensities beyond these of their volume are clipped
SAME_PLACE = 1e-2  # mm (and mm per voxel): so far may the affines of an image and its mask differ
NOT_NIFTI = (
    EOFError,
    OSError,
    ValueError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)  # what decoding may raise
NIFTI_2 = 540  # size of its header, which a file begins with; NIfTI-1 has 348


def open_volume(source: bytes | Path) -> nib.Nifti1Image:
    """A NIfTI file (.nii or .nii.gz), its voxels not yet read.

    Raises:
        NOT_NIFTI: one of these, where it is no readable NIfTI file of three axes.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    sizes = {int.from_bytes(data[:4], order) for order in ("little", "big")}
    image = (nib.Nifti2Image if NIFTI_2 in sizes else nib.Nifti1Image).from_bytes(data)
    if len(image.shape) != 3 or 0 in image.shape:
        raise ValueError(f"a volume of one channel has three axes; this file has the shape {tuple(image.shape)}")
    if image.get_data_dtype().kind not in "iuf":
        raise ValueError(f"voxels of type {image.get_data_dtype()} are no intensities")
    if not np.isfinite(image.affine).all() or not np.linalg.det(image.affine):
        raise ValueError("the affine does not say where the voxels lie")
    return image


def decode_volume(file: nib.Nifti1Image) -> NDArray[np.float16]:
    """Intensities (D, H, W), clipped at the volume's `PERCENTILES`, then of mean 0 and standard deviation 1.

    Raises:
        NOT_NIFTI: one of these, where voxels are missing or not finite.
    """
    values = _canonical(file, file.get_fdata(dtype=np.float32, caching="unchanged"))
    if not np.isfinite(values).all():
        raise ValueError("the image has values that are not finite")
    values = values.clip(*np.percentile(values, PERCENTILES))
    mean, spread = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    return np.ascontiguousarray((values - mean) / max(spread, 1e-6), dtype=np.float16)


def decode_labels(file: nib.Nifti1Image, mask_values: list[int]) -> NDArray[np.uint8]:
    """Class indices (D, H, W).

    Args:
        file: the mask.
        mask_values: the voxel value of each class, by class index.

    Raises:
        NOT_NIFTI: one of these, where voxels are missing or a value stands for no class.
    """
    values = _canonical(file, np.asanyarray(file.dataobj))
    known = np.array(mask_values)
    order = np.argsort(known)
    places = np.searchsorted(known, values, sorter=order).clip(max=len(known) - 1)
    classes = order[places]
    wrong = known[classes] != values
    if wrong.any():
        unknown = np.unique(values[wrong])[:5].tolist()
        raise ValueError(f"mask values {unknown} stand for no class; known values are {mask_values}")
    return np.ascontiguousarray(classes, dtype=np.uint8)


def decode_pair(
    image_files: Sequence[bytes], mask_file: bytes, mask_values: list[int]
) -> tuple[NDArray[np.float16], NDArray[np.uint8], tuple[int, ...]]:
    """An image and its mask: intensities (channels, D, H, W), class indices (D, H, W), and the shape of the files.

    Args:
        image_files: one for each channel, in their order.
        mask_file: of all of them.
        mask_values: the voxel value of each class, by class index.

    Raises:
        NOT_NIFTI: one of these, where one cannot be read or they do not cover the same voxels.
    """
    mask = open_volume(mask_file)
    image = decode_channels([open_volume(file) for file in image_files], mask)
    return image, decode_labels(mask, mask_values), tuple(mask.shape)


def decode_channels(files: Sequence[nib.Nifti1Image], mask: nib.Nifti1Image | None = None) -> NDArray[np.float16]:
    """Intensities (channels, D, H, W), each channel as `decode_volume` has it.

    Args:
        files: one for each channel, in their order.
        mask: of all of them; without it they are compared with the first.

    Raises:
        NOT_NIFTI: one of these, where one cannot be read or they do not cover the same voxels.
    """
    below = mask or files[0]
    for number, file in enumerate(files):
        what = "the image" if len(files) == 1 else f"channel {number} of the image"
        whose = "its mask" if mask else "its first channel"
        if file.shape != below.shape:
            raise ValueError(f"{what} has {file.shape} voxels, {whose} {below.shape}")
        if not np.allclose(file.affine, below.affine, rtol=0, atol=SAME_PLACE):
            raise ValueError(f"{what} and {whose} lie in different places: their affines differ")
    return np.stack([decode_volume(file) for file in files])


def ras_spacing(file: nib.Nifti1Image) -> tuple[float, float, float]:
    """Millimetres between voxels along (D, H, W), the axes of `decode_volume`."""
    sizes = np.sqrt((file.affine[:3, :3] ** 2).sum(axis=0))
    by_axis = dict(zip(io_orientation(file.affine)[:, 0].astype(int).tolist(), sizes.tolist(), strict=True))
    return by_axis[2], by_axis[1], by_axis[0]


def encode_labels(values: NDArray[np.integer], source: nib.Nifti1Image) -> bytes:
    """A mask as .nii.gz, in the shape, orientation and place of the volume that it belongs to.

    Args:
        values: (D, H, W), as `decode_labels` has it; the file keeps the type.
        source: the volume's own file.
    """
    back = ornt_transform(axcodes2ornt("RAS"), io_orientation(source.affine))
    header = source.header.copy()
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    image = type(source)(apply_orientation(values.transpose(2, 1, 0), back), source.affine, header)
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _canonical(file: nib.Nifti1Image, values: NDArray[Any]) -> NDArray[Any]:
    """A file's voxels as (D, H, W) in RAS+ orientation."""
    turned: NDArray[Any] = apply_orientation(values, io_orientation(file.affine))
    return turned.transpose(2, 1, 0)
