"""Samples of a job by confidence."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.reviews.reasons import ReasonKind


class SampleLinks(BaseModel):
    """Where the rest of a sample is."""

    self: str
    history: str
    image: str
    overlay: str
    map: str


class SampleResource(BaseModel):
    """What a job believes of a sample's label now."""

    sample: str = Field(description="its name, which is its id within the dataset version")
    ordinal: int
    rank: int = Field(description="1: look at it first")
    epoch: int = Field(description="the epoch that these values are of, counted from 0")
    confidence: float = Field(description="in [0, 1], lower = more doubtful label")
    score: float = Field(description="in [0, 1], lower = look first")
    dice: float = Field(description="soft Dice of prediction and given label")
    expected_dice: float = Field(description="the Dice that the network expects of itself on this image")
    reason: str | None = Field(description="why the label is doubted, in words, once the job has succeeded")
    reason_kind: ReasonKind | None
    links: SampleLinks


class SamplePage(BaseModel):
    """Some samples of a job."""

    samples: list[SampleResource]
    total: int = Field(description="how many match, over all pages")
    next_page_token: str | None


class HistoryPoint(BaseModel):
    """What was believed at the end of an epoch."""

    epoch: int
    confidence: float
    score: float
    dice: float
    expected_dice: float


class SampleHistory(BaseModel):
    """How the belief in a sample's label came about."""

    sample: str
    history: list[HistoryPoint]
