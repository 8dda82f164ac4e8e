"""A dataset of synthetic volumes in a store: balls, some of them labelled elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import json

import nibabel as nib
import numpy as np
import pyarrow as pa

from workers.contract import keys, tables
from workers.contract.store import ObjectStore

MASK_VALUES = [0, 7]
# First axis to the back, second to the left, third downwards, 0.5 x 1 x 2 mm: as unlike RAS as can be.
PIL = np.array([[0, -1.0, 0, 12], [-0.5, 0, 0, -3], [0, 0, -2.0, 40], [0, 0, 0, 1]])


def nifti(values: np.ndarray, affine: np.ndarray = PIL, compressed: bool = True) -> bytes:
    data: bytes = nib.Nifti1Image(values, affine).to_bytes()
    return gzip.compress(data, mtime=0) if compressed else data


def ball(rng: np.random.Generator, shape: tuple[int, int, int], radius: float) -> np.ndarray:
    centre = [rng.integers(radius, extent - radius) for extent in shape]
    squares = [(axis - c) ** 2 for axis, c in zip(np.ogrid[tuple(map(slice, shape))], centre, strict=True)]
    found: np.ndarray = sum(squares) < radius**2
    return found


def put_volumes(
    store: ObjectStore, pairs: list[tuple[bytes, bytes]], shapes: list[tuple[int, int, int]], mask_values: list[int]
) -> None:
    """Image and mask files as version 1 of the dataset ds-3d."""
    rows = []
    for ordinal, (blobs, shape) in enumerate(zip(pairs, shapes, strict=True)):
        hashes = [hashlib.sha256(blob).hexdigest() for blob in blobs]
        for sha256, blob in zip(hashes, blobs, strict=True):
            store.put(keys.blob("ds-3d", sha256), blob)
        rows.append((ordinal, f"volume-{ordinal}", *hashes, *shape[:2], 0.1, shape[2], 0.5, 1.0, 2.0))
    columns = [pa.array(c, f.type) for f, c in zip(tables.VOLUMES, zip(*rows, strict=True), strict=True)]
    schema = tables.VOLUMES.with_metadata({**tables.VOLUMES.metadata, tables.MASK_VALUES: json.dumps(mask_values)})
    store.put(keys.version("ds-3d", 1), tables.to_parquet(pa.Table.from_arrays(columns, schema=schema)))


def put_balls(
    store: ObjectStore, count: int, shape: tuple[int, int, int], radius: float = 5
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bright balls in noise; every third label lies elsewhere. Returns images and masks as they are in the files."""
    rng, arrays = np.random.default_rng(0), []
    for ordinal in range(count):
        inside = ball(rng, shape, radius)
        label = np.roll(inside, shape[1] // 2, axis=1) if ordinal % 3 == 0 else inside
        image = (90 + 80 * inside + rng.normal(0, 20, shape)).astype(np.float32)
        arrays.append((image, label.astype(np.uint8) * np.uint8(MASK_VALUES[1])))
    pairs = [(nifti(image), nifti(mask, compressed=ordinal % 2 == 0)) for ordinal, (image, mask) in enumerate(arrays)]
    put_volumes(store, pairs, [shape] * count, MASK_VALUES)
    return arrays


def nnunet_files(count: int, edge: int = 24, faulty: int = 0, labels: dict[str, int] | None = None) -> dict[str, bytes]:
    """Bright ellipsoids as a dataset in nnU-Net's raw format: members of a zip. The first `faulty` labels lie."""
    rng, shape = np.random.default_rng(1), (edge, edge, edge)
    about = {"channel_names": {"0": "CT"}, "labels": labels or {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}
    members = {"dataset.json": json.dumps({**about, "numTraining": count}).encode()}
    for number in range(count):
        axes = rng.uniform(edge / 6, edge / 4, 3)
        centre = rng.uniform(edge / 3, edge - edge / 3, 3)
        squares = [((a - c) / r) ** 2 for a, c, r in zip(np.ogrid[:edge, :edge, :edge], centre, axes, strict=True)]
        inside: np.ndarray = sum(squares) < 1
        label = np.roll(inside, edge // 2, axis=(0, 2)) if number < faulty else inside
        image = (90 + 80 * inside + rng.normal(0, 20, shape)).astype(np.float32)
        members[f"imagesTr/case_{number:03}_0000.nii.gz"] = nifti(image)
        members[f"labelsTr/case_{number:03}.nii.gz"] = nifti(label.astype(np.uint8))
    return members
