"""Schemas of the Parquet objects that service and workers exchange."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# What may be known of a sample beside its files; null where it is not.
FACTS = (
    pa.field("group", pa.string()),  # samples of one group, such as a patient, are not split between training and test
    pa.field("split", pa.string()),  # TRAIN or TEST; null is TRAIN
    pa.field("annotator", pa.string()),  # who drew the label
    pa.field("verified", pa.bool_()),  # the label was checked, and is believed whatever the evidence
    pa.field("agreement", pa.float32()),  # mean Dice with the other annotators' labels of the same image, in [0, 1]
)
TRAIN, TEST = "train", "test"

# One row per sample of a dataset version, in the order of `ordinal` (0, 1, 2, …). Samples that are held out come last.
# Schema metadata `mask_values`: JSON list; position = class index, entry = pixel value in the mask files.
_FILES = (
    pa.field("ordinal", pa.int64(), nullable=False),
    pa.field("name", pa.string(), nullable=False),
    pa.field("image_sha256", pa.string(), nullable=False),
    pa.field("mask_sha256", pa.string(), nullable=False),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("foreground", pa.float32(), nullable=False),  # share of the mask that is not background, in [0, 1]
)
SAMPLES = pa.schema([*_FILES, *FACTS])
MASK_VALUES = b"mask_values"

# The same of a dataset of volumes: NIfTI files (.nii, .nii.gz), of one channel. Axes are those of the file, in
# its order. Its schema metadata say so; a table without that key is one of 2D images.
MEDIA, VOLUME = b"media", b"volume"
VOLUMES = pa.schema(
    [
        *_FILES,
        pa.field("depth", pa.int32(), nullable=False),  # voxels along the third axis; width and height: first, second
        pa.field("spacing_x", pa.float32(), nullable=False),  # mm between voxels along the first axis
        pa.field("spacing_y", pa.float32(), nullable=False),
        pa.field("spacing_z", pa.float32(), nullable=False),
        *FACTS,
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

# One row for each sample that was trained on: why its label is doubted, when the run is over (`dale.review`).
REASONS = pa.schema(
    [
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("amount", pa.float32(), nullable=False),  # in `unit`, not negative
        pa.field("unit", pa.string(), nullable=False),  # px, px², mm or mm³
        pa.field("text", pa.string(), nullable=False),  # a sentence without a full stop
    ]
)

# One row for each sample that is held out: how well the delivered network does on it.
TEST_SCORES = pa.schema(
    [
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("dice", pa.float32(), nullable=False),  # mean over the foreground classes; 1 where both are empty
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
    """Read a Parquet file, and hold it to the schema it must have; columns that may be null may be missing.

    Raises:
        ValueError: the file's columns are not those of `schema`.
    """
    table: Any = pq.read_table(io.BytesIO(data))
    for place, field in enumerate(schema):
        if field.nullable and field.name not in table.schema.names:  # the file was written before there was this one
            table = table.add_column(min(place, table.num_columns), field, pa.nulls(table.num_rows, field.type))
    if not table.schema.equals(schema, check_metadata=False):
        raise ValueError(f"unexpected columns {table.schema.names}, expected {schema.names}")
    return table


def train_count(samples: pa.Table) -> int:
    """Number of samples of a dataset version that are trained on, T: they have the ordinals 0 … T - 1.

    Raises:
        ValueError: one that is held out comes before one that is trained on.
    """
    held_out = [split == TEST for split in samples["split"].to_pylist()]
    count = held_out.count(False)
    if any(held_out[:count]):
        raise ValueError(f"sample {held_out.index(True)} is held out, and comes before samples that are trained on")
    return count
