"""The formats that there are, one module each: what a file of it is called, how it is written and how read."""

from __future__ import annotations

from dataclasses import dataclass

from service.exports import as_csv, as_jsonl, as_parquet
from service.exports.kinds import Format
from service.exports.rows import Reader, Writer


@dataclass(frozen=True)
class Table:
    """A format of one line for each sample."""

    media_type: str
    write: Writer
    read: Reader


TABLES = {
    Format.CSV: Table("text/csv; charset=utf-8", as_csv.write, as_csv.read),
    Format.JSONL: Table("application/jsonl", as_jsonl.write, as_jsonl.read),
    Format.PARQUET: Table("application/vnd.apache.parquet", as_parquet.write, as_parquet.read),
}
