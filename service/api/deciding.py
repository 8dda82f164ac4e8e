"""How a decision about a label is put down, whatever it is and wherever its mask comes from."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Header, Request, Response
from sqlalchemy.orm import Session

from service.actions import Action
from service.api.datasets import DatasetDep, VersionNumber
from service.api.dependencies import Context, ReviewDep, SessionDep
from service.db import audit, datasets, jobs, reviews, tables
from service.errors import FieldError, Invalid, PayloadTooLarge, PreconditionRequired
from service.resources.deciding import ReviewResource
from service.reviews.decisions import Decision
from service.reviews.masks import read_prediction as read_prediction_of
from service.roles import Caller

MAX_MASK_BYTES = 64 << 20


IfMatch = Annotated[
    str | None, Header(description='ETag of the review that was seen, such as "0" where there was none; or *')
]


def get_row(dataset: DatasetDep, number: VersionNumber, sample: str, session: SessionDep) -> tables.Sample:
    """The sample that the path names; raises `NotFound`."""
    return datasets.sample(session, dataset.id, number, sample)


RowDep = Annotated[tables.Sample, Depends(get_row, scope="function")]


async def read_mask_body(request: Request, _caller: ReviewDep) -> bytes:
    """Receive the file, once the caller is known to be allowed to send it; raises `PayloadTooLarge`."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_MASK_BYTES:
            raise PayloadTooLarge(f"The mask is larger than the {MAX_MASK_BYTES} bytes that are accepted here.")
    return bytes(content)


def read_sample(
    context: Context, caller: Caller, dataset_id: str, number: int, sample: str
) -> tuple[tables.Sample, tables.DatasetVersion]:
    """A sample with its version, read before anything is locked; raises `NotFound`."""
    with context.database.read() as session:
        datasets.get(session, dataset_id, caller.project_id)
        return datasets.sample(session, dataset_id, number, sample), datasets.version(session, dataset_id, number)


def put_down(
    context: Context,
    caller: Caller,
    row: tables.Sample,
    response: Response,
    if_match: str | None,
    decision: Decision,
    digest: str | None,
    note: str,
) -> ReviewResource:
    """Save a decision, with its line in the audit trail.

    Raises:
        PreconditionRequired: the caller does not say which state was seen.
        PreconditionFailed: it is another one by now.
    """
    with context.sessions.begin() as session:
        project = datasets.get(session, row.dataset_id, caller.project_id).project_id
        expected = expected_revision(session, row, if_match)
        review = reviews.decide(session, row, caller, expected, decision, new_mask_sha256=digest, note=note)
        facts = {"sample": row.name, "version": row.version, "decision": decision}
        audit.add(session, caller, Action.REVIEW_DECIDE, row.dataset_id, project, **facts)
        answer = resource(row, review)
    response.headers["ETag"] = etag(answer.revision)
    return answer


def read_prediction(context: Context, caller: Caller, row: tables.Sample, job_id: str | None) -> bytes:
    """The file of a job's prediction of a sample, in numbers of classes; raises `Invalid`: it is not there."""
    if job_id is None:
        hint = "name a job whose prediction it is, or PUT the mask to …/review/mask"
        raise Invalid("A correction needs a mask.", [FieldError(field="job_id", reason="is missing", hint=hint)])
    with context.database.read() as session:
        job = jobs.get_training(session, job_id)
        known = job is not None and caller.sees(job.project_id) and job.dataset_id == row.dataset_id
        if job is None or not known:
            fault = FieldError(field="job_id", reason=f"there is no job {job_id!r} over this dataset")
            raise Invalid("The prediction is not there.", [fault])
        there = datasets.sample(session, job.dataset_id, job.dataset_version, row.name)
    return read_prediction_of(context.store, row, job_id, there.ordinal)


def expected_revision(session: Session, row: tables.Sample, if_match: str | None) -> int:
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


def etag(revision: int) -> str:
    """The ETag of a review."""
    return f'"{revision}"'


def resource(row: tables.Sample, review: tables.Review | None) -> ReviewResource:
    """A review as the API shows it."""
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
