"""Predicting a whole dataset: a job to post, and the files that it leaves."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from service.api import artifacts
from service.api.dependencies import ContextDep, SessionDep, TrainDep, require_key
from service.api.idempotency import Answer, IdempotencyDep
from service.api.jobs import PredictionDep, resource
from service.api.paging import PageSize, PageToken, decode, encode, page_limit
from service.api.posting import check_priority
from service.api.problems import problems
from service.db import jobs, tables
from service.errors import Conflict, NotFound
from service.exports.drain import zipped
from service.jobs import predictions
from service.jobs.lifecycle import State
from service.jobs.posting import queue
from service.resources.jobs import JobResource
from service.resources.prediction_jobs import JobFile, JobFilePage, PostedPrediction
from workers.contract.answers import ZIP
from workers.contract.outputs import Output
from workers.contract.store import ObjectStore

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(require_key)], responses=problems(401))
TABLES = ("samples.csv", "samples.parquet")


@router.post(
    ":predict",
    status_code=202,
    response_model=JobResource,
    responses=problems(400, 403, 409, 413, 422),
)
def post_prediction(
    posted: PostedPrediction, caller: TrainDep, context: ContextDep, session: SessionDep, idempotency: IdempotencyDep
) -> JSONResponse:
    """Predict every sample of a dataset version by a trained model. Answers at once, with a job like any other.

    It waits, runs, is cancelled and retried as trainings are; a retry does what is missing. On CPUs its masks are those
    that `POST /v1/models/{id}:predict` gives. The dataset must be of the model's kind: dimensions, channels, classes.
    """
    check_priority(caller, posted.priority)

    def create() -> Answer:
        spec, version = predictions.check(context, caller, posted)
        job = queue(session, caller, spec, version, posted.priority)
        session.flush()
        return Answer(resource(job), location=f"/v1/jobs/{job.id}", status=202)

    return idempotency.answer(session, posted.model_dump_json(), create)


@router.get("/{job_id}/files", responses=problems(400, 404, 422))
def list_files(
    job: PredictionDep, session: SessionDep, page_size: PageSize = 100, page_token: PageToken = None
) -> JobFilePage:
    """What a prediction job left, by name: `samples.csv` and `.parquet`, and zips of some samples each."""
    arguments = {"list": "files", "job": job.id}
    position = decode(page_token, arguments, str)
    limit = page_limit(page_size)
    found = jobs.page_of_artifacts(session, job.id, position[0] if position else "", limit + 1)
    token = encode([found[limit - 1].name], arguments) if len(found) > limit else None
    return JobFilePage(files=[_file(file) for file in found[:limit]], next_page_token=token)


def _file(file: tables.Artifact) -> JobFile:
    return JobFile(
        name=file.name,
        size=file.size,
        sha256=file.sha256,
        media_type=file.media_type,
        url=f"/v1/jobs/{file.job_id}/files/{quote(file.name, safe='')}",
    )


@router.head("/{job_id}/files/{name}", include_in_schema=False)
@router.get("/{job_id}/files/{name}", response_class=StreamingResponse, responses=artifacts.RESPONSES)
def download(name: str, job: PredictionDep, session: SessionDep, context: ContextDep, request: Request) -> Response:
    """A file of a prediction; its ETag is its sha256. Knows `Range` and `If-Range`, so a download can be resumed."""
    file = jobs.get_artifact(session, job.id, name)
    if file is None:
        raise NotFound(f"Job {job.id} has no file {name!r}.")
    return artifacts.send(file, context, request)


@router.get(
    "/{job_id}/predictions",
    response_class=StreamingResponse,
    responses={
        200: {"description": "a zip", "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}},
        **problems(404, 409, 422),
    },
)
def download_predictions(
    job: PredictionDep,
    session: SessionDep,
    context: ContextDep,
    output: Annotated[Output, Query(description="what of it; the job must have been posted with it")] = Output.MASK,
) -> StreamingResponse:
    """All masks (or probabilities, or uncertainties) in one zip, `masks/NAME.png` or `.nii.gz`, with the table.

    It is made as it is sent, so it cannot be resumed: fetch the files one by one where there is much (`/files`).
    """
    if job.state != State.SUCCEEDED:
        raise Conflict(f"Job {job.id} is {job.state}: its predictions are there once it has succeeded.")
    listed = {file.name: file.key for file in jobs.artifacts(session, job.id)}
    shards = [key for name, key in listed.items() if name.startswith(f"{output.folder}-")]
    if not shards:
        raise NotFound(f"Job {job.id} was posted without the output {output}.")
    described = [(name, listed[name]) for name in TABLES if name in listed]
    headers = {
        "Content-Disposition": f'attachment; filename="{job.id}-{output.folder}.zip"',
        "Cache-Control": "no-store",
    }
    return StreamingResponse(_whole(context.store, described, shards), media_type=ZIP, headers=headers)


def _whole(store: ObjectStore, described: Sequence[tuple[str, str]], shards: Sequence[str]) -> Iterator[bytes]:
    def members() -> Iterator[tuple[str, Iterator[bytes]]]:
        for name, key in described:
            yield name, store.read(key)
        for key in shards:
            with tempfile.TemporaryFile() as file:
                for chunk in store.read(key):
                    file.write(chunk)
                with zipfile.ZipFile(file) as archive:
                    for name in archive.namelist():
                        yield name, iter((archive.read(name),))

    return zipped(members())
