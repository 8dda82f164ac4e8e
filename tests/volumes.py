"""A dataset of synthetic volumes in a store: balls, some of them labelled elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence

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
    store: ObjectStore,
    samples: Sequence[Sequence[bytes]],
    shapes: list[tuple[int, int, int]],
    mask_values: list[int],
    channels: Sequence[str] = ("CT",),
) -> None:
    """Image files, one for each channel, and mask files as version 1 of the dataset ds-3d."""
    rows = []
    for ordinal, (blobs, shape) in enumerate(zip(samples, shapes, strict=True)):
        image, *further, mask = hashes = [hashlib.sha256(blob).hexdigest() for blob in blobs]
        for sha256, blob in zip(hashes, blobs, strict=True):
            store.put(keys.blob("ds-3d", sha256), blob)
        where = dict(zip(("width", "height", "depth"), shape, strict=True))
        where |= {"spacing_x": 0.5, "spacing_y": 1.0, "spacing_z": 2.0}
        hashed = {"image_sha256": image, "channels": further or None, "mask_sha256": mask}
        rows.append({"ordinal": ordinal, "name": f"volume-{ordinal}", "foreground": 0.1, **hashed, **where})
    about = {tables.MASK_VALUES: json.dumps(mask_values), tables.CHANNELS: json.dumps(list(channels))}
    schema = tables.VOLUMES.with_metadata({**tables.VOLUMES.metadata, **about})
    store.put(keys.version("ds-3d", 1), tables.to_parquet(pa.Table.from_pylist(rows, schema=schema)))


def put_balls(
    store: ObjectStore, count: int, shape: tuple[int, int, int], radius: float = 5, second: bool = False
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bright balls in noise; every third label lies elsewhere. Returns images and masks as they are in the files.

    Where a `second` channel is asked for, it is the first one upside down in intensity, and in a file of another type.
    """
    rng, arrays = np.random.default_rng(0), []
    for ordinal in range(count):
        inside = ball(rng, shape, radius)
        label = np.roll(inside, shape[1] // 2, axis=1) if ordinal % 3 == 0 else inside
        image = (90 + 80 * inside + rng.normal(0, 20, shape)).astype(np.float32)
        arrays.append((image, label.astype(np.uint8) * np.uint8(MASK_VALUES[1])))
    files = [(nifti(image), nifti(mask, compressed=ordinal % 2 == 0)) for ordinal, (image, mask) in enumerate(arrays)]
    if second:
        others = (nifti(other_channel(image), compressed=False) for image, _ in arrays)
        triples = [(image, other, mask) for (image, mask), other in zip(files, others, strict=True)]
        put_volumes(store, triples, [shape] * count, MASK_VALUES, ["T1", "T2"])
    else:
        put_volumes(store, files, [shape] * count, MASK_VALUES)
    return arrays


def other_channel(image: np.ndarray) -> np.ndarray:
    found: np.ndarray = (4000 - 7 * image).astype(np.int16)
    return found


def nnunet_files(
    count: int,
    edge: int = 24,
    faulty: int = 0,
    labels: dict[str, int] | None = None,
    channels: Sequence[str] = ("CT",),
) -> dict[str, bytes]:
    """Bright ellipsoids as a dataset in nnU-Net's raw format: members of a zip. The first `faulty` labels lie.

    Only the first channel shows them; what further ones show is noise.
    """
    rng, shape = np.random.default_rng(1), (edge, edge, edge)
    names = {str(number): name for number, name in enumerate(channels)}
    about = {"channel_names": names, "labels": labels or {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}
    members = {"dataset.json": json.dumps({**about, "numTraining": count}).encode()}
    for number in range(count):
        axes = rng.uniform(edge / 6, edge / 4, 3)
        centre = rng.uniform(edge / 3, edge - edge / 3, 3)
        squares = [((a - c) / r) ** 2 for a, c, r in zip(np.ogrid[:edge, :edge, :edge], centre, axes, strict=True)]
        inside: np.ndarray = sum(squares) < 1
        label = np.roll(inside, edge // 2, axis=(0, 2)) if number < faulty else inside
        image = (90 + 80 * inside + rng.normal(0, 20, shape)).astype(np.float32)
        members[f"imagesTr/case_{number:03}_0000.nii.gz"] = nifti(image)
        for further in range(1, len(channels)):
            noise = np.random.default_rng([number, further]).normal(500, 90, shape).astype(np.float32)
            members[f"imagesTr/case_{number:03}_{further:04}.nii.gz"] = nifti(noise)
        members[f"labelsTr/case_{number:03}.nii.gz"] = nifti(label.astype(np.uint8))
    return members
