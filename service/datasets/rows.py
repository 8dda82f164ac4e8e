"""The samples of a version as rows: those of the database, and those that workers read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from service.datasets.checked import CheckedDataset, CheckedSample
from service.datasets.kinds import Media
from service.db.listed import listed
from service.db.tables import DatasetVersion
from workers.contract import tables

Row = dict[str, Any]  # the columns of `service.db.tables.Sample`, without dataset and version


def sample_rows(checked: CheckedDataset) -> list[Row]:
    """The rows of an upload that has passed, in the order of its samples."""
    return [sample_row(ordinal, sample) for ordinal, sample in enumerate(checked.samples)]


def sample_row(ordinal: int, sample: CheckedSample) -> Row:
    """The row of a sample that has passed."""
    return {
        "ordinal": ordinal,
        "name": sample.pair.name,
        "image_sha256": sample.image_sha256,
        "mask_sha256": sample.mask_sha256,
        "width": sample.width,
        "height": sample.height,
        "depth": sample.depth,
        "spacing": sample.spacing,
        "foreground": sample.foreground,
        "label_values": listed(sample.label_values),
        "channels": [file.sha256 for file in sample.channels] or None,
        **asdict(sample.facts),
    }


def sample_table(
    rows: Sequence[Mapping[str, Any]], mask_values: list[int], media: Media, channels: list[str]
) -> pa.Table:
    """The samples as workers read them (`tables.SAMPLES` or `tables.VOLUMES`)."""
    schema = tables.VOLUMES if media is Media.VOLUME else tables.SAMPLES
    columns: dict[str, Sequence[Any]] = {
        name: [row[name] for row in rows] for name in schema.names if not name.startswith("spacing_")
    }
    if media is Media.VOLUME:
        for axis, name in enumerate(("spacing_x", "spacing_y", "spacing_z")):
            columns[name] = [row["spacing"][axis] for row in rows]
    metadata = {
        **(schema.metadata or {}),
        tables.MASK_VALUES: json.dumps(mask_values),
        tables.CHANNELS: json.dumps(channels),
    }
    return pa.table(columns, schema=schema.with_metadata(metadata))


def channel_names(version: DatasetVersion) -> list[str]:
    """Names of the channels that a network sees, in order."""
    return version.channels or tables.default_channels(version.spatial_dims)
