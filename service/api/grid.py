"""Samples of a job as a grid needs them: the whole order at once, and then the cards of any place in it.

Pages with tokens (`GET …/samples`) go from one to the next; a grid jumps. And while people decide, what matches a
filter changes: an order that is fetched once stays under their hands as it is.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from service.api.dependencies import SessionDep, require_key
from service.api.jobs import JobDep
from service.api.problems import problems
from service.api.sample_filters import SampleFilterDep
from service.api.samples import Direction, Order, SampleResource, resource
from service.db import datasets, facets, grid, jobs
from service.reviews.decisions import Decision, DecisionState
from service.reviews.reasons import ReasonKind

router = APIRouter(
    prefix="/v1/jobs/{job_id}",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 422),
)
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
    annotators: list[AnnotatorCount] = Field(description=f"the {facets.MOST_ANNOTATORS} with most of them, by name")
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


@router.get("/samples:order")
def read_order(
    job: JobDep,
    session: SessionDep,
    wanted: SampleFilterDep,
    order_by: Order = Order.SCORE,
    order: Direction = Direction.ASC,
) -> SampleOrder:
    """The ordinals of all samples that match, in order, the most doubted first unless asked otherwise."""
    filters = wanted.conditions(job)
    found = grid.order(
        session,
        job.id,
        order_by=order_by,
        descending=order is Direction.DESC,
        filters=filters,
        limit=MOST_ORDINALS,
    )
    total = len(found) if len(found) < MOST_ORDINALS else jobs.count_samples(session, job, filters)
    return SampleOrder(ordinals=found, total=total)


@router.get("/samples:facets")
def read_facets(job: JobDep, session: SessionDep, wanted: SampleFilterDep) -> SampleFacets:
    """How many samples there are for each choice, to choose by: of its own kind each count leaves the filter aside."""
    found = facets.count(session, job, wanted)
    values = datasets.version(session, job.dataset_id, job.dataset_version).mask_values
    return SampleFacets(
        total=found.total,
        decisions={state: found.decisions[state] for state in DecisionState},
        reasons={kind: found.reasons[kind] for kind in ReasonKind},
        annotators=[AnnotatorCount(annotator=who, samples=count) for who, count in found.most_annotators()],
        verified=found.verified[True],
        not_verified=found.verified[False],
        classes=[
            ClassCount(
                number=number, value=value, labels=found.label_values[value], predictions=found.predicted[number]
            )
            for number, value in enumerate(values)
            if number > 0
        ],
        label_class_unknown=found.label_values[None],
    )


@router.get("/samples:cards")
def read_cards(
    job: JobDep,
    session: SessionDep,
    ordinal: Annotated[
        list[Annotated[int, Field(ge=0, lt=1 << 62)]],
        Query(min_length=1, max_length=MOST_CARDS, description="of the samples, as `samples:order` gives them"),
    ],
) -> CardList:
    """These samples, each with the history of its confidence and what is decided of its label, in one answer."""
    return CardList(cards=[card_resource(card) for card in grid.cards(session, job, ordinal)])


def card_resource(card: grid.Card) -> CardResource:
    """A card as the API shows it."""
    review = card.review
    return CardResource(
        **resource(card.row).model_dump(),
        width=card.sample.width,
        height=card.sample.height,
        depth=card.sample.depth,
        annotator=card.sample.annotator,
        confidences=card.confidences,
        decision=Decision(review.decision) if review and review.decision else None,
        decided_by=review.key_name if review and review.decision else None,
        note=review.note if review and review.decision else "",
        revision=review.revision if review else 0,
        new_mask_sha256=review.new_mask_sha256 if review else None,
    )
