"""Kinds of values that several bodies and queries have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field


def _printable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must have visible characters and no control characters")
    return value.strip()


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is too far from now") from error


Name = Annotated[str, Field(min_length=1, max_length=200, description="a name for people"), AfterValidator(_printable)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Id = Annotated[str, Field(max_length=64, pattern=r"^[\x20-\x7e]*$")]  # no NUL: PostgreSQL takes none
