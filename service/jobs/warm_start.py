"""Whether a job can start from the model of an earlier one."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.datasets.rows import channel_names
from service.db import jobs
from service.db.tables import DatasetVersion, Job
from service.errors import FieldError, Invalid
from service.jobs.lifecycle import State
from service.jobs.tasks import Task
from workers.contract.request import JobSpec

SIZED = {"UNETR"}  # networks whose weights depend on the size of what they are shown


def check(session: Session, spec: JobSpec, project_id: str, version: DatasetVersion, *, hold: bool = False) -> None:
    """Hold a job to the model that it would start from; one that starts from none is good.

    Args:
        session: `hold`: a transaction that keeps the model from being deleted until it ends.
        spec: the job.
        project_id: its project: models of other projects are not there.
        version: what it trains on.
        hold: whether to lock the earlier job.

    Raises:
        Invalid: there is no such model, or it is one of another kind; says what differs.
    """
    if spec.warm_start is None:
        return
    before = (jobs.lock_job if hold else jobs.get_job)(session, spec.warm_start)
    if before is None or before.project_id != project_id:
        reason, hint = f"there is no job {spec.warm_start!r} in the project of the dataset", "GET /v1/models lists them"
        raise Invalid(f"{reason[0].upper()}{reason[1:]}.", [FieldError(field="warm_start", reason=reason, hint=hint)])
    if before.task != Task.TRAIN or before.state != State.SUCCEEDED:
        why = f"it is {before.state}" if before.task == Task.TRAIN else "it predicts"
        reason = f"job {before.id} has no model: {why}"
        hint = "wait for its end, or name another"
        raise Invalid(f"{reason[0].upper()}{reason[1:]}.", [FieldError(field="warm_start", reason=reason, hint=hint)])
    if faults := _differences(session, before, spec, version):
        raise Invalid(f"The model of job {before.id} is of another kind.", faults)


def _differences(session: Session, before: Job, spec: JobSpec, version: DatasetVersion) -> list[FieldError]:
    old = JobSpec.model_validate(before.spec)
    trained = jobs.get_version(session, before.dataset_id, before.dataset_version)
    pairs = {
        "network.name": (spec.network.name, old.network.name),
        "network.arguments": (spec.network.arguments, old.network.arguments),
    }
    if trained is not None:
        pairs["dataset_id"] = (_kind(version), _kind(trained))
    size = "image_size" if version.spatial_dims == 2 else "patch_size"
    if spec.network.name in SIZED:
        pairs[size] = (getattr(spec, size), getattr(old, size))
    return [
        FieldError(field=field, reason=f"is {mine}, and {theirs} of the model", hint="give what the model has")
        for field, (mine, theirs) in pairs.items()
        if mine != theirs
    ]


def _kind(version: DatasetVersion) -> str:
    channels = len(channel_names(version))
    return f"{len(version.mask_values)} classes of {channels} channels in {version.spatial_dims} dimensions"
