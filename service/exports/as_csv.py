"""Samples as CSV (UTF-8, RFC 4180), with cells that no spreadsheet takes for a formula.

A text that begins with = + - @, a tab, a carriage return or ' gets one ' before it; reading takes that one off again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields
from typing import IO, Any

from service.errors import Invalid
from service.exports.rows import NEEDED, READ, Row, unreadable

RISKY = ("=", "+", "-", "@", "\t", "\r", "'")
COLUMNS = [field.name for field in fields(Row)]
MAX_CELL = 10_000
HINT = "send a CSV as the export writes it, in UTF-8, with its header"


def write(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    """The file, a batch at a time."""
    yield _encoded([COLUMNS])
    for batch in batches:
        yield _encoded([_cell(value) for value in astuple(row)] for row in batch)


def read(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """The lines below the header; semicolons as a spreadsheet may write them are taken too.

    Raises:
        Invalid: it is no CSV, or lacks a column.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        first = text.readline(MAX_CELL)
        text.seek(0)
        csv.field_size_limit(MAX_CELL)
        lines = csv.DictReader(text, delimiter=";" if first.count(";") > first.count(",") else ",", strict=True)
        missing = [name for name in NEEDED if name not in (lines.fieldnames or ())]
        if missing:
            raise Invalid("The CSV cannot be read.", [unreadable(f"has no column {', '.join(missing)}", HINT)])
        for line in lines:
            kept = {name: harmless_to_text(line[name]) for name in READ if line.get(name) is not None}
            yield f"line {lines.line_num}", kept
    except (csv.Error, UnicodeDecodeError) as error:
        raise Invalid("The CSV cannot be read.", [unreadable(f"is no CSV: {error}", HINT)]) from error
    finally:
        text.detach()


def text_to_harmless(text: str) -> str:
    """A text that a spreadsheet shows and does not compute."""
    return f"'{text}" if text.startswith(RISKY) else text


def harmless_to_text(cell: str) -> str:
    """The text that such a cell was made of."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(RISKY) else cell


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return text_to_harmless(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _encoded(rows: Iterable[Iterable[Any]]) -> bytes:
    sink = io.StringIO(newline="")
    csv.writer(sink).writerows(rows)
    return sink.getvalue().encode()
