"""Schemas of the Parquet objects that service and workers exchange."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.evaluation import METRICS

# What may be known of a sample beside its files; null where it is not.
FACTS = (
    pa.field("group", pa.string()),  # samples of one group, such as a patient, all have one split
    pa.field("split", pa.string()),  # one of `SPLITS`; null is TRAIN
    pa.field("annotator", pa.string()),  # who drew the label
    pa.field("verified", pa.bool_()),  # the label was checked, and is believed whatever the evidence
    pa.field("agreement", pa.float32()),  # mean Dice with the other annotators' labels of the same image, in [0, 1]
)
# To train on, to choose an epoch by, to judge the network by; in this order they have the ordinals.
TRAIN, VALIDATION, TEST = SPLITS = "train", "validation", "test"

# One row per sample of a dataset version, in the order of `ordinal` (0, 1, 2, …): one split after the other (`SPLITS`).
# Schema metadata `mask_values`: JSON list; position = class index, entry = pixel value in the mask files.
# Schema metadata `channels`: JSON list of the names of the channels that a network sees; see `channel_names`.
REQUIRED = (
    pa.field("ordinal", pa.int64(), nullable=False),
    pa.field("name", pa.string(), nullable=False),
    pa.field("image_sha256", pa.string(), nullable=False),
    pa.field("mask_sha256", pa.string(), nullable=False),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("foreground", pa.float32(), nullable=False),  # share of the mask that is not background, in [0, 1]
)
# Columns that came later; where a table lacks one, `from_parquet` gives null in every row.
LATER = (
    # Where each channel is a file of its own: those behind `image_sha256`, which is the first. Null or empty: one file.
    pa.field("channels", pa.list_(pa.string())),
    *FACTS,
)
SAMPLES = pa.schema([*REQUIRED, *LATER])
MASK_VALUES, CHANNELS = b"mask_values", b"channels"

# The same of a dataset of volumes: NIfTI files (.nii, .nii.gz), one channel in each. Axes are those of the file, in
# its order. Its schema metadata say so; a table without that key is one of 2D images.
MEDIA, VOLUME = b"media", b"volume"
VOLUMES = pa.schema(
    [
        *REQUIRED,
        pa.field("depth", pa.int32(), nullable=False),  # voxels along the third axis; width and height: first, second
        pa.field("spacing_x", pa.float32(), nullable=False),  # mm between voxels along the first axis
        pa.field("spacing_y", pa.float32(), nullable=False),
        pa.field("spacing_z", pa.float32(), nullable=False),
        *LATER,
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
        pa.field("predicted", pa.list_(pa.int32())),  # classes in the prediction, without background; came later
    ]
)

# One row for each sample that is held out: how well the delivered network does on it.
# `classes` came later: by metric (`evaluation.METRICS`) a value for each foreground class, null where undefined.
CLASS_VALUES = pa.struct([pa.field(name, pa.list_(pa.float32())) for name in METRICS])
TEST_SCORES = pa.schema(
    [
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("dice", pa.float32(), nullable=False),  # mean over the foreground classes; 1 where both are empty
        pa.field("classes", CLASS_VALUES),
    ]
)

# One row for each sample that was trained on, by ordinal: those that look most alike, the nearest first. Rank r of W
# has the ordinals r, r + W, r + 2 W, …, so a row is found by its place, and its row group read alone.
# Schema metadata `among`: how many samples were compared with each.
NEIGHBOURS = pa.schema(
    [
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("neighbours", pa.list_(pa.int64()), nullable=False),  # their ordinals
        pa.field("similarity", pa.list_(pa.float32()), nullable=False),  # to each, in [-1, 1], 1 = alike
    ]
)
AMONG = b"among"
NEIGHBOURS_AT_ONCE = 1024  # rows of a row group


def predictions(classes: int) -> pa.Schema:
    """One row for each sample that was predicted; `area_1` is of the first foreground class, in `unit`."""
    return pa.schema(
        [
            pa.field("ordinal", pa.int64(), nullable=False),
            pa.field("name", pa.string(), nullable=False),
            pa.field("shard", pa.int32(), nullable=False),  # number of the zips in which the sample's files are
            pa.field("dice", pa.float32()),  # with the given label, mean over the foreground classes
            *(pa.field(f"area_{number}", pa.float64(), nullable=False) for number in range(1, classes)),
            pa.field("unit", pa.string(), nullable=False),  # px of images, mm³ of volumes
            pa.field("uncertainty_mean", pa.float32(), nullable=False),  # entropy of the classes, in [0, 1], 0 = sure
            pa.field("uncertainty_max", pa.float32(), nullable=False),
        ]
    )


def to_parquet(table: pa.Table, rows_at_once: int | None = None) -> bytes:
    """Serialise a table as one Parquet file, with so many rows in each row group."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=rows_at_once)
    return sink.getvalue()


def schema_of(data: bytes) -> pa.Schema:
    """The schema of a Parquet file, with its metadata; no row is read."""
    return pq.read_schema(io.BytesIO(data))


def holds_volumes(schema: pa.Schema) -> bool:
    """Whether the table of a dataset version is one of volumes (`VOLUMES`), not of images (`SAMPLES`)."""
    return (schema.metadata or {}).get(MEDIA) == VOLUME


def channel_names(schema: pa.Schema) -> list[str]:
    """Names of the channels that a network sees, in order, of the table of a dataset version."""
    written = (schema.metadata or {}).get(CHANNELS)
    if written is None:  # from before channels had names
        return default_channels(3 if holds_volumes(schema) else 2)
    names: list[str] = json.loads(written)
    return names


def default_channels(spatial_dims: int) -> list[str]:
    """Names of the channels where nobody gave any: images are trained as RGB, volumes by their only channel."""
    return ["red", "green", "blue"] if spatial_dims == 2 else ["intensity"]


def from_parquet(data: bytes, schema: pa.Schema) -> pa.Table:
    """Read a Parquet file, and hold it to the schema it must have; columns that may be null may also be missing.

    Raises:
        ValueError: the file's columns are not those of `schema`.
    """
    table: Any = pq.read_table(io.BytesIO(data))
    missing = [field for field in schema if field.nullable and field.name not in table.column_names]
    for field in missing:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    if missing and set(table.column_names) == set(schema.names):
        table = table.select(schema.names)
    if not table.schema.equals(schema, check_metadata=False):
        raise ValueError(f"unexpected columns {table.schema.names}, expected {schema.names}")
    return table


def place_of_split(split: str | None) -> int:
    """Where samples of a split stand among the others: a key to sort by, before their names."""
    return SPLITS.index(split or TRAIN)


def split_counts(samples: pa.Table) -> tuple[int, int, int]:
    """Number of samples of a dataset version that are trained on (T), choose an epoch (V), and are held out.

    They have the ordinals 0 … T - 1, then T … T + V - 1, then the rest.

    Raises:
        ValueError: a split is none of `SPLITS`, or a sample comes after one that belongs behind it.
    """
    places = [place_of_split(split) for split in samples["split"].to_pylist()]
    for ordinal, (before, place) in enumerate(pairwise(places), start=1):
        if place < before:
            raise ValueError(f"sample {ordinal} is of split {SPLITS[place]}, and comes after one of {SPLITS[before]}")
    return places.count(0), places.count(1), places.count(2)
