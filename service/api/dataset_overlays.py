"""A dataset's samples as pictures with the label outlined: before any job has seen them."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from service import imaging
from service.api.datasets import DatasetDep, VersionNumber
from service.api.dependencies import ContextDep, SessionDep, require_key
from service.api.overlays import fetched
from service.api.problems import problems
from service.api.ranges import matches
from service.api.volume_pictures import slice_picture
from service.axes import Axis
from service.db import datasets
from service.errors import NotFound
from workers.contract import keys
from workers.contract.store import ObjectMissing

router = APIRouter(
    prefix="/v1/datasets/{dataset_id}/versions/{number}/samples/{sample}",
    tags=["datasets"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 503),
)
KEPT = "private, max-age=86400"  # neither image nor label of a version ever changes


@router.get(
    "/overlay",
    response_class=Response,
    responses={
        200: {
            "description": "the picture",
            "content": {kind: {"schema": {"type": "string"}} for kind in ("image/webp", "image/png")},
        },
        304: {"description": "the client's copy is the picture"},
        **problems(422),
    },
)
def read_dataset_overlay(
    dataset: DatasetDep,
    number: VersionNumber,
    sample: str,
    session: SessionDep,
    context: ContextDep,
    request: Request,
    size: Annotated[int, Query(ge=64, le=2048, description="longer side of the picture, in pixels")] = 256,
    kind: Annotated[Literal["webp", "png"], Query(alias="format")] = "webp",
) -> Response:
    """The image with its label outlined; of a volume the axial slice with the most label."""
    row = datasets.sample(session, dataset.id, number, sample)
    what = f"{imaging.VERSION} {dataset.id} {row.image_sha256} {row.mask_sha256} {size} {kind}"
    headers = {
        "ETag": f'"{hashlib.sha256(what.encode()).hexdigest()[:32]}"',
        "Cache-Control": KEPT,
        "X-Content-Type-Options": "nosniff",
    }
    if matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if row.depth is not None:
        drawn = slice_picture(context.store, row, Axis.AXIAL, None, None)
        picture = imaging.render(drawn.image, drawn.label, None, size, kind, drawn.aspect)
        return Response(picture, headers=headers, media_type=f"image/{kind}")
    try:
        image = imaging.decode_image(fetched(context.store.read(keys.blob(dataset.id, row.image_sha256))))
        mask = imaging.decode_mask(fetched(context.store.read(keys.blob(dataset.id, row.mask_sha256))))
    except ObjectMissing as error:
        raise NotFound(f"The files of sample {row.name!r} are gone from the object store.") from error
    return Response(imaging.render(image, mask, None, size, kind), headers=headers, media_type=f"image/{kind}")
