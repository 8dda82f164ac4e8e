"""What the runs of these tests train on."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from workers.contract import keys, tables
from workers.contract.store import ObjectStore

DISCS = 14


def disc_images() -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of an image with a disc and its mask, 32 x 32; every third disc is labelled elsewhere."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    pairs = []
    for number in range(DISCS):
        disc = (y - rng.integers(10, 22)) ** 2 + (x - rng.integers(10, 22)) ** 2 < rng.integers(4, 8) ** 2
        label = np.roll(disc, 14, axis=1) if number % 3 == 0 else disc
        image = np.clip(90 + 80 * disc[..., None] + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
        pairs.append((image, label.astype(np.uint8) * 255))
    return pairs


def png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="session")
def disc_files() -> dict[str, bytes]:
    """The discs as an upload: file names and contents."""
    pairs = list(enumerate(disc_images()))
    return {f"images/disc-{number}.png": png(image) for number, (image, _) in pairs} | {
        f"masks/disc-{number}.png": png(mask) for number, (_, mask) in pairs
    }


@pytest.fixture(scope="session")
def discs() -> Callable[[ObjectStore], str]:
    """Put the discs into a store as a dataset version, as the service would: `discs(store) -> dataset id`."""

    def put(store: ObjectStore) -> str:
        rows = []
        for number, (image, mask) in enumerate(disc_images()):
            hashes = []
            for pixels in (image, mask):
                data = png(pixels)
                hashes.append(hashlib.sha256(data).hexdigest())
                store.put(keys.blob("ds-discs", hashes[-1]), data)
            rows.append((number, f"disc-{number}", *hashes, 32, 32, float((mask > 0).mean())))
        table = pa.Table.from_pylist(
            [dict(zip(tables.SAMPLES.names, row, strict=False)) for row in rows], schema=tables.SAMPLES
        )
        table = table.replace_schema_metadata({tables.MASK_VALUES: json.dumps([0, 255])})
        store.put(keys.version("ds-discs", 1), tables.to_parquet(table))
        return "ds-discs"

    return put
