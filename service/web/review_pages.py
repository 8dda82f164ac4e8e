"""The pages of a review: the grid of a job's samples with one of them large, and what came of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service import heat
from service.api.dependencies import ContextDep, SessionDep
from service.api.jobs import resource
from service.api.maps import has_maps
from service.db import datasets, differences, jobs
from service.jobs.lifecycle import State
from service.roles import Role
from service.web.pages import VisitorDep, missing, page, to_sign_in

PER_PAGE = 24

router = APIRouter(include_in_schema=False)


@router.get("/jobs/{job_id}/review")
def show_review(
    request: Request, job_id: str, session: SessionDep, visitor: VisitorDep, context: ContextDep
) -> Response:
    """All samples of a job to look through and decide about; the page asks the API for whatever is on the screen."""
    if visitor is None:
        return to_sign_in(request)
    job = jobs.get_training(session, job_id)
    if job is None or not visitor.sees(job.project_id):
        return missing(request, f"There is no job {job_id}.")
    version = datasets.version(session, job.dataset_id, job.dataset_version)
    newest = datasets.newest_versions(session, [job.dataset_id])[job.dataset_id]
    settings = {
        "job": job.id,
        "dataset": job.dataset_id,
        "version": job.dataset_version,
        "newest": newest.number,
        "values": version.mask_values,
        "beside": {
            "held out": ["test", version.test_count],
            "for validation": ["validation", version.validation_count],
        },
        "volumes": version.spatial_dims == 3,
        "predicted": job.state == State.SUCCEEDED,
        "mapped": has_maps(context.store, job),
        "heat": heat.COLOURS,
        "review": visitor.role.includes(Role.REVIEW),
        "train": visitor.role.includes(Role.TRAIN),
        "person": visitor.key_name,
    }
    values = {
        "job": resource(job),
        "dataset": datasets.get(session, job.dataset_id, visitor.project_id),
        "settings": settings,
    }
    return page(request, "review.html", values)


@router.get("/jobs/{job_id}/before")
def show_before_and_after(
    request: Request,
    job_id: str,
    session: SessionDep,
    visitor: VisitorDep,
    after: Annotated[str, Query(max_length=255, description="the name that the page before ended with")] = "",
) -> Response:
    """What a review came to: a job beside the newest one over an earlier version, and the samples that differ."""
    if visitor is None:
        return to_sign_in(request)
    job = jobs.get_training(session, job_id)
    if job is None or not visitor.sees(job.project_id):
        return missing(request, f"There is no job {job_id}.")
    earlier = jobs.earlier_job(session, job)
    if earlier is None:
        return missing(request, f"No job over an earlier version of the dataset of {job_id} has succeeded.")
    versions = (job.dataset_id, earlier.dataset_version, job.dataset_version)
    changed = differences.page(session, *versions, PER_PAGE + 1, after or None)
    rows = [
        (name, changes, jobs.find_sample(session, earlier.id, name), jobs.find_sample(session, job.id, name))
        for name, changes in changed[:PER_PAGE]
    ]
    values = {
        "earlier": resource(earlier),
        "job": resource(job),
        "dataset": datasets.get(session, job.dataset_id, visitor.project_id),
        "counts": differences.counts(session, *versions),
        "rows": rows,
        "following": changed[PER_PAGE - 1][0] if len(changed) > PER_PAGE else "",
    }
    return page(request, "before.html", values)
