"""Painting on volumes: slices that somebody has changed become a mask of the whole volume, and a decision."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from service.api.datasets import VersionNumber
from service.api.deciding import IfMatch, put_down, read_mask_body, read_prediction, read_sample
from service.api.dependencies import Context, ContextDep, ReviewDep, require_key
from service.api.problems import problems
from service.datasets.archive import MemberFault
from service.db import reviews, tables
from service.errors import FieldError, Invalid, NotFound
from service.resources.deciding import ReviewResource
from service.resources.painting import PaintedSlices
from service.reviews.decisions import Decision, PaintBase
from service.reviews.masks import store_new_mask
from service.reviews.painted import Painted
from service.reviews.painting import paint
from service.slices import stored_volume
from workers.contract import keys
from workers.contract.store import ObjectMissing

router = APIRouter(
    prefix="/v1/datasets/{dataset_id}/versions/{number}",
    tags=["reviews"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 422),
)


def read_slices(content: Annotated[bytes, Depends(read_mask_body)]) -> PaintedSlices:
    """The body, which is only received from somebody who may send it; raises `RequestValidationError`."""
    try:
        return PaintedSlices.model_validate_json(content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from error


@router.put(
    "/samples/{sample}/review/slices",
    responses=problems(400, 403, 412, 413, 428, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PaintedSlices"}}},
        }
    },
)
def put_slices(
    dataset_id: str,
    number: VersionNumber,
    sample: str,
    wanted: Annotated[PaintedSlices, Depends(read_slices)],
    context: ContextDep,
    caller: ReviewDep,
    response: Response,
    if_match: IfMatch = None,
) -> ReviewResource:
    """Correct the label of a volume by slices: all of them or, where one cannot be used, none.

    The new mask has the label's affine, shape and type of voxels; it is checked as one that is sent whole.
    """
    row, version = read_sample(context, caller, dataset_id, number, sample)
    if row.depth is None:
        fault = FieldError(field="slices", reason="are of volumes only", hint="PUT the mask to …/review/mask")
        raise Invalid(f"Sample {row.name!r} is an image, not a volume.", [fault])
    if (wanted.base is PaintBase.PREDICTION) != (wanted.job_id is not None):
        reason = "is missing" if wanted.job_id is None else "goes with the base `prediction` only"
        raise Invalid("Say which prediction is meant.", [FieldError(field="job_id", reason=reason)])
    try:
        content = _painted(context, _base_of(context, caller, row, wanted), row, version, wanted)
    except (ObjectMissing, MemberFault) as error:
        raise NotFound(f"The masks of sample {row.name!r} are gone from the object store, or damaged.") from error
    digest = store_new_mask(context.store, context.settings.import_limits, row, version, content)
    return put_down(context, caller, row, response, if_match, Decision.CORRECTED, digest, wanted.note)


def _base_of(context: Context, caller: ReviewDep, row: tables.Sample, wanted: PaintedSlices) -> bytes | None:
    """The file that is painted on; None: the label's, or none."""
    if wanted.base is PaintBase.PREDICTION:
        return read_prediction(context, caller, row, wanted.job_id)
    if wanted.base is not PaintBase.CORRECTION:
        return None
    with context.database.read() as session:
        review = reviews.find(session, row)
    if review is None or review.new_mask_sha256 is None:
        fault = FieldError(field="base", reason="nobody has corrected this label", hint="begin with the label")
        raise Invalid("There is no correction to paint on.", [fault])
    return context.store.get(keys.blob(row.dataset_id, review.new_mask_sha256))


def _painted(
    context: Context,
    base: bytes | None,
    row: tables.Sample,
    version: tables.DatasetVersion,
    wanted: PaintedSlices,
) -> bytes:
    """The new mask's file."""
    values = version.mask_values
    slices = [Painted(one.axis, one.slice, one.png) for one in wanted.slices]
    with ExitStack() as stack:
        label = stack.enter_context(stored_volume(context.store.read(keys.blob(row.dataset_id, row.mask_sha256))))
        under = stack.enter_context(stored_volume([base])) if base is not None else None
        if wanted.base is PaintBase.LABEL:
            under = label
        target = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dale-paint-"))) / "mask"
        paint(label, under, values if wanted.base is PaintBase.PREDICTION else None, slices, values, target)
        return target.read_bytes()
