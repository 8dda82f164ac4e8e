"""Deleting a dataset with all of its versions."""

from __future__ import annotations

from fastapi import APIRouter, BackgroundTasks, Depends
from sqlalchemy.exc import IntegrityError

from service.actions import Action
from service.api.datasets import DatasetDep
from service.api.dependencies import ContextDep, SessionDep, TrainDep, require_key
from service.api.problems import problems
from service.datasets.collecting import remove_objects
from service.db import audit, datasets
from service.errors import Conflict, FieldError

router = APIRouter(
    prefix="/v1/datasets", tags=["datasets"], dependencies=[Depends(require_key)], responses=problems(401)
)
NAMED_JOBS = 100  # of a refusal; the count tells of the others


@router.delete("/{dataset_id}", status_code=204, responses=problems(403, 404, 409))
def delete_dataset(
    caller: TrainDep, dataset: DatasetDep, session: SessionDep, context: ContextDep, background: BackgroundTasks
) -> None:
    """Delete a dataset that no job names. Its rows are gone with the answer, its objects soon after."""
    dataset_id, project_id, name = dataset.id, dataset.project_id, dataset.name
    jobs, count = datasets.jobs_of(session, dataset_id, NAMED_JOBS)
    if jobs:
        raise Conflict(
            f"{count} jobs depend on dataset {dataset_id!r}; a job keeps its dataset.",
            [
                FieldError(field="jobs", reason=f"{job.id} ({job.state}) is of version {job.dataset_version}")
                for job in jobs
            ],
        )
    try:
        removed = datasets.remove(session, dataset_id)
    except IntegrityError as error:
        raise Conflict(f"A job or a version of dataset {dataset_id!r} was made just now; look at it again.") from error
    audit.add(session, caller, Action.DATASET_DELETE, dataset_id, project_id, name=name, **removed)
    # Behind the commit: objects that no row names harm nobody, rows whose objects are gone would.
    background.add_task(remove_objects, context.store, dataset_id)
