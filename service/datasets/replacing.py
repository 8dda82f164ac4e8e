"""Replaces values of masks as the option `remap` asks for it."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.formats.nifti import planes

if TYPE_CHECKING:
    import nibabel as nib


def replaced(values: NDArray[Any], mapping: Mapping[int, int]) -> tuple[NDArray[Any], set[int]]:
    """Values after the replacement, all at once (`1=2,2=1` swaps), and which of the mapping's sources were there.

    Args:
        values: of a mask, of any shape; the same array comes back where nothing is replaced.
        mapping: what each value becomes.
    """
    met = {source for source in mapping if (values == source).any()}
    if not met:
        return values, met
    out = values.astype(np.int16) if values.dtype == np.int8 else values.copy()  # targets fit every other type
    for source in met:
        out[values == source] = mapping[source]
    return out, met


def write_label(file: nib.Nifti1Image, mapping: Mapping[int, int], target: Path) -> None:
    """A label with its values replaced as .nii.gz: the same header and affine, the smallest unsigned integers.

    Args:
        file: the label, whose values are whole numbers from 0 on once they are replaced.
        mapping: what each value becomes.
        target: the file to write; the same label makes the same bytes.
    """
    largest = max(int(replaced(some, mapping)[0].max()) for some in planes(file))
    write_like(file, np.min_scalar_type(largest), (replaced(some, mapping)[0] for some in planes(file)), target)


def write_like(file: nib.Nifti1Image, kind: np.dtype[Any], blocks: Iterable[NDArray[Any]], target: Path) -> None:
    """Other voxels under a file's header as .nii.gz, not scaled; the same voxels make the same bytes.

    Args:
        file: whose shape, affine and units they have.
        kind: type of the voxels in the file.
        blocks: the voxels, some planes of the third axis at a time.
        target: the file to write.
    """
    header = file.header.copy()
    header.set_data_dtype(kind)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["magic"] = header.single_magic
    header.set_data_offset(header.single_vox_offset)  # extensions are left behind
    with target.open("wb") as sink, gzip.GzipFile("", "wb", compresslevel=1, fileobj=sink, mtime=0) as packed:
        packed.write(header.binaryblock + bytes(4))
        for some in blocks:
            packed.write(some.astype(header.get_data_dtype()).tobytes(order="F"))
