"""Which pixels of a label a job's network doubts, as they are stored."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Depends, Request, Response

from service.api.blobs import object_response
from service.api.dependencies import ContextDep, require_key
from service.api.jobs import JobDep
from service.api.overlays import RowDep
from service.api.problems import problems
from service.db import tables
from service.errors import NotFound
from service.jobs import ingest
from service.jobs.lifecycle import State
from workers.contract import keys
from workers.contract.store import ObjectStore

router = APIRouter(
    prefix="/v1/jobs/{job_id}/samples/{sample}",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 503),
)


@router.get(
    "/map",
    response_class=Response,
    responses={
        200: {
            "description": "the map: of an image a PNG, of a volume a .nii.gz",
            "content": {"image/png": {"schema": {}}, "application/gzip": {"schema": {}}},
        },
        304: {"description": "the client's copy is the map"},
    },
)
def read_map(job: JobDep, row: RowDep, context: ContextDep, request: Request) -> Response:
    """The pixels of the label that the network doubts, once the job has succeeded: 8 bits of grey.

    0: nothing speaks against the label there; 255: the network is sure of another class. The map of an image covers all
    of it, with no more pixels on each side than the network saw; that of a volume has its shape and affine.
    """
    if State(job.state) is not State.SUCCEEDED:
        raise NotFound(f"Job {job.id} is {job.state}: it has a map of sample {row.name!r} once it has succeeded.")
    gone = f"Job {job.id} has no map of sample {row.name!r}: it is older than the maps are. Train again to have one."
    tag = hashlib.sha256(f"map {job.id} {job.finished_at} {row.ordinal}".encode()).hexdigest()[:32]
    return object_response(request, context.store, map_key(job.id, row), tag, "private, no-cache", gone)


def map_key(job_id: str, row: tables.Sample) -> str:
    """Where the map of a sample lies."""
    return keys.doubt_map(job_id, row.ordinal, "png" if row.depth is None else "nii.gz")


def has_maps(store: ObjectStore, job: tables.Job) -> bool:
    """Whether a job has left a map of each sample: it has succeeded, and is not older than the maps are."""
    if State(job.state) is not State.SUCCEEDED:
        return False
    try:
        result = ingest.read_result(store, job.id)
    except ingest.DamagedError:  # was whole when the job ended, and no picture needs it
        return False
    return result is not None and result.maps
