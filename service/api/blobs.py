"""Images and masks over HTTP: immutable bytes, named by their hash."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from service.api.ranges import matches
from service.errors import NotFound
from workers.contract import keys
from workers.contract.store import ObjectMissing, ObjectStore

SIGNATURES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"\x1f\x8b": "application/gzip",  # .nii.gz
}
OTHER = "application/octet-stream"  # .nii has no media type of its own
MEDIA_TYPES = (*dict.fromkeys(SIGNATURES.values()), OTHER)
KEPT = "private, max-age=86400"


def blob_response(request: Request, store: ObjectStore, dataset_id: str, sha256: str) -> Response:
    """The original bytes of an image or mask; its ETag is its sha256."""
    gone = f"The blob {sha256} of dataset {dataset_id} is gone from the object store."
    return object_response(request, store, keys.blob(dataset_id, sha256), sha256, KEPT, gone)


def object_response(request: Request, store: ObjectStore, key: str, tag: str, kept: str, gone: str) -> Response:
    """The bytes of an object as they are stored, as a stream.

    Args:
        request: what was asked; with the `tag` in If-None-Match it is answered by 304.
        store: where the object is.
        key: of the object.
        tag: what its ETag says.
        kept: how long browsers may keep it (Cache-Control).
        gone: what `NotFound` says where it is missing.
    """
    headers = {"ETag": f'"{tag}"', "Cache-Control": kept, "X-Content-Type-Options": "nosniff"}
    if matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        headers["Content-Length"] = str(store.size(key))
        chunks = store.read(key)
    except ObjectMissing as error:
        raise NotFound(gone) from error
    first = next(chunks, b"")
    return StreamingResponse(_all(first, chunks), headers=headers, media_type=media_type(first))


def media_type(head: bytes) -> str:
    """The kind of an image or volume by its first bytes; stores need not remember content types."""
    return next((kind for mark, kind in SIGNATURES.items() if head.startswith(mark)), OTHER)


def _all(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    return chain((first,), rest)
