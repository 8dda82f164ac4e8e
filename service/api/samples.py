"""Samples of a job by confidence: what to look at first, and how the belief in a label came about."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends

from service.api.dependencies import SessionDep, require_key
from service.api.jobs import JobDep
from service.api.paging import PageSize, PageToken, decode, encode, page_limit
from service.api.problems import problems
from service.api.sample_filters import SampleFilterDep
from service.db import jobs, tables
from service.errors import NotFound
from service.resources.samples import HistoryPoint, SampleHistory, SampleLinks, SamplePage, SampleResource
from service.reviews.reasons import ReasonKind

router = APIRouter(
    prefix="/v1/jobs/{job_id}/samples",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404),
)


class Order(StrEnum):
    """What samples can be sorted by."""

    SCORE = "score"
    CONFIDENCE = "confidence"
    NAME = "name"
    DICE = "dice"


class Direction(StrEnum):
    """Smallest or largest first."""

    ASC = "asc"
    DESC = "desc"


def resource(row: tables.JobSample) -> SampleResource:
    """A sample as the API shows it."""
    base = f"/v1/jobs/{row.job_id}/samples/{quote(row.name, safe='')}"
    return SampleResource(
        sample=row.name,
        ordinal=row.ordinal,
        rank=row.rank,
        epoch=row.epoch,
        confidence=row.confidence,
        score=row.score,
        dice=row.dice,
        expected_dice=row.expected_dice,
        reason=row.reason,
        reason_kind=ReasonKind(row.reason_kind) if row.reason_kind else None,
        links=SampleLinks(
            self=base,
            history=f"{base}/history",
            image=f"{base}/image",
            overlay=f"{base}/overlay",
            map=f"{base}/map",
        ),
    )


def get_sample(sample: str, job: JobDep, session: SessionDep) -> tables.JobSample:
    """The sample that the path names.

    Raises:
        NotFound: there is none, or no epoch is finished yet.
    """
    found = jobs.find_sample(session, job.id, sample)
    if found is None:
        reason = "It has finished no epoch yet." if job.epochs_done == 0 else ""
        raise NotFound(f"Job {job.id} has no confidence for a sample {sample!r}. {reason}".strip())
    return found


SampleDep = Annotated[tables.JobSample, Depends(get_sample, scope="function")]


@router.get("", responses=problems(400, 422))
def list_samples(
    job: JobDep,
    session: SessionDep,
    wanted: SampleFilterDep,
    order_by: Order = Order.SCORE,
    order: Direction = Direction.ASC,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> SamplePage:
    """Samples by confidence, the most doubted first unless asked otherwise.

    While a job runs, its values move with every epoch, and so may samples between two pages.
    """
    arguments = {
        "list": "samples",
        "job": job.id,
        "filter": asdict(wanted),
        "order": [order_by, order],
    }
    position = decode(page_token, arguments, str if order_by is Order.NAME else float, int)
    filters = wanted.conditions(job)
    limit = page_limit(page_size)
    found = jobs.page_of_samples(
        session,
        job.id,
        order_by=order_by,
        descending=order is Direction.DESC,
        filters=filters,
        after=(position[0], position[1]) if position else None,
        limit=limit + 1,
    )
    token = None
    if len(found) > limit:
        last = found[limit - 1]
        token = encode([getattr(last, order_by), last.ordinal], arguments)
    return SamplePage(
        samples=[resource(row) for row in found[:limit]],
        total=jobs.count_samples(session, job, filters),
        next_page_token=token,
    )


@router.get("/{sample}")
def read_sample(row: SampleDep) -> SampleResource:
    """What the job believes of one sample's label now."""
    return resource(row)


@router.get("/{sample}/history")
def read_history(row: SampleDep, session: SessionDep) -> SampleHistory:
    """What the job believed of one sample's label, epoch by epoch."""
    points = [
        HistoryPoint(
            epoch=point.epoch,
            confidence=point.confidence,
            score=point.score,
            dice=point.dice,
            expected_dice=point.expected_dice,
        )
        for point in jobs.history(session, row.job_id, row.ordinal)
    ]
    return SampleHistory(sample=row.name, history=points)
