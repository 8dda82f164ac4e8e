"""Masks of a job's images as every browser can draw them: PNG whose grey levels are the numbers of the classes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from numpy.typing import NDArray
from PIL import Image

from service import imaging
from service.api.dependencies import ContextDep, SessionDep, require_key
from service.api.jobs import JobDep
from service.api.overlays import RowDep
from service.api.problems import problems
from service.api.ranges import matches
from service.api.volume_pictures import mask_slice, slice_headers
from service.axes import Axis
from service.datasets.volumes import MAX_VALUE
from service.db import datasets, reviews
from service.errors import FieldError, Invalid, NotFound
from service.reviews.decisions import MaskKind
from workers.contract import keys
from workers.contract.store import ObjectMissing

router = APIRouter(
    prefix="/v1/jobs/{job_id}/samples/{sample}",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 422, 503),
)


@router.get(
    "/masks/{kind}",
    response_class=Response,
    responses={
        200: {
            "description": "the mask, of the image's own size; of a volume `Dale-Slice`, `Dale-Slices` and "
            "`Dale-Aspect` say which slice it is, how many there are, and the height of a voxel in units of its width",
            "content": {"image/png": {"schema": {}}},
        },
        304: {"description": "the client's copy is the mask"},
    },
)
def read_mask(
    job: JobDep,
    row: RowDep,
    kind: MaskKind,
    session: SessionDep,
    context: ContextDep,
    request: Request,
    axis: Annotated[Axis, Query(description="of a volume: what the slice is called")] = Axis.AXIAL,
    number: Annotated[int | None, Query(alias="slice", ge=0, description="of a volume: which slice")] = None,
) -> Response:
    """A mask, 8 bits of grey: 0 is background, n the n-th of the dataset's other mask values.

    Of a volume one slice, voxel by voxel, turned as `…/overlay` shows it.
    """
    if (row.depth is None) != (number is None):
        reason, hint = ("is of volumes only", "leave it out") if row.depth is None else ("is missing", "say which one")
        what = "an image, not a volume" if row.depth is None else "a volume: its masks come slice by slice"
        raise Invalid(f"Sample {row.name!r} is {what}.", [FieldError(field="slice", reason=reason, hint=hint)])
    if kind is MaskKind.PREDICTION:
        key = keys.prediction(job.id, row.ordinal, "png" if row.depth is None else "nii.gz")
        named = f"{job.id} {job.finished_at} {row.ordinal}"
    else:
        digest: str | None = row.mask_sha256
        if kind is MaskKind.CORRECTION:
            review = reviews.find(session, row)
            digest = review.new_mask_sha256 if review else None
        if digest is None:
            raise NotFound(f"No mask is to take the place of the label of sample {row.name!r}.")
        key = named = keys.blob(row.dataset_id, digest)
    part = "" if number is None else f" {axis} {number}"
    tag = hashlib.sha256(f"{kind} {named}{part}".encode()).hexdigest()[:32]
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
    if matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    pixels: NDArray[np.generic]
    try:
        if number is None:
            pixels = imaging.decode_mask(io.BytesIO(context.store.get(key)))
        else:
            pixels, at, aspect = mask_slice(context.store, row, key, axis, number)
            headers |= slice_headers(at, aspect)
    except ObjectMissing as error:
        hint = "it has one once it has succeeded" if kind is MaskKind.PREDICTION else "it is gone from the object store"
        raise NotFound(f"Job {job.id} has no {kind} of sample {row.name!r}: {hint}.") from error
    if kind is not MaskKind.PREDICTION:  # predictions are numbers of classes already
        values = datasets.version(session, job.dataset_id, job.dataset_version).mask_values
        pixels = class_numbers(pixels, values)
    sink = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(sink, "PNG", compress_level=1)
    return Response(sink.getvalue(), headers=headers, media_type="image/png")


def class_numbers(pixels: NDArray[np.generic], values: Sequence[int]) -> NDArray[np.uint8]:
    """A mask (H, W) of the dataset's values as numbers of classes: places in the list of values."""
    table = np.zeros(MAX_VALUE + 1, np.uint8)
    table[list(values)] = np.arange(len(values))
    numbers: NDArray[np.uint8] = table[pixels.astype(np.int64)]  # NIfTI may hold them as floats
    return numbers
