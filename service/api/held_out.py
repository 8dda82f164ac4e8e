"""How well the network that a job delivered does on the samples that it was not trained on."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from service.api.dependencies import SessionDep, require_key
from service.api.jobs import JobDep
from service.api.paging import PageSize, PageToken, decode, encode, page_limit
from service.api.problems import problems
from service.db import datasets, held_out, tables

router = APIRouter(
    prefix="/v1/jobs/{job_id}/held-out",
    tags=["samples"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404),
)


class HeldOutSample(BaseModel):
    """A sample that was not trained on."""

    sample: str = Field(description="its name, which is its id within the dataset version")
    ordinal: int
    dice: float = Field(description="of prediction and label, in [0, 1]; mean over the foreground classes")
    image: str
    overlay: str


class HeldOutPage(BaseModel):
    """Some held-out samples of a job, that with the lowest Dice first."""

    samples: list[HeldOutSample]
    total: int = Field(description="how many are held out, over all pages")
    next_page_token: str | None


@router.get("", responses=problems(400, 422))
def list_held_out(
    job: JobDep, session: SessionDep, page_size: PageSize = 50, page_token: PageToken = None
) -> HeldOutPage:
    """The Dice of each held-out sample, once the job has succeeded; the lowest first.

    Where a class is neither in the label nor in the prediction, its Dice is 1. Mean and standard deviation are
    `test_dice` and `test_dice_std` of the job's metrics.
    """
    arguments = {"list": "held out", "job": job.id}
    position = decode(page_token, arguments, float, int)
    limit = page_limit(page_size)
    found = held_out.page(session, job.id, limit + 1, after=(position[0], position[1]) if position else None)
    token = encode([found[limit - 1].dice, found[limit - 1].ordinal], arguments) if len(found) > limit else None
    version = datasets.version(session, job.dataset_id, job.dataset_version)
    return HeldOutPage(
        samples=[resource(row) for row in found[:limit]],
        total=version.sample_count - version.train_count,
        next_page_token=token,
    )


def resource(row: tables.HeldOutSample) -> HeldOutSample:
    """A held-out sample as the API shows it."""
    base = f"/v1/jobs/{row.job_id}/samples/{quote(row.name, safe='')}"
    return HeldOutSample(
        sample=row.name, ordinal=row.ordinal, dice=row.dice, image=f"{base}/image", overlay=f"{base}/overlay"
    )
