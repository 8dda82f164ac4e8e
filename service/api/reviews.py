"""Reviews: what people decide about labels, one at a time and safe against each other, and what comes of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from service.actions import Action
from service.api.blobs import blob_response
from service.api.datasets import IMAGE, DatasetDep, VersionNumber
from service.api.deciding import (
    IfMatch,
    RowDep,
    etag,
    expected_revision,
    put_down,
    read_mask_body,
    read_prediction,
    read_sample,
    resource,
)
from service.api.dependencies import ContextDep, ReviewDep, SessionDep, require_key
from service.api.paging import PageSize, PageToken, decode, encode, page_limit
from service.api.problems import problems
from service.datasets.kinds import Media
from service.db import audit, datasets, reviews
from service.errors import FieldError, Invalid, NotFound
from service.resources.datasets import Split
from service.resources.deciding import Note, ReviewResource
from service.resources.reviews import NewDecision, ReviewDetail, ReviewEvent, ReviewPage
from service.reviews.decisions import Decision
from service.reviews.masks import prediction_as_mask, store_new_mask
from workers.contract.tables import TEST, TRAIN, VALIDATION

router = APIRouter(
    prefix="/v1/datasets/{dataset_id}/versions/{number}",
    tags=["reviews"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 422),
)


@router.get("/reviews", responses=problems(400))
def list_reviews(
    dataset: DatasetDep,
    number: VersionNumber,
    session: SessionDep,
    decision: Decision | None = None,
    split: Annotated[
        Split | None,
        Query(description="train: what is trained on; validation: what epochs are compared on; test: what is held out"),
    ] = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> ReviewPage:
    """What is decided of the labels of a version; decisions about the same labels in other versions count.

    The counts are over `split`, whatever decisions are listed.
    """
    arguments = {
        "list": "reviews",
        "dataset": dataset.id,
        "version": number,
        "decision": decision,
        "split": split,
    }
    position = decode(page_token, arguments, str)
    limit = page_limit(page_size)
    version = datasets.version(session, dataset.id, number)
    after = position[0] if position else None
    found = reviews.page(session, dataset.id, number, decision, limit + 1, after, split)
    counts = reviews.counts(session, dataset.id, number, split)
    of_split = {TRAIN: version.train_count, VALIDATION: version.validation_count, TEST: version.test_count}
    samples = version.sample_count if split is None else of_split[split]
    return ReviewPage(
        reviews=[resource(row, review) for row, review in found[:limit]],
        counts=counts,
        undecided=samples - sum(counts.values()),
        next_page_token=encode([found[limit - 1][0].name], arguments) if len(found) > limit else None,
    )


@router.get("/samples/{sample}/review")
def read_review(row: RowDep, session: SessionDep, response: Response) -> ReviewDetail:
    """What is decided of one label, and how that came about."""
    review = reviews.find(session, row)
    seen = resource(row, review)
    response.headers["ETag"] = etag(seen.revision)
    history = [
        ReviewEvent(
            decision=Decision(event.decision) if event.decision else None,
            undo=event.undo,
            note=event.note,
            by=event.key_name,
            key_id=event.key_id,
            at=event.at,
        )
        for event in reviews.history(session, row)
    ]
    return ReviewDetail(**seen.model_dump(), history=history)


@router.put("/samples/{sample}/review", responses=problems(400, 403, 412, 413, 428, 503))
def put_review(
    dataset_id: str,
    number: VersionNumber,
    sample: str,
    wanted: NewDecision,
    context: ContextDep,
    caller: ReviewDep,
    response: Response,
    if_match: IfMatch = None,
) -> ReviewResource:
    """Decide about a label. `If-Match` says which state of it was seen: nobody's decision is overwritten unseen."""
    row, version = read_sample(context, caller, dataset_id, number, sample)
    digest = None
    if wanted.decision is Decision.CORRECTED:
        prediction = read_prediction(context, caller, row, wanted.job_id)
        media = Media.IMAGE if row.depth is None else Media.VOLUME
        mask = prediction_as_mask(prediction, version.mask_values, media)
        digest = store_new_mask(context.store, context.settings.import_limits, row, version, mask)
    elif wanted.job_id is not None:
        fault = FieldError(field="job_id", reason="is for corrections only", hint="leave it out")
        raise Invalid("Only a correction takes something from a job.", [fault])
    return put_down(context, caller, row, response, if_match, wanted.decision, digest, wanted.note)


@router.put(
    "/samples/{sample}/review/mask",
    responses=problems(403, 412, 413, 428, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("image/png", "application/gzip", "application/octet-stream")
            },
        }
    },
)
def put_mask(
    dataset_id: str,
    number: VersionNumber,
    sample: str,
    content: Annotated[bytes, Depends(read_mask_body)],
    context: ContextDep,
    caller: ReviewDep,
    response: Response,
    note: Annotated[Note, Query()] = "",
    if_match: IfMatch = None,
) -> ReviewResource:
    """Correct a label: this mask, which must have the dataset's own values, is to take its place."""
    row, version = read_sample(context, caller, dataset_id, number, sample)
    digest = store_new_mask(context.store, context.settings.import_limits, row, version, content)
    return put_down(context, caller, row, response, if_match, Decision.CORRECTED, digest, note)


@router.get("/samples/{sample}/review/mask", response_class=Response, responses=IMAGE)
def read_mask(row: RowDep, session: SessionDep, context: ContextDep, request: Request) -> Response:
    """The mask that is to take the label's place."""
    review = reviews.find(session, row)
    if review is None or review.new_mask_sha256 is None:
        raise NotFound(f"No mask is to take the place of the label of sample {row.name!r}.")
    return blob_response(request, context.store, row.dataset_id, review.new_mask_sha256)


@router.post("/samples/{sample}/review:undo", responses=problems(403, 409, 412, 428))
def undo_review(
    dataset_id: str,
    number: VersionNumber,
    sample: str,
    context: ContextDep,
    caller: ReviewDep,
    response: Response,
    if_match: IfMatch = None,
) -> ReviewResource:
    """Go back to what was decided before; asked again, to what was before that."""
    row, _ = read_sample(context, caller, dataset_id, number, sample)
    with context.sessions.begin() as session:
        project = datasets.get(session, dataset_id, caller.project_id).project_id
        review = reviews.undo(session, row, caller, expected_revision(session, row, if_match))
        facts = {"sample": row.name, "version": number, "decision": review.decision}
        audit.add(session, caller, Action.REVIEW_UNDO, dataset_id, project, **facts)
        answer = resource(row, review)
    response.headers["ETag"] = etag(answer.revision)
    return answer
