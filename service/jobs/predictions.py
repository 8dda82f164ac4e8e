"""Whether a model can predict a dataset version: everything that can be known before a job is taken."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.api.dependencies import Context
from service.datasets.rows import channel_names
from service.db import datasets, jobs, models
from service.db.tables import DatasetVersion, Job
from service.errors import FieldError, Invalid
from service.jobs import checks
from service.jobs.lifecycle import State
from service.jobs.tasks import Task
from service.resources.prediction_jobs import PostedPrediction
from service.roles import Caller
from workers.contract.prediction import PredictSpec


def check(context: Context, caller: Caller, posted: PostedPrediction) -> tuple[PredictSpec, DatasetVersion]:
    """Find the model and hold it to the dataset version and the cluster. Slow: not while a lock is held.

    Returns:
        What a run reads, the model by its id; and what it predicts.

    Raises:
        Invalid: there is no such model or version, or they do not go together; says why.
    """
    project_id, version = checks.find_version(context, caller, posted.dataset_id, posted.dataset_version)
    with context.database.read() as reading:
        found = models.named(reading, project_id, posted.model)
        if found is None:
            reason = f"the project of the dataset has no model {posted.model!r}"
            hint = "give the id of its job, or NAME:3, or NAME:production; GET /v1/models lists what there is"
            raise Invalid(f"{reason[0].upper()}{reason[1:]}.", [FieldError(field="model", reason=reason, hint=hint)])
        trained, _ = found
        if faults := _differences(reading, trained, version):
            raise Invalid(f"The model of job {trained.id} is for other data than this.", faults)
    spec = posted.spec(trained.id)
    checks.check_fits(spec, checks.capacity_of(context))
    return spec, version


def hold(session: Session, model_id: str, project_id: str) -> None:
    """Keep the model from being deleted until this transaction ends.

    Raises:
        Invalid: it is gone.
    """
    job = jobs.lock_job(session, model_id)
    if job is None or job.project_id != project_id or job.state != State.SUCCEEDED or job.task != Task.TRAIN:
        reason = f"job {model_id} has no model any more"
        fault = FieldError(field="model", reason=reason, hint="name another; GET /v1/models lists what there is")
        raise Invalid(f"{reason[0].upper()}{reason[1:]}.", [fault])


def _differences(session: Session, trained: Job, version: DatasetVersion) -> list[FieldError]:
    known = jobs.get_version(session, trained.dataset_id, trained.dataset_version)
    if known is None:
        return []
    mine, theirs = channel_names(version), channel_names(known)
    pairs = {
        "dimensions": (version.spatial_dims, known.spatial_dims),
        "classes": (len(version.mask_values), len(known.mask_values)),
        "channels": (len(mine), len(theirs)),
        "files of a sample": (datasets.image_files(session, version), datasets.image_files(session, known)),
    }
    faults = [
        FieldError(
            field="dataset_id",
            reason=f"it has {ours} {what}, the model's data had {others}",
            hint="give a dataset like the one that the model was trained on, or another model",
        )
        for what, (ours, others) in pairs.items()
        if ours != others
    ]
    if not faults and mine != theirs and sorted(mine) == sorted(theirs):
        reason = f"its channels are {', '.join(mine)}, the model takes {', '.join(theirs)}: others in each place"
        faults.append(FieldError(field="dataset_id", reason=reason, hint="upload them in the model's order"))
    return faults
