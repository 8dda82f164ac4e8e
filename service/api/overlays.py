"""A job's samples as pictures: the image as it is, and with label and prediction outlined."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Literal, cast

from fastapi import APIRouter, Depends, Query, Request, Response

from service import imaging
from service.api.blobs import blob_response
from service.api.datasets import IMAGE
from service.api.dependencies import ContextDep, SessionDep, require_key
from service.api.jobs import JobDep
from service.api.problems import problems
from service.api.ranges import matches
from service.api.volume_pictures import slice_headers, slice_picture
from service.db import datasets, tables
from service.errors import FieldError, Invalid, NotFound
from service.jobs.lifecycle import State
from service.slices import Axis
from workers.contract import keys
from workers.contract.store import ObjectMissing

router = APIRouter(
    prefix="/v1/jobs/{job_id}/samples/{sample}",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 503),
)
IN_MEMORY = 8 << 20


class Prediction(StrEnum):
    """What became of the prediction's outline, in the header `Dale-Prediction`."""

    SHOWN = "shown"
    OFF = "off"
    NOT_YET = "not-yet"
    NONE = "none"


def get_row(job: JobDep, sample: str, session: SessionDep) -> tables.Sample:
    """The sample that the path names; unlike its confidence it is there before the first epoch is."""
    return datasets.sample(session, job.dataset_id, job.dataset_version, sample)


RowDep = Annotated[tables.Sample, Depends(get_row, scope="function")]


@router.get("/image", response_class=Response, responses=IMAGE)
def read_image(row: RowDep, context: ContextDep, request: Request) -> Response:
    """The image as it was uploaded."""
    return blob_response(request, context.store, row.dataset_id, row.image_sha256)


@router.get(
    "/overlay",
    response_class=Response,
    responses={
        200: {
            "description": "the picture; header `Dale-Prediction` says `shown`, `off`, `not-yet` or `none`; of a "
            "volume, `Dale-Slice` and `Dale-Slices` say which slice it is, and how many there are along that axis, and "
            "`Dale-Aspect` the height of a voxel in units of its width",
            "content": {kind: {"schema": {"type": "string"}} for kind in ("image/webp", "image/png")},
        },
        304: {"description": "the client's copy is the picture"},
        **problems(422),
    },
)
def read_overlay(
    job: JobDep,
    row: RowDep,
    context: ContextDep,
    request: Request,
    size: Annotated[int, Query(ge=64, le=2048, description="longer side of the picture, in pixels")] = 256,
    label: Annotated[bool, Query(description="outline the label: blue, solid")] = True,
    prediction: Annotated[bool, Query(description="outline the prediction: orange, dashed")] = True,
    kind: Annotated[Literal["webp", "png"], Query(alias="format")] = "webp",
    axis: Annotated[Axis, Query(description="of a volume: what the slice that is shown is called")] = Axis.AXIAL,
    number: Annotated[
        int | None, Query(alias="slice", ge=0, description="of a volume; empty: the one with the most label")
    ] = None,
) -> Response:
    """The image with label and prediction outlined; there is a prediction once the job has succeeded.

    Of a volume one slice is shown: by default that with the most of the label or, where it is empty, of the prediction.
    """
    if number is not None and row.depth is None:
        fault = FieldError(field="slice", reason="is of volumes only", hint="leave it out")
        raise Invalid(f"Sample {row.name!r} is an image, not a volume.", [fault])
    state = _prediction_state(job, prediction)
    what = f"{imaging.VERSION} {job.id} {row.image_sha256} {row.mask_sha256} {size} {label} {state} {kind}"
    if row.depth is not None:
        what += f" {axis} {job.state if number is None else number}"  # a prediction may choose another slice
    headers = {
        "ETag": f'"{hashlib.sha256(what.encode()).hexdigest()[:32]}"',
        "Cache-Control": "private, no-cache",  # it changes when the job ends; asking again is cheap
        "X-Content-Type-Options": "nosniff",
        "Dale-Prediction": state,
    }
    if matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if row.depth is not None:
        predicting = job.id if State(job.state) is State.SUCCEEDED else None
        drawn = slice_picture(context.store, row, axis, number, predicting, label=label, prediction=prediction)
        headers |= slice_headers(drawn.at, drawn.aspect)
        if state is Prediction.SHOWN and drawn.prediction is None:
            headers["Dale-Prediction"] = Prediction.NONE
            del headers["ETag"]
        picture = imaging.render(drawn.image, drawn.label, drawn.prediction, size, kind, drawn.aspect)
        return Response(picture, headers=headers, media_type=f"image/{kind}")
    try:
        image = imaging.decode_image(fetched(context.store.read(keys.blob(row.dataset_id, row.image_sha256))))
        mask = None
        if label:
            mask = imaging.decode_mask(fetched(context.store.read(keys.blob(row.dataset_id, row.mask_sha256))))
    except ObjectMissing as error:
        raise NotFound(f"The files of sample {row.name!r} are gone from the object store.") from error
    predicted = None
    if state is Prediction.SHOWN:
        try:
            predicted = imaging.decode_mask(fetched(context.store.read(keys.prediction(job.id, row.ordinal))))
        except ObjectMissing:
            headers["Dale-Prediction"] = Prediction.NONE
            del headers["ETag"]
    picture = imaging.render(image, mask, predicted, size, kind)
    return Response(picture, headers=headers, media_type=f"image/{kind}")


def _prediction_state(job: tables.Job, asked: bool) -> Prediction:
    if not asked:
        return Prediction.OFF
    state = State(job.state)
    if state is State.SUCCEEDED:
        return Prediction.SHOWN
    return Prediction.NONE if state.terminal else Prediction.NOT_YET


def fetched(chunks: Iterable[bytes]) -> IO[bytes]:
    """An object as a seekable file; a large one lies on disk."""
    file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed with its last reference
    for chunk in chunks:
        file.write(chunk)
    file.seek(0)
    return cast("IO[bytes]", file)
