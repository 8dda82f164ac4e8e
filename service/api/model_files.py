"""The files of trained models, to download."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from service.api import artifacts
from service.api.dependencies import ContextDep, SessionDep, require_key
from service.api.models import ModelDep
from service.api.problems import problems
from service.db import jobs
from service.errors import NotFound

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(require_key)], responses=problems(401))


@router.head("/{model_id}/files/{name}", include_in_schema=False)
@router.get("/{model_id}/files/{name}", response_class=StreamingResponse, responses=artifacts.RESPONSES)
def download(name: str, found: ModelDep, session: SessionDep, context: ContextDep, request: Request) -> Response:
    """A file of a model; its ETag is its sha256. Knows `Range` and `If-Range`, so a download can be resumed."""
    job, _ = found
    file = jobs.get_artifact(session, job.id, name)
    if file is None:
        raise NotFound(f"Model {job.id} has no file {name!r}.")
    return artifacts.send(file, context, request)
