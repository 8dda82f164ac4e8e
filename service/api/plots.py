"""Metrics as pictures: files for a report, which need no page around them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Response

from service.api.cross_validations import CrossValidationDep
from service.api.dependencies import SessionDep, require_key
from service.api.jobs import JobDep
from service.api.problems import problems
from service.db import cross_validations, held_out
from service.errors import NotFound
from service.jobs import pooled
from service.web.plots import drawing
from workers.contract.evaluation import Evaluation

router = APIRouter(dependencies=[Depends(require_key)], responses=problems(401, 404))
SVG = "image/svg+xml"
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the picture", "content": {SVG: {"schema": {"type": "string"}}}}
}
# Opened by itself the picture is a document of this site: it runs nothing and fetches nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@router.get("/v1/jobs/{job_id}/metrics.svg", tags=["samples"], response_class=Response, responses=PICTURE)
def draw_metrics(job: JobDep, session: SessionDep) -> Response:
    """How a job does on held-out samples, as a picture: each metric of each sample, Dice by class, and calibration.

    Readable on light and on dark ground.
    """
    if job.evaluation is None:
        raise NotFound(f"Job {job.id} has no metrics on held-out samples to draw.")
    evaluation = Evaluation.model_validate(job.evaluation)
    return _picture(job.name or job.id, evaluation, held_out.class_values(session, job.id), job.id)


@router.get(
    "/v1/cross-validations/{cross_validation_id}/metrics.svg",
    tags=["cross-validations"],
    response_class=Response,
    responses=PICTURE,
)
def draw_cross_validated_metrics(row: CrossValidationDep, session: SessionDep) -> Response:
    """The same of all folds of a cross-validation together."""
    found = pooled.metrics_of(session, row)
    if found.evaluation is None:
        raise NotFound(f"No fold of cross-validation {row.id} has metrics to draw.")
    title = f"{row.name}, {len(found.counted)} of {found.folds} folds"
    scores = [(name, classes) for name, _, classes in cross_validations.scores(session, row)]
    return _picture(title, found.evaluation, scores, row.id)


def _picture(title: str, evaluation: Evaluation, scores: Any, name: str) -> Response:
    headers = {
        "Content-Disposition": f'inline; filename="{name}-metrics.svg"',
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-store",
    }
    return Response(drawing(title, evaluation, scores), media_type=SVG, headers=headers)
