"""The pages of a review: the grid of a job's samples with one of them large, and what came of it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api.dependencies import SessionDep
from service.api.jobs import resource
from service.db import datasets, jobs
from service.jobs.lifecycle import State
from service.roles import Role
from service.web.pages import VisitorDep, missing, page, to_sign_in

router = APIRouter(include_in_schema=False)


@router.get("/jobs/{job_id}/review")
def show_review(request: Request, job_id: str, session: SessionDep, visitor: VisitorDep) -> Response:
    """All samples of a job to look through and decide about; the page asks the API for whatever is on the screen."""
    if visitor is None:
        return to_sign_in(request)
    job = jobs.get_job(session, job_id)
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
        "volumes": version.spatial_dims == 3,
        "predicted": job.state == State.SUCCEEDED,
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
