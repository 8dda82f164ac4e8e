"""Pages of datasets: one dataset with its versions and samples, and the upload of a new one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.api.datasets import version_resource
from service.api.dependencies import SessionDep
from service.api.jobs import resource
from service.api.uploading import BODY
from service.datasets.kinds import Change
from service.db import datasets, differences, projects
from service.db.balance import EDGES, balance
from service.db.tables import DEFAULT_PROJECT
from service.errors import FieldError, NotFound
from service.resources.uploading import UploadFields
from service.roles import Role
from service.web.forms import form_fields
from service.web.pages import VisitorDep, forbidden, missing, page, to_sign_in

router = APIRouter(include_in_schema=False)
PER_PAGE = 24
MOST_CHANGES = 500
MOST_JOBS = 20
MOST_FILES = 1000  # listed of each kind of warning


# Before the route with an id, so that it is not taken for one.
@router.get("/datasets/new")
def show_upload(request: Request, session: SessionDep, visitor: VisitorDep) -> Response:
    """A form for a new dataset; its options are those of the API."""
    if visitor is None:
        return to_sign_in(request)
    if not visitor.role.includes(Role.TRAIN):
        return forbidden(request, visitor, Role.TRAIN, "To upload a dataset")
    fields = form_fields(UploadFields.model_json_schema(), {}, leave_out={"name"})
    found = projects.page(session, visitor.project_id, 100, None)
    values = {
        "fields": fields,
        "about": BODY["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["file"]["description"],
        "projects": found if visitor.operator and len(found) > 1 else [],
        "default_project": DEFAULT_PROJECT,
    }
    return page(request, "dataset_new.html", values)


@router.get("/datasets/{dataset_id}")
def show_dataset(
    request: Request,
    dataset_id: str,
    session: SessionDep,
    visitor: VisitorDep,
    number: Annotated[int | None, Query(alias="version", ge=1, le=2**31 - 1)] = None,
    before: Annotated[int | None, Query(alias="from", ge=1, le=2**31 - 1)] = None,
    after: Annotated[int | None, Query(alias="to", ge=1, le=2**31 - 1)] = None,
    sheet: Annotated[int, Query(alias="page", ge=1, le=10_000_000)] = 1,
) -> Response:
    """A dataset: its versions, what was found at the upload, its samples, and the jobs on it."""
    if visitor is None:
        return to_sign_in(request)
    dataset = datasets.find(session, dataset_id, visitor.project_id)
    if dataset is None:
        return missing(request, f"There is no dataset {dataset_id}.")
    versions = [version_resource(row) for row in datasets.versions(session, dataset.id)]
    shown = next((version for version in versions if version.number == (number or versions[0].number)), None)
    if shown is None:
        return missing(request, f"Dataset {dataset.id} has no version {number}.")
    try:
        changes = _changes(session, dataset.id, before, after) if before and after else None
    except NotFound as error:
        return missing(request, error.detail)
    listed, count = datasets.jobs_of(session, dataset.id, MOST_JOBS)
    values = {
        "dataset": dataset,
        "versions": versions,
        "shown": shown,
        "balance": balance(session, dataset.id, shown.number),
        "edges": EDGES,
        "problems": by_reason(shown.warnings),
        "most_files": MOST_FILES,
        "samples": datasets.samples(session, dataset.id, shown.number, PER_PAGE, after=(sheet - 1) * PER_PAGE - 1),
        "sheet": sheet,
        "sheets": max(1, -(-shown.sample_count // PER_PAGE)),
        "changes": changes,
        "compared": (before or max(1, versions[0].number - 1), after or versions[0].number),
        "jobs": [resource(job) for job in listed],
        "job_count": count,
        "may_train": visitor.role.includes(Role.TRAIN),
    }
    return page(request, "dataset.html", values)


def by_reason(warnings: Iterable[FieldError]) -> list[tuple[str, str, list[str]]]:
    """Warnings of one kind together: reason, hint, and the files (or fields) that they are about; most files first."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for warning in warnings:
        about = warning.file or warning.field
        grouped.setdefault((warning.reason, warning.hint), []).extend([about] if about else [])
    return sorted(((*kind, files) for kind, files in grouped.items()), key=lambda one: -len(one[2]))


def _changes(session: SessionDep, dataset_id: str, before: int, after: int) -> dict[str, Any]:
    for each in (before, after):
        datasets.version(session, dataset_id, each)
    names: dict[Change, list[str]] = {change: [] for change in Change}
    for name, kinds in differences.page(session, dataset_id, before, after, MOST_CHANGES, None):
        for kind in kinds:
            names[kind].append(name)
    return {"counts": differences.counts(session, dataset_id, before, after), "names": names, "most": MOST_CHANGES}
