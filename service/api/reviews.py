"""Reviews: what people decide about labels, one at a time and safe against each other, and what comes of it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from service.api.blobs import blob_response
from service.api.datasets import IMAGE, DatasetDep, VersionNumber
from service.api.dependencies import Context, ContextDep, ReviewDep, SessionDep, require_key
from service.api.fields import Id
from service.api.paging import PageSize, PageToken, decode, encode, page_limit
from service.api.problems import problems
from service.db import audit, datasets, jobs, reviews, tables
from service.errors import FieldError, Invalid, NotFound, PayloadTooLarge, PreconditionRequired
from service.reviews.decisions import Decision
from service.reviews.masks import store_new_mask, store_prediction
from service.roles import Caller

router = APIRouter(
    prefix="/v1/datasets/{dataset_id}/versions/{number}",
    tags=["reviews"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 422),
)
MAX_MASK_BYTES = 64 << 20
Note = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$", description="for people")]
IfMatch = Annotated[
    str | None, Header(description='ETag of the review that was seen, such as "0" where there was none; or *')
]


class ReviewEvent(BaseModel):
    """Something that was decided of a label, or undone."""

    decision: Decision | None = Field(description="in force from here on; null: nothing")
    undo: bool = Field(description="whether it was an undo, which brought that back")
    note: str
    by: str = Field(description="name of the key")
    key_id: str
    at: datetime


class ReviewResource(BaseModel):
    """What is decided of a sample's label; it holds in every version that has this label."""

    sample: str
    mask_sha256: str = Field(description="the label that it is about")
    revision: int = Field(description="0: nobody has decided yet; the ETag")
    decision: Decision | None
    note: str
    by: str | None = Field(description="name of the key that changed it last")
    key_id: str | None
    at: datetime | None
    new_mask: str | None = Field(description="where the mask is that is to take the label's place")
    new_mask_sha256: str | None


class ReviewDetail(ReviewResource):
    """The same with how it came about."""

    history: list[ReviewEvent] = Field(description="oldest first")


class ReviewPage(BaseModel):
    """What is decided of a version's labels, in the order of the samples' names."""

    reviews: list[ReviewResource]
    counts: dict[Decision, int] = Field(description="of the split, over all pages and decisions")
    undecided: int
    next_page_token: str | None


class NewDecision(BaseModel):
    """What to put down."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision
    note: Note = ""
    job_id: Id | None = Field(
        default=None,
        description="with `corrected`: the prediction of this job takes the label's place; to send a mask of your own, "
        "PUT …/review/mask",
    )


def get_row(dataset: DatasetDep, number: VersionNumber, sample: str, session: SessionDep) -> tables.Sample:
    """The sample that the path names; raises `NotFound`."""
    return datasets.sample(session, dataset.id, number, sample)


RowDep = Annotated[tables.Sample, Depends(get_row, scope="function")]


@router.get("/reviews", responses=problems(400))
def list_reviews(
    dataset: DatasetDep,
    number: VersionNumber,
    session: SessionDep,
    decision: Decision | None = None,
    split: Annotated[
        Literal["train", "test"] | None, Query(description="train: of what is trained on; test: of what is held out")
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
    trained, held_out = version.train_count, version.sample_count - version.train_count
    samples = trained * (split != TEST) + held_out * (split != TRAIN)
    return ReviewPage(
        reviews=[_resource(row, review) for row, review in found[:limit]],
        counts=counts,
        undecided=samples - sum(counts.values()),
        next_page_token=encode([found[limit - 1][0].name], arguments) if len(found) > limit else None,
    )


@router.get("/samples/{sample}/review")
def read_review(row: RowDep, session: SessionDep, response: Response) -> ReviewDetail:
    """What is decided of one label, and how that came about."""
    review = reviews.find(session, row)
    seen = _resource(row, review)
    response.headers["ETag"] = _etag(seen.revision)
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


@router.put("/samples/{sample}/review", responses=problems(403, 412, 413, 428, 503))
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
    row, version = _read(context, caller, dataset_id, number, sample)
    digest = None
    if wanted.decision is Decision.CORRECTED:
        digest = _take_prediction(context, caller, row, version, wanted.job_id)
    elif wanted.job_id is not None:
        fault = FieldError(field="job_id", reason="is for corrections only", hint="leave it out")
        raise Invalid("Only a correction takes something from a job.", [fault])
    return _decide(context, caller, row, response, if_match, wanted.decision, digest, wanted.note)


async def read_mask_body(request: Request, _caller: ReviewDep) -> bytes:
    """Receive the file, once the caller is known to be allowed to send it; raises `PayloadTooLarge`."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_MASK_BYTES:
            raise PayloadTooLarge(f"The mask is larger than the {MAX_MASK_BYTES} bytes that are accepted here.")
    return bytes(content)


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
    row, version = _read(context, caller, dataset_id, number, sample)
    digest = store_new_mask(context.store, context.settings.import_limits, row, version, content)
    return _decide(context, caller, row, response, if_match, Decision.CORRECTED, digest, note)


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
    row, _ = _read(context, caller, dataset_id, number, sample)
    with context.sessions.begin() as session:
        project = datasets.get(session, dataset_id, caller.project_id).project_id
        review = reviews.undo(session, row, caller, _expected(session, row, if_match))
        facts = {"sample": row.name, "version": number, "decision": review.decision}
        audit.add(session, caller, audit.Action.REVIEW_UNDO, dataset_id, project, **facts)
        answer = _resource(row, review)
    response.headers["ETag"] = _etag(answer.revision)
    return answer


