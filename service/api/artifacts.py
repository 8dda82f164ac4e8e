"""Files that jobs left, as answers: with ranges, and by a link where the object store gives one."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from service.api.dependencies import Context
from service.api.problems import problems, respond
from service.api.ranges import matches, requested
from service.db.tables import Artifact
from service.errors import NotFound, RangeNotSatisfiable
from workers.contract.store import ObjectMissing

LINK_SECONDS = 3600
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "the file", "content": BINARY},
    206: {"description": "the part that was asked for", "content": BINARY},
    304: {"description": "the client's copy is the file"},
    307: {"description": "where the file is: a link to the object store that holds for an hour"},
    **problems(404, 416),
}


def send(file: Artifact, context: Context, request: Request) -> Response:
    """A file; its ETag is its sha256. Knows `Range` and `If-Range`, so a download can be resumed.

    Raises:
        NotFound: it is gone from the store.
    """
    etag = f'"{file.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": _disposition(file.job_id, file.name),
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if request.method == "GET":
        link = context.store.presigned_get(file.key, LINK_SECONDS, f"{file.job_id}-{file.name}", file.media_type)
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
        raise NotFound(f"The file {file.name!r} of job {file.job_id} is gone from the object store.") from error
    return StreamingResponse(content, status_code=status, headers=headers, media_type=file.media_type)


def _disposition(job_id: str, name: str) -> str:
    return f'attachment; filename="{job_id}-{name}"'  # both are plain by the contract: no quoting is needed
