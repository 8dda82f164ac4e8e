"""Samples of a job as a grid needs them: an order, cards, and counts for the filters."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.resources.samples import SampleResource
from service.reviews.decisions import Decision, DecisionState
from service.reviews.reasons import ReasonKind

MOST_ANNOTATORS = 200
MOST_ORDINALS = 250_000  # a browser can scroll over no more cards than about this
MOST_CARDS = 100


class SampleOrder(BaseModel):
    """Which samples match, in their order."""

    ordinals: list[int] = Field(description=f"the first {MOST_ORDINALS}; what they are called: `samples:cards`")
    total: int = Field(description="how many match")


class AnnotatorCount(BaseModel):
    """How many samples somebody drew the label of."""

    annotator: str
    samples: int


class ClassCount(BaseModel):
    """How many samples a class is in."""

    number: int = Field(description="of the class, as `label_class` and `predicted_class` take it")
    value: int = Field(description="in the dataset's masks")
    labels: int = Field(description="samples whose label has it")
    predictions: int = Field(description="samples whose prediction has it")


class SampleFacets(BaseModel):
    """How many samples each choice of a filter would leave, with the rest of the filter as it is."""

    total: int = Field(description="how many match the whole filter")
    decisions: dict[DecisionState, int]
    reasons: dict[ReasonKind, int]
    annotators: list[AnnotatorCount] = Field(description=f"the {MOST_ANNOTATORS} with most of them, by name")
    verified: int
    not_verified: int
    classes: list[ClassCount]
    label_class_unknown: int = Field(
        description="samples of which no label_class is known: uploaded before it was kept"
    )


class CardResource(SampleResource):
    """A sample with its history and what is decided of it."""

    width: int
    height: int
    depth: int | None = Field(description="of a volume")
    annotator: str | None = Field(description="who drew the label, where it is known")
    confidences: list[float] = Field(description="epoch by epoch, the last is now")
    decision: Decision | None = Field(description="in force; null: none")
    decided_by: str | None = Field(description="name of the key that changed it last")
    note: str
    revision: int = Field(description="of the review: its ETag, for If-Match")
    new_mask_sha256: str | None = Field(description="of a correction: the mask to take the label's place")


class CardList(BaseModel):
    """Cards in the order in which they were asked for."""

    cards: list[CardResource]