def _read(
    context: Context, caller: Caller, dataset_id: str, number: int, sample: str
) -> tuple[tables.Sample, tables.DatasetVersion]:
    """A sample with its version, read before anything is locked; raises `NotFound`."""
    with context.database.read() as session:
        datasets.get(session, dataset_id, caller.project_id)
        return datasets.sample(session, dataset_id, number, sample), datasets.version(session, dataset_id, number)


def _decide(
    context: Context,
    caller: Caller,
    row: tables.Sample,
    response: Response,
    if_match: str | None,
    decision: Decision,
    digest: str | None,
    note: str,
) -> ReviewResource:
    with context.sessions.begin() as session:
        project = datasets.get(session, row.dataset_id, caller.project_id).project_id
        expected = _expected(session, row, if_match)
        review = reviews.decide(session, row, caller, expected, decision, new_mask_sha256=digest, note=note)
        facts = {"sample": row.name, "version": row.version, "decision": decision}
        audit.add(session, caller, audit.Action.REVIEW_DECIDE, row.dataset_id, project, **facts)
        answer = _resource(row, review)
    response.headers["ETag"] = _etag(answer.revision)
    return answer


def _take_prediction(
    context: Context, caller: Caller, row: tables.Sample, version: tables.DatasetVersion, job_id: str | None
) -> str:
    """Store a job's prediction of a sample as a mask; returns its sha256."""
    if job_id is None:
        hint = "name a job whose prediction it is, or PUT the mask to …/review/mask"
        raise Invalid("A correction needs a mask.", [FieldError(field="job_id", reason="is missing", hint=hint)])
    with context.database.read() as session:
        job = jobs.get_job(session, job_id)
        known = job is not None and caller.sees(job.project_id) and job.dataset_id == row.dataset_id
        if job is None or not known:
            fault = FieldError(field="job_id", reason=f"there is no job {job_id!r} over this dataset")
            raise Invalid("The prediction is not there.", [fault])
        there = datasets.sample(session, job.dataset_id, job.dataset_version, row.name)
    limits = context.settings.import_limits
    return store_prediction(context.store, limits, row, version, job_id, there.ordinal)


def _expected(session: Session, row: tables.Sample, if_match: str | None) -> int:
    """The revision that the caller has seen."""
    if if_match is None:
        raise PreconditionRequired(
            'Say which state of the review you have seen: If-Match with its ETag, "0" where there is none yet.'
        )
    if if_match.strip() == "*":
        review = reviews.find(session, row, lock=True)
        return review.revision if review else reviews.NEVER
    seen = re.fullmatch(r'"(\d{1,9})"', if_match.strip())
    return int(seen[1]) if seen else -1


def _etag(revision: int) -> str:
    return f'"{revision}"'


def _resource(row: tables.Sample, review: tables.Review | None) -> ReviewResource:
    base = f"/v1/datasets/{row.dataset_id}/versions/{row.version}/samples/{quote(row.name, safe='')}/review"
    decided = review is not None and review.decision is not None
    return ReviewResource(
        sample=row.name,
        mask_sha256=row.mask_sha256,
        revision=review.revision if review else reviews.NEVER,
        decision=Decision(review.decision) if review and review.decision else None,
        note=review.note if review and decided else "",
        by=review.key_name if review else None,
        key_id=review.key_id if review else None,
        at=review.at if review else None,
        new_mask=f"{base}/mask" if review and review.new_mask_sha256 else None,
        new_mask_sha256=review.new_mask_sha256 if review else None,
    )
