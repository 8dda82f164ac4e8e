"""The formats that there are, one module each: what a file of it is called, how it is written and how read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from service.datasets.limits import ImportLimits
from service.exports import (
    as_coco,
    as_csv,
    as_cvat,
    as_fiftyone,
    as_jsonl,
    as_label_studio,
    as_parquet,
    from_cvat,
    from_fiftyone,
    from_label_studio,
)
from service.exports.drawn import Drawn
from service.exports.kinds import Format
from service.exports.rows import Reader, Writer
from service.exports.wanted import Wanted

ZIP, JSON = "application/zip", "application/json"


@dataclass(frozen=True)
class Table:
    """A format of one line for each sample."""

    media_type: str
    write: Writer
    read: Reader


@dataclass(frozen=True)
class Drawing:
    """A format with masks; what is drawn there becomes corrections. Of images, not of volumes."""

    media_type: str
    write: Callable[[Wanted], Iterator[bytes]]
    read: Callable[[IO[bytes], ImportLimits], list[Drawn]]


TABLES = {
    Format.CSV: Table("text/csv; charset=utf-8", as_csv.write, as_csv.read),
    Format.JSONL: Table("application/jsonl", as_jsonl.write, as_jsonl.read),
    Format.PARQUET: Table("application/vnd.apache.parquet", as_parquet.write, as_parquet.read),
}
DRAWINGS = {
    Format.COCO: Drawing(JSON, as_coco.write, as_coco.read),
    Format.CVAT: Drawing(ZIP, as_cvat.write, from_cvat.read),
    Format.LABEL_STUDIO: Drawing(ZIP, as_label_studio.write, from_label_studio.read),
    Format.FIFTYONE: Drawing(ZIP, as_fiftyone.write, from_fiftyone.read),
}
