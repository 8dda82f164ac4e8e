"""A job's samples as pictures: the image as it is, and with label and prediction outlined."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Literal, cast

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from numpy.typing import NDArray

from service import heat, imaging
from service.api.blobs import blob_response
from service.api.datasets import IMAGE
from service.api.dependencies import ContextDep, SessionDep, require_key
from service.api.jobs import JobDep
from service.api.problems import problems
from service.api.ranges import matches
from service.api.volume_pictures import slice_headers, slice_picture
from service.axes import Axis
from service.db import datasets, tables
from service.errors import FieldError, Invalid, NotFound
from service.imaging import Picture
from service.jobs.lifecycle import State
from workers.contract import keys
from workers.contract.store import ObjectMissing, ObjectStore

router = APIRouter(
    prefix="/v1/jobs/{job_id}/samples/{sample}",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 503),
)
IN_MEMORY = 8 << 20


class Layer(StrEnum):
    """What became of the prediction's outline, or of the map, in the headers `Dale-Prediction` and `Dale-Map`."""

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
            "description": "the picture; headers `Dale-Prediction` and `Dale-Map` say `shown`, `off`, `not-yet` or "
            "`none`; of a volume, `Dale-Slice` and `Dale-Slices` say which slice it is, and how many there are along "
            "that axis, and `Dale-Aspect` the height of a voxel in units of its width",
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
    doubt: Annotated[
        bool, Query(alias="map", description="lay the doubted pixels over the image: violet, blue, cyan where surest")
    ] = False,
    map_opacity: Annotated[float, Query(ge=0, le=1, description="of the strongest doubt")] = heat.OPACITY,
    kind: Annotated[Literal["webp", "png"], Query(alias="format")] = "webp",
    axis: Annotated[Axis, Query(description="of a volume: what the slice that is shown is called")] = Axis.AXIAL,
    number: Annotated[
        int | None, Query(alias="slice", ge=0, description="of a volume; empty: the one with the most label")
    ] = None,
) -> Response:
    """The image with label and prediction outlined; there is a prediction, and a map, once the job has succeeded.

    Of a volume one slice is shown: by default that with the most of the label or, where it is empty, of the prediction.
    """
    if number is not None and row.depth is None:
        fault = FieldError(field="slice", reason="is of volumes only", hint="leave it out")
        raise Invalid(f"Sample {row.name!r} is an image, not a volume.", [fault])
    state, mapped = _state(job, prediction), _state(job, doubt)
    what = f"{imaging.VERSION} {job.id} {row.image_sha256} {row.mask_sha256} {size} {label} {state} {kind}"
    if row.depth is not None:
        what += f" {axis} {job.state if number is None else number}"  # a prediction may choose another slice
    what += f" {mapped} {map_opacity}" if doubt else ""
    headers = {
        "ETag": f'"{hashlib.sha256(what.encode()).hexdigest()[:32]}"',
        "Cache-Control": "private, no-cache",  # it changes when the job ends; asking again is cheap
        "X-Content-Type-Options": "nosniff",
        "Dale-Prediction": state,
        "Dale-Map": mapped,
    }
    if matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    of_prediction = job.id if state is Layer.SHOWN else None
    of_map = job.id if mapped is Layer.SHOWN else None
    drawn: Picture
    if row.depth is not None:
        predicting = job.id if State(job.state) is State.SUCCEEDED else None
        drawn = cut = slice_picture(
            context.store, row, axis, number, predicting, of_map, label=label, prediction=of_prediction is not None
        )
        headers |= slice_headers(cut.at, cut.aspect)
    else:
        drawn = _picture(context.store, row, label, of_prediction, of_map)
    for name, asked, found in (
        ("Dale-Prediction", of_prediction, drawn.prediction),
        ("Dale-Map", of_map, drawn.doubt),
    ):
        if asked and found is None:
            headers[name] = Layer.NONE
            headers.pop("ETag", None)
    picture = imaging.render(
        drawn.image, drawn.label, drawn.prediction, size, kind, drawn.aspect, drawn.doubt, map_opacity
    )
    return Response(picture, headers=headers, media_type=f"image/{kind}")


def _state(job: tables.Job, asked: bool) -> Layer:
    if not asked:
        return Layer.OFF
    state = State(job.state)
    if state is State.SUCCEEDED:
        return Layer.SHOWN
    return Layer.NONE if state.terminal else Layer.NOT_YET


def _picture(
    store: ObjectStore, row: tables.Sample, labelled: bool, of_prediction: str | None, of_map: str | None
) -> Picture:
    """An image and, if asked for, its label; with jobs, the prediction and the map of these, where they are there.

    Raises:
        NotFound: the files of the sample are gone.
    """
    try:
        image = imaging.decode_image(fetched(store.read(keys.blob(row.dataset_id, row.image_sha256))))
        label = None
        if labelled:
            label = imaging.decode_mask(fetched(store.read(keys.blob(row.dataset_id, row.mask_sha256))))
    except ObjectMissing as error:
        raise NotFound(f"The files of sample {row.name!r} are gone from the object store.") from error
    prediction = _mask(store, keys.prediction(of_prediction, row.ordinal)) if of_prediction else None
    doubt = _mask(store, keys.doubt_map(of_map, row.ordinal)) if of_map else None
    return Picture(image, label, prediction, doubt)


def _mask(store: ObjectStore, key: str) -> NDArray[np.uint8] | None:
    try:
        return imaging.decode_mask(fetched(store.read(key)))
    except ObjectMissing:
        return None


def fetched(chunks: Iterable[bytes]) -> IO[bytes]:
    """An object as a seekable file; a large one lies on disk."""
    file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed with its last reference
    for chunk in chunks:
        file.write(chunk)
    file.seek(0)
    return cast("IO[bytes]", file)
