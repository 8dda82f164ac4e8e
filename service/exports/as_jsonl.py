"""Samples as lines of JSON, one object each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import IO, Any

from service.errors import Invalid
from service.exports.rows import Row, unreadable

MAX_LINE = 100_000  # bytes


def write(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    """The file, a batch at a time."""
    for batch in batches:
        yield "".join(f"{json.dumps(_plain(row), ensure_ascii=False)}\n" for row in batch).encode()


def read(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """The objects; empty lines are passed over.

    Raises:
        Invalid: a line is no JSON.
    """
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            fault = unreadable(f"line {number} is no JSON: {error}", "send one object a line, as the export writes it")
            raise Invalid("The file cannot be read.", [fault]) from error
        yield f"line {number}", content


def _plain(row: Row) -> dict[str, Any]:
    return {**asdict(row), "at": row.at.isoformat() if row.at else None}
