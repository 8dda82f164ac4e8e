"""Samples of a job as a grid needs them: the whole order at once, and then the cards of any place in it.

Pages with tokens (`GET …/samples`) go from one to the next; a grid jumps. And while people decide, what matches a
filter changes: an order that is fetched once stays under their hands as it is.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from service.api.dependencies import SessionDep, require_key
from service.api.jobs import JobDep
from service.api.problems import problems
from service.api.sample_filters import SampleFilterDep
from service.api.samples import Direction, Order, resource
from service.db import datasets, facets, grid, jobs
from service.resources.grid import (
    MOST_CARDS,
    MOST_ORDINALS,
    AnnotatorCount,
    CardList,
    CardResource,
    ClassCount,
    SampleFacets,
    SampleOrder,
)
from service.reviews.decisions import Decision, DecisionState
from service.reviews.reasons import ReasonKind

router = APIRouter(
    prefix="/v1/jobs/{job_id}",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 422),
)


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
