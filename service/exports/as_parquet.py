"""Samples as Parquet, one row group a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import Invalid
from service.exports.drain import Drain
from service.exports.rows import MOST_LINES, NEEDED, READ, Row, unreadable

SCHEMA = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("mask_sha256", pa.string(), nullable=False),
        pa.field("image_sha256", pa.string(), nullable=False),
        pa.field("rank", pa.int64(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("dice", pa.float64(), nullable=False),
        pa.field("expected_dice", pa.float64(), nullable=False),
        pa.field("decision", pa.string()),
        pa.field("note", pa.string(), nullable=False),
        pa.field("by", pa.string()),
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("revision", pa.int64(), nullable=False),
    ]
)
MAX_BYTES = 1 << 30  # of the columns that are read, unpacked
BATCH = 10_000
HINT = "send a Parquet file with the columns that the export writes"


def write(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    """The file; what a batch adds is passed on before the next is asked for."""
    sink = Drain()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        for batch in batches:
            columns = {name: [getattr(row, name) for row in batch] for name in SCHEMA.names}
            writer.write_table(pa.table(columns, schema=SCHEMA))
            yield sink.taken()
    yield sink.taken()


def read(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """The rows, of the columns that an import looks at.

    Raises:
        Invalid: it is no Parquet, lacks a column, or is too large.
    """
    try:
        source = pq.ParquetFile(file, read_dictionary=list(READ))  # so that a repeated text is not unpacked
        names = source.schema_arrow.names
        missing = [name for name in NEEDED if name not in names]
        if missing:
            raise Invalid("The Parquet cannot be read.", [unreadable(f"has no column {', '.join(missing)}", HINT)])
        meta = source.metadata
        size = sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))
        if meta.num_rows > MOST_LINES or size > MAX_BYTES:
            reason = f"has {meta.num_rows} rows and {size} bytes"
            raise Invalid("The Parquet is too large.", [unreadable(reason, f"at most {MOST_LINES} and {MAX_BYTES}")])
        number = 0
        for batch in source.iter_batches(BATCH, columns=[name for name in READ if name in names]):
            for content in batch.to_pylist():
                number += 1
                yield f"row {number}", content
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Invalid("The Parquet cannot be read.", [unreadable(f"is no Parquet: {error}", HINT)]) from error
