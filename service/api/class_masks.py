"""Masks of a job's images as every browser can draw them: PNG whose grey levels are the numbers of the classes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from numpy.typing import NDArray
from PIL import Image

from service import imaging
from service.api.dependencies import ContextDep, SessionDep, require_key
from service.api.jobs import JobDep
from service.api.overlays import RowDep
from service.api.problems import problems
from service.api.ranges import matches
from service.db import datasets, reviews
from service.errors import FieldError, Invalid, NotFound
from workers.contract import keys
from workers.contract.store import ObjectMissing

router = APIRouter(
    prefix="/v1/jobs/{job_id}/samples/{sample}",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 422, 503),
)


class MaskKind(StrEnum):
    """Whose idea of the lesion it is."""

    LABEL = "label"  # that the job was trained on
    PREDICTION = "prediction"  # the network's, once the job has succeeded
    CORRECTION = "correction"  # that a reviewer put in the label's place


@router.get(
    "/masks/{kind}",
    response_class=Response,
    responses={
        200: {"description": "the mask, of the image's own size", "content": {"image/png": {"schema": {}}}},
        304: {"description": "the client's copy is the mask"},
    },
)
def read_mask(
    job: JobDep, row: RowDep, kind: MaskKind, session: SessionDep, context: ContextDep, request: Request
) -> Response:
    """A mask of an image, 8 bits of grey: 0 is background, n the n-th of the dataset's other mask values."""
    if row.depth is not None:
        fault = FieldError(field="kind", reason="is of images only", hint="GET …/overlay shows slices of volumes")
        raise Invalid(f"Sample {row.name!r} is a volume, not an image.", [fault])
    if kind is MaskKind.PREDICTION:
        key, named = keys.prediction(job.id, row.ordinal), f"{job.id} {job.finished_at} {row.ordinal}"
    else:
        digest: str | None = row.mask_sha256
        if kind is MaskKind.CORRECTION:
            review = reviews.find(session, row)
            digest = review.new_mask_sha256 if review else None
        if digest is None:
            raise NotFound(f"No mask is to take the place of the label of sample {row.name!r}.")
        key = named = keys.blob(row.dataset_id, digest)
    tag = hashlib.sha256(f"{kind} {named}".encode()).hexdigest()[:32]
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
    if matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        pixels = imaging.decode_mask(io.BytesIO(context.store.get(key)))
    except ObjectMissing as error:
        hint = "it has one once it has succeeded" if kind is MaskKind.PREDICTION else "it is gone from the object store"
        raise NotFound(f"Job {job.id} has no {kind} of sample {row.name!r}: {hint}.") from error
    if kind is not MaskKind.PREDICTION:  # predictions are numbers of classes already
        values = datasets.version(session, job.dataset_id, job.dataset_version).mask_values
        pixels = class_numbers(pixels, values)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG", compress_level=1)
    return Response(sink.getvalue(), headers=headers, media_type="image/png")


def class_numbers(pixels: NDArray[np.uint8], values: Sequence[int]) -> NDArray[np.uint8]:
    """A mask (H, W) of the dataset's values as numbers of classes: places in the list of values."""
    table = np.zeros(256, np.uint8)
    table[list(values)] = np.arange(len(values))
    numbers: NDArray[np.uint8] = table[pixels]
    return numbers
