"""Decisions about many of a job's samples at once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.resources.deciding import Note
from service.reviews.decisions import Decision, Outcome

MOST_ITEMS = 10_000
MOST_CORRECTIONS = 200  # each reads a prediction and stores a mask


class SeenLabel(BaseModel):
    """A sample, and which state of its review was seen."""

    model_config = ConfigDict(extra="forbid")

    ordinal: int = Field(strict=True, ge=0, lt=1 << 62)
    revision: int | None = Field(
        default=None,
        strict=True,
        ge=0,
        lt=10**9,
        description="that was seen; null: none, and nothing that is decided is replaced",
    )


class ManyLabels(BaseModel):
    """The labels that are meant."""

    model_config = ConfigDict(extra="forbid")

    labels: list[SeenLabel] = Field(min_length=1, max_length=MOST_ITEMS)

    @field_validator("labels")
    @classmethod
    def _once(cls, labels: list[SeenLabel]) -> list[SeenLabel]:
        if len({label.ordinal for label in labels}) < len(labels):
            raise ValueError("a sample is named twice")
        return labels


class ManyDecisions(ManyLabels):
    """One decision about many labels."""

    decision: Decision = Field(
        description=f"`corrected`: the job's prediction takes each label's place; at most {MOST_CORRECTIONS} at once"
    )
    note: Note = ""


class LabelOutcome(BaseModel):
    """What became of one of them, and what is decided of it now."""

    ordinal: int
    sample: str | None = Field(description="null: the job has no such sample")
    outcome: Outcome | None = Field(description="null: refused, and why is in `fault`")
    fault: str | None
    revision: int
    decision: Decision | None
    by: str | None = Field(description="name of the key that decided")
    note: str
    new_mask_sha256: str | None


class ManyOutcomes(BaseModel):
    """What became of each, in the order in which they were named."""

    done: int = Field(description="how many were done")
    labels: list[LabelOutcome]
