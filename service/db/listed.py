"""Short lists of numbers as one text, such as ",1,3,": any database can be asked whether one holds a number."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute


def listed(numbers: Iterable[int]) -> str:
    """The numbers as a text, each once and in order; "," for none."""
    return "," + "".join(f"{number}," for number in sorted(set(numbers)))


def unlisted(text: str) -> list[int]:
    """The numbers in such a text."""
    return [int(number) for number in text.split(",") if number]


def holds(column: InstrumentedAttribute[str | None], number: int) -> ColumnElement[bool]:
    """Condition: the number is in the text; not where nothing is known."""
    return column.contains(f",{number},")
