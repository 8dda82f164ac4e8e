"""From the bytes of NIfTI files to the arrays that a network is trained on, and back.

Arrays are (D, H, W) in RAS+ orientation: W runs to the patient's right, H to the front, D upwards, so that the plane of
the last two axes is the axial one. Voxels are not resampled: an array has as many as the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from workers.contract.inference import PERCENTILES, decode_volume, open_volume, to_ras
from workers.contract.inference import encode_volume as encode_labels
from workers.contract.inference import volume_channels as decode_channels

__all__ = [
    "NOT_NIFTI",
    "PERCENTILES",
    "decode_channels",
    "decode_labels",
    "decode_pair",
    "decode_volume",
    "encode_labels",
    "open_volume",
    "ras_spacing",
]

NOT_NIFTI = (
    EOFError,
    OSError,
    ValueError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)  # what decoding may raise


def decode_labels(file: nib.Nifti1Image, mask_values: list[int]) -> NDArray[np.uint8]:
    """Class indices (D, H, W).

    Args:
        file: the mask.
        mask_values: the voxel value of each class, by class index.

    Raises:
        NOT_NIFTI: one of these, where voxels are missing or a value stands for no class.
    """
    values = to_ras(file, np.asanyarray(file.dataobj))
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


def ras_spacing(file: nib.Nifti1Image) -> tuple[float, float, float]:
    """Millimetres between voxels along (D, H, W), the axes of `decode_volume`."""
    sizes = np.sqrt((file.affine[:3, :3] ** 2).sum(axis=0))
    by_axis = dict(zip(io_orientation(file.affine)[:, 0].astype(int).tolist(), sizes.tolist(), strict=True))
    return by_axis[2], by_axis[1], by_axis[0]
