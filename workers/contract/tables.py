"""Schemas of the Parquet objects that service and workers exchange."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# One row per sample of a dataset version, in the order of `ordinal` (0, 1, 2, …).
# Schema metadata `mask_values`: JSON list; position = class index, entry = pixel value in the mask files.
SAMPLES = pa.schema(
    [
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("image_sha256", pa.string(), nullable=False),
        pa.field("mask_sha256", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("foreground", pa.float32(), nullable=False),  # share of the mask that is not background, in [0, 1]
    ]
)
MASK_VALUES = b"mask_values"

# The same of a dataset of volumes: NIfTI files (.nii, .nii.gz), of one channel. Axes are those of the file, in
# its order. Its schema metadata say so; a table without that key is one of 2D images.
MEDIA, VOLUME = b"media", b"volume"
VOLUMES = pa.schema(
    [
        *SAMPLES,
        pa.field("depth", pa.int32(), nullable=False),  # voxels along the third axis; width and height: first, second
        pa.field("spacing_x", pa.float32(), nullable=False),  # mm between voxels along the first axis
        pa.field("spacing_y", pa.float32(), nullable=False),
        pa.field("spacing_z", pa.float32(), nullable=False),
    ],
    metadata={MEDIA: VOLUME},
)

# One row per sample and epoch.
CONFIDENCE = pa.schema(
    [
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),  # in [0, 1], lower = more doubtful label
        pa.field("score", pa.float32(), nullable=False),  # in [0, 1], lower = look first
        pa.field("dice", pa.float32(), nullable=False),  # soft Dice of prediction and given label, this epoch
        pa.field("expected_dice", pa.float32(), nullable=False),  # the Dice that the network expects of itself
    ]
)


def to_parquet(table: pa.Table) -> bytes:
    """Serialise a table as one Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def holds_volumes(data: bytes) -> bool:
    """Whether the Parquet file of a dataset version is one of volumes (`VOLUMES`), not of images (`SAMPLES`)."""
    metadata: dict[bytes, bytes] = pq.read_schema(io.BytesIO(data)).metadata or {}
    return metadata.get(MEDIA) == VOLUME


def from_parquet(data: bytes, schema: pa.Schema) -> pa.Table:
    """Read a Parquet file, and hold it to the schema it must have.

    Raises:
        ValueError: the file's columns are not those of `schema`.
    """
    table: Any = pq.read_table(io.BytesIO(data))
    if not table.schema.equals(schema, check_metadata=False):
        raise ValueError(f"unexpected columns {table.schema.names}, expected {schema.names}")
    return table
