"""Trained models: what a finished job left, to look at and to download."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import BaseModel, Field

from service.api.dependencies import CallerDep, ContextDep, SessionDep, ShownProjectDep, require_key
from service.api.paging import PageSize, PageToken, decode, decode_time, encode, page_limit
from service.api.problems import problems, respond
from service.api.ranges import matches, requested
from service.db import jobs, tables
from service.errors import NotFound, RangeNotSatisfiable
from service.jobs.lifecycle import State
from workers.contract.request import NetworkSpec
from workers.contract.store import ObjectMissing

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(require_key)], responses=problems(401))
LINK_SECONDS = 3600
ONNX = "onnx.zip"  # the export that predicts here


class ModelFile(BaseModel):
    """One file of a model."""

    name: str
    size: int
    sha256: str
    media_type: str
    url: str


class ModelResource(BaseModel):
    """A trained model."""

    id: str = Field(description="the id of the job that trained it")
    project_id: str
    name: str
    job: str = Field(description="path of that job")
    network: NetworkSpec
    dataset_id: str
    dataset_version: int
    warm_start: str | None = Field(description="the job whose model it started from, which may be deleted by now")
    metrics: dict[str, Any] | None
    finished_at: datetime | None
    files: list[ModelFile]
    predict: str | None = Field(description="where it predicts; null: it has no ONNX file")


class ModelPage(BaseModel):
    """Some models, newest first."""

    models: list[ModelResource]
    next_page_token: str | None


def resource(job: tables.Job, files: list[tables.Artifact]) -> ModelResource:
    """A model as the API shows it."""
    return ModelResource(
        id=job.id,
        project_id=job.project_id,
        name=job.name,
        job=f"/v1/jobs/{job.id}",
        network=NetworkSpec.model_validate(job.spec["network"]),
        dataset_id=job.dataset_id,
        dataset_version=job.dataset_version,
        warm_start=job.spec.get("warm_start"),
        metrics=job.metrics,
        finished_at=job.finished_at,
        files=[
            ModelFile(
                name=file.name,
                size=file.size,
                sha256=file.sha256,
                media_type=file.media_type,
                url=f"/v1/models/{job.id}/files/{quote(file.name, safe='')}",
            )
            for file in files
        ],
        predict=f"/v1/models/{job.id}:predict" if any(file.name == ONNX for file in files) else None,
    )


def get_model(model_id: str, session: SessionDep, caller: CallerDep) -> tables.Job:
    """The finished job that the path names.

    Raises:
        NotFound: there is none, or it has not succeeded.
    """
    job = jobs.get_job(session, model_id)
    if job is None or not caller.sees(job.project_id):
        raise NotFound(f"There is no model {model_id!r}.")
    if job.state != State.SUCCEEDED:
        raise NotFound(f"Job {model_id} has no model: it is {job.state}.")
    return job


ModelDep = Annotated[tables.Job, Depends(get_model, scope="function")]


@router.get("", responses=problems(400, 404, 422))
def list_models(
    session: SessionDep, project: ShownProjectDep, page_size: PageSize = 50, page_token: PageToken = None
) -> ModelPage:
    """Models, that of the newest job first."""
    arguments = {"list": "models", "project": project}
    position = decode(page_token, arguments, str, str)
    after = (decode_time(position[0]), position[1]) if position else None
    limit = page_limit(page_size)
    found = jobs.page_of_jobs(session, seen=project, state=State.SUCCEEDED, after=after, limit=limit + 1)
    token = None
    if len(found) > limit:
        last = found[limit - 1]
        token = encode([last.created_at.isoformat(), last.id], arguments)
    models = [resource(job, jobs.artifacts(session, job.id)) for job in found[:limit]]
    return ModelPage(models=models, next_page_token=token)


@router.get("/{model_id}", responses=problems(404))
def read_model(job: ModelDep, session: SessionDep) -> ModelResource:
    """A model with its files."""
    return resource(job, jobs.artifacts(session, job.id))


BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


@router.head("/{model_id}/files/{name}", include_in_schema=False)
@router.get(
    "/{model_id}/files/{name}",
    response_class=StreamingResponse,
    responses={
        200: {"description": "the file", "content": BINARY},
        206: {"description": "the part that was asked for", "content": BINARY},
        304: {"description": "the client's copy is the file"},
        307: {"description": "where the file is: a link to the object store that holds for an hour"},
        **problems(404, 416),
    },
)
def download(name: str, job: ModelDep, session: SessionDep, context: ContextDep, request: Request) -> Response:
    """A file of a model; its ETag is its sha256. Knows `Range` and `If-Range`, so a download can be resumed."""
    file = jobs.get_artifact(session, job.id, name)
    if file is None:
        raise NotFound(f"Model {job.id} has no file {name!r}.")
    etag = f'"{file.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": _disposition(job.id, file.name),
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if request.method == "GET":
        link = context.store.presigned_get(file.key, LINK_SECONDS, f"{job.id}-{file.name}", file.media_type)
        if link is not None:
            return RedirectResponse(link, status_code=307, headers={"Cache-Control": "no-store"})
    span = requested(request, file.size, etag)
    if span is not None and span.length == 0:
        return respond(
            request,
            RangeNotSatisfiable.status,
            RangeNotSatisfiable.title,
            f"The file has {file.size} bytes.",
            headers={"Content-Range": f"bytes */{file.size}"},
        )
    start, length = (span.start, span.length) if span else (0, file.size)
    headers["Content-Length"] = str(length)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{file.size}"
    status = 206 if span is not None else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=file.media_type)
    try:
        content = context.store.read(file.key, start, length)
    except ObjectMissing as error:
        raise NotFound(f"The file {name!r} of model {job.id} is gone from the object store.") from error
    return StreamingResponse(content, status_code=status, headers=headers, media_type=file.media_type)


def _disposition(job_id: str, name: str) -> str:
    return f'attachment; filename="{job_id}-{name}"'  # both are plain by the contract: no quoting is needed
