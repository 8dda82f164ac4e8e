"""The names of the formats, apart from what writes them: the command line knows them and loads nothing heavy."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What an export can be written as, and an import read from."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
