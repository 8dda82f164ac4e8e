"""One line of a table: a sample, what the job believes of its label, and what people decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from service.db.exports import Line
from service.errors import FieldError
from service.reviews.decisions import Decision

READ = ("sample", "mask_sha256", "decision", "note", "revision")  # columns that an import looks at
NEEDED = ("sample", "mask_sha256", "decision")
MOST_LINES = 2_000_000
MAX_NOTE = 2000


@dataclass(frozen=True)
class Row:
    """What is written of a sample; the fields are the columns, in their order."""

    sample: str
    mask_sha256: str
    image_sha256: str
    rank: int  # 1: look at it first
    confidence: float  # in [0, 1], lower = more doubtful label
    score: float  # in [0, 1], lower = look first
    dice: float
    expected_dice: float
    decision: str | None
    note: str
    by: str | None  # name of the key that changed the review last
    at: datetime | None
    revision: int  # of the review; 0: nobody has decided


def row(line: Line) -> Row:
    """The line of one sample."""
    believed, sample, review = line
    return Row(
        sample=sample.name,
        mask_sha256=sample.mask_sha256,
        image_sha256=sample.image_sha256,
        rank=believed.rank,
        confidence=believed.confidence,
        score=believed.score,
        dice=believed.dice,
        expected_dice=believed.expected_dice,
        decision=review.decision if review else None,
        note=review.note if review else "",
        by=review.key_name if review else None,
        at=review.at if review else None,
        revision=review.revision if review else 0,
    )


def _empty_is_none(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


class Incoming(BaseModel):
    """What a line of a tool's file says of a label."""

    model_config = ConfigDict(extra="ignore", strict=False)
    MOST_DIGITS: ClassVar[int] = 9

    sample: str = Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")
    mask_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    decision: Annotated[Decision | None, BeforeValidator(_empty_is_none)] = None
    note: str | None = Field(default=None, max_length=MAX_NOTE, pattern=r"^[^\x00]*$")
    revision: Annotated[int | None, BeforeValidator(_empty_is_none)] = Field(default=None, ge=0, lt=10**MOST_DIGITS)


@dataclass(frozen=True)
class Placed:
    """A line with where in the file it is."""

    place: str
    said: Incoming
    new_mask_sha256: str | None = None  # of a correction: the stored mask


Writer = Callable[[Iterable[list[Row]]], Iterator[bytes]]
Reader = Callable[[IO[bytes]], Iterator[tuple[str, Any]]]  # gives each line's place and what is in it


def parse(lines: Iterable[tuple[str, Any]]) -> tuple[list[Placed], list[FieldError]]:
    """The lines that can be read, and what is wrong with each of the others."""
    good: list[Placed] = []
    faults: list[FieldError] = []
    for place, content in lines:
        try:
            good.append(Placed(place, Incoming.model_validate(content)))
        except ValidationError as error:
            for fault in error.errors():
                where = ".".join(map(str, fault["loc"]))
                reason = f"{where}: {fault['msg']}" if where else fault["msg"]
                faults.append(FieldError(file=place, reason=reason, hint=f"given: {fault.get('input')!r}"[:200]))
    return good, faults


def unreadable(reason: str, hint: str) -> FieldError:
    """The fault of a file that is not of its format at all."""
    return FieldError(field="file", reason=reason, hint=hint)
