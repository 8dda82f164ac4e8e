"""Reviews, and the decisions that made them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from service.resources.deciding import Note, ReviewResource
from service.resources.fields import Id
from service.reviews.decisions import Decision


class ReviewEvent(BaseModel):
    """Something that was decided of a label, or undone."""

    decision: Decision | None = Field(description="in force from here on; null: nothing")
    undo: bool = Field(description="whether it was an undo, which brought that back")
    note: str
    by: str = Field(description="name of the key")
    key_id: str
    at: datetime


class ReviewDetail(ReviewResource):
    """The same with how it came about."""

    history: list[ReviewEvent] = Field(description="oldest first")


class ReviewPage(BaseModel):
    """What is decided of a version's labels, in the order of the samples' names."""

    reviews: list[ReviewResource]
    counts: dict[Decision, int] = Field(description="of the split, over all pages and decisions")
    undecided: int
    next_page_token: str | None


class NewDecision(BaseModel):
    """What to put down."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision
    note: Note = ""
    job_id: Id | None = Field(
        default=None,
        description="with `corrected`: the prediction of this job takes the label's place; to send a mask of your own, "
        "PUT …/review/mask",
    )
