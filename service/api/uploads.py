"""Large datasets in numbered parts: each can be sent again, in any order, and straight to an S3 store."""

from __future__ import annotations

import secrets
import tempfile
from datetime import timedelta
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import Context, ContextDep, SessionDep, TrainDep, require_key
from service.api.idempotency import Answer, IdempotencyDep
from service.api.problems import problems
from service.api.uploading import TargetDep
from service.datasets import background, parts
from service.datasets.kinds import UploadState
from service.datasets.part_sizes import MOST_PARTS, part_count, part_length
from service.db import tables, uploads
from service.db.base import now
from service.errors import Conflict, FieldError, Invalid
from service.resources.uploads import Completion, PartTarget, UploadResource, UploadSpec
from workers.contract import keys

router = APIRouter(
    prefix="/v1/uploads", tags=["uploads"], dependencies=[Depends(require_key)], responses=problems(401, 403)
)
LINK_SECONDS = 3600
Number = Annotated[int, Path(ge=1, le=MOST_PARTS, description="of the part, counted from 1")]


def get_upload(upload_id: str, session: SessionDep, caller: TrainDep) -> tables.Upload:
    """The upload that the path names; raises `NotFound`."""
    return uploads.get(session, upload_id, caller.project_id)


UploadDep = Annotated[tables.Upload, Depends(get_upload, scope="function")]


@router.post("", status_code=201, response_model=UploadResource, responses=problems(400, 404, 409, 413, 422, 503))
def post_upload(
    spec: UploadSpec, context: ContextDep, target: TargetDep, session: SessionDep, idempotency: IdempotencyDep
) -> JSONResponse:
    """Begin an upload in parts. Each is sent to where GET …/parts/{number} says; then POST :complete."""
    limit = context.settings.import_limits.max_total_bytes
    if spec.size > limit:
        fault = FieldError(
            field="size", reason=f"at most {limit} bytes are accepted", hint="max_total_bytes of DALE_IMPORT_LIMITS"
        )
        raise Invalid("The upload is too large.", [fault])
    _remove_expired(context)

    def create() -> Answer:
        at = now()
        upload = tables.Upload(
            id=f"upl-{secrets.token_hex(8)}",
            project_id=target,
            fields=spec.model_dump(exclude={"size", "part_size"}),
            size=spec.size,
            part_size=spec.part_size,
            state=UploadState.OPEN,
            done=0,
            total=0,
            errors=[],
            created_at=at,
            updated_at=at,
            expires_at=at + uploads.KEPT,
        )
        session.add(upload)
        session.flush()
        return Answer(resource(context, upload), location=f"/v1/uploads/{upload.id}")

    return idempotency.answer(session, spec.model_dump_json(), create)


@router.get("/{upload_id}", responses=problems(404, 503))
def read_upload(upload: UploadDep, context: ContextDep) -> UploadResource:
    """Which parts are here, or how far the import is."""
    return resource(context, upload)


@router.get("/{upload_id}/parts/{number}", responses=problems(404, 409, 422))
def read_part_target(upload: UploadDep, number: Number, context: ContextDep) -> PartTarget:
    """Where to send a part: straight to the store where it signs addresses, else here."""
    length = _length(upload, number)
    _still_open(upload)
    signed = context.store.presigned_put(keys.upload_part(upload.id, number), LINK_SECONDS)
    return PartTarget(url=signed or f"/v1/uploads/{upload.id}/parts/{number}", signed=signed is not None, length=length)


