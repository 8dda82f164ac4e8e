"""Samples of a job as a grid needs them: the whole order at once, and then the cards of any place in it.

Pages with tokens (`GET …/samples`) go from one to the next; a grid jumps. And while people decide, what matches a
filter changes: an order that is fetched once stays under their hands as it is.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from service.api.dependencies import SessionDep, require_key
from service.api.fields import Id
from service.api.jobs import JobDep
from service.api.problems import problems
from service.api.samples import Bound, Direction, Order, SampleResource, resource
from service.db import grid, jobs
from service.db.disagreements import disagreement_filter
from service.db.grid import DecisionState
from service.reviews.decisions import Decision

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


class CardResource(SampleResource):
    """A sample with its history and what is decided of it."""

    width: int
    height: int
    depth: int | None = Field(description="of a volume")
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
    name_contains: Annotated[str | None, Query(max_length=255, description="part of the name, any case")] = None,
    confidence_min: Bound = None,
    confidence_max: Bound = None,
    decision: Annotated[DecisionState | None, Query(description="what is decided of the label")] = None,
    disagree: Annotated[
        list[Id] | None,
        Query(min_length=2, max_length=2, description="two ids of keys: labels on which these two people disagree"),
    ] = None,
    order_by: Order = Order.SCORE,
    order: Direction = Direction.ASC,
) -> SampleOrder:
    """The ordinals of all samples that match, in order, the most doubted first unless asked otherwise."""
    filters = jobs.sample_filters(name_contains=name_contains, confidence=(confidence_min, confidence_max))
    if decision is not None:
        filters.append(grid.decision_filter(job, decision))
    if disagree is not None:
        filters.append(disagreement_filter(job, *disagree))
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
        confidences=card.confidences,
        decision=Decision(review.decision) if review and review.decision else None,
        decided_by=review.key_name if review and review.decision else None,
        note=review.note if review and review.decision else "",
        revision=review.revision if review else 0,
        new_mask_sha256=review.new_mask_sha256 if review else None,
    )
