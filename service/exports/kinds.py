"""The names of the formats, apart from what writes them: the command line knows them and loads nothing heavy."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What an export can be written as, and an import read from."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    MASKS = "masks"  # a zip; it comes back by `dale correct`, not by an import

    @property
    def ending(self) -> str:
        """What a file of it ends in."""
        return "zip" if self is Format.MASKS else self.value