@router.put(
    "/{upload_id}/parts/{number}",
    status_code=204,
    responses=problems(404, 409, 413, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def put_part(upload_id: str, number: Number, caller: TrainDep, context: ContextDep, request: Request) -> Response:
    """Send a part, whole; sent again, it takes the place of what was there."""
    length = await run_in_threadpool(_expected, context, upload_id, number, caller.project_id)
    with tempfile.NamedTemporaryFile(prefix="dale-part-") as file:
        async for chunk in request.stream():
            file.write(chunk)
            if file.tell() > length:
                break
        if file.tell() != length:
            reason = f"has {'more than ' if file.tell() > length else ''}{min(file.tell(), length)} bytes"
            fault = FieldError(field=f"parts/{number}", reason=reason, hint=f"it must have {length}")
            raise Invalid("The part has another length.", [fault])
        file.flush()
        key = keys.upload_part(upload_id, number)
        await run_in_threadpool(context.store.put_file, key, FilePath(file.name))
    return Response(status_code=204)


@router.post("/{upload_id}:complete", status_code=202, responses=problems(400, 404, 409, 413, 422, 503))
def complete_upload(
    upload_id: str, completion: Completion, caller: TrainDep, context: ContextDep, response: Response
) -> UploadResource:
    """Import what was sent, as a dataset, behind this answer. Asking again while that goes on changes nothing."""
    with context.database.read() as session:
        upload = uploads.get(session, upload_id, caller.project_id)
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    if upload.state == UploadState.SUCCEEDED:
        return resource(context, upload)
    count = part_count(upload.size, upload.part_size)
    here = parts.received(context.store, upload.id, upload.size, upload.part_size)
    if missing := sorted(set(range(1, count + 1)) - set(here)):
        faults = [FieldError(field=f"parts/{number}", reason="is not here", hint="send it") for number in missing[:100]]
        raise Conflict(f"{len(missing)} of {count} parts are not here yet.", faults)
    with context.sessions.begin() as session:
        claimed = uploads.claim(session, upload.id, now())
        upload = uploads.get(session, upload.id, caller.project_id, lock=True)
    if claimed:
        background.start(context, upload, completion.sha256, caller)
    return resource(context, upload)


@router.delete("/{upload_id}", status_code=204, responses=problems(404, 409, 503))
def delete_upload(upload_id: str, caller: TrainDep, context: ContextDep, session: SessionDep) -> Response:
    """Give an upload up and remove its parts; a dataset that was made of it stays."""
    upload = uploads.get(session, upload_id, caller.project_id, lock=True)
    if upload.state == UploadState.IMPORTING and not uploads.interrupted(upload):
        raise Conflict("It is being imported; delete the dataset's upload when that is over.")
    parts.discard(context.store, upload.id)
    session.delete(upload)
    return Response(status_code=204)


def resource(context: Context, upload: tables.Upload) -> UploadResource:
    """An upload as the API shows it."""
    done = upload.state == UploadState.SUCCEEDED
    return UploadResource(
        id=upload.id,
        project_id=upload.project_id,
        name=upload.fields["name"],
        state=UploadState(upload.state),
        interrupted=uploads.interrupted(upload),
        size=upload.size,
        part_size=upload.part_size,
        parts=part_count(upload.size, upload.part_size),
        received=[] if done else parts.received(context.store, upload.id, upload.size, upload.part_size),
        done=upload.done,
        total=upload.total,
        errors=[FieldError.model_validate(error) for error in upload.errors],
        dataset_id=upload.dataset_id,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
    )


def _expected(context: Context, upload_id: str, number: int, seen: str | None) -> int:
    """Length that a part must have, if it may come; keeps the upload from expiring."""
    with context.sessions.begin() as session:
        upload = uploads.get(session, upload_id, seen)
        length = _length(upload, number)
        _still_open(upload)
        if upload.expires_at < now() + uploads.KEPT - timedelta(hours=1):
            upload.expires_at = now() + uploads.KEPT
    return length


def _length(upload: tables.Upload, number: int) -> int:
    count = part_count(upload.size, upload.part_size)
    if number > count:
        raise Invalid("There is no such part.", [FieldError(field="number", reason=f"the upload has {count} parts")])
    return part_length(upload.size, upload.part_size, number)


def _still_open(upload: tables.Upload) -> None:
    if upload.state not in (UploadState.OPEN, UploadState.FAILED):
        raise Conflict(f"The upload is {upload.state}: no part is taken any more.")


def _remove_expired(context: Context) -> None:
    with context.sessions.begin() as session:
        for upload in uploads.expired(session):
            if upload.state != UploadState.SUCCEEDED:
                parts.discard(context.store, upload.id)
            session.delete(upload)
