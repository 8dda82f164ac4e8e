"""Samples that look alike: how others were drawn, and whether a fault repeats."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from service import logging
from service.api.dependencies import ContextDep, SessionDep, require_key
from service.api.grid import card_resource
from service.api.jobs import JobDep
from service.api.problems import problems
from service.api.samples import SampleDep
from service.db import grid
from service.errors import Unavailable
from service.jobs.alike import NeighboursDamagedError, read_alike
from service.jobs.ingest import DamagedError
from service.jobs.lifecycle import State
from service.resources.neighbours import Availability, Neighbour, Neighbours

router = APIRouter(
    prefix="/v1/jobs/{job_id}/samples/{sample}/neighbours",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 503),
)
log = logging.get(__name__)


@router.get("")
def read_neighbours(job: JobDep, row: SampleDep, session: SessionDep, context: ContextDep) -> Neighbours:
    """Samples whose images look most like this one's, to see how they are drawn; once the job has succeeded.

    Similarity is the cosine of the delivered network's deepest features, averaged over each image.
    """
    state = State(job.state)
    if state is not State.SUCCEEDED:
        when = Availability.NONE if state.terminal else Availability.NOT_YET
        return Neighbours(sample=row.name, state=when, among=0, neighbours=[])
    try:
        found = read_alike(context.store, job.id, row.ordinal)
    except (NeighboursDamagedError, DamagedError) as error:
        log.warning("damaged neighbours", job=job.id, error=str(error))
        raise Unavailable(f"What job {job.id} wrote about samples that look alike cannot be read: {error}.") from error
    if found is None:
        return Neighbours(sample=row.name, state=Availability.NONE, among=0, neighbours=[])
    similarity = dict(zip(found.ordinals, found.similarities, strict=True))
    cards = grid.cards(session, job, found.ordinals)
    return Neighbours(
        sample=row.name,
        state=Availability.KNOWN,
        among=found.among,
        neighbours=[
            Neighbour(**card_resource(card).model_dump(), similarity=similarity[card.row.ordinal]) for card in cards
        ],
    )
