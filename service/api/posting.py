"""What is posted to train, and what a dry run answers."""

from __future__ import annotations

from dataclasses import asdict

from service.db.tables import Job
from service.errors import FieldError, Forbidden, Invalid
from service.jobs.advice import Advice
from service.jobs.checks import Checked
from service.jobs.tasks import Task
from service.resources.posting import (
    JobPlan,
    PlannedDataset,
    PlannedMemory,
    PlannedResources,
    PostedJob,
    SuggestedValue,
)
from service.roles import Caller, Role
from workers.contract.request import JobSpec

MAY_DIFFER = {"name", "timeout_seconds", "exports"}


def plan_of(posted: PostedJob, checked: Checked, advice: Advice) -> JobPlan:
    """What would become of a job that was found good."""
    version, waiting = checked.version, checked.waiting_for
    return JobPlan(
        project_id=checked.project_id,
        spec=posted.spec,
        priority=posted.priority,
        dataset=PlannedDataset(
            dataset_id=version.dataset_id,
            version=version.number,
            sample_count=version.sample_count,
            train_count=version.train_count,
            validation_count=version.validation_count,
            spatial_dims=version.spatial_dims,
            classes=len(version.mask_values),
        ),
        cluster=PlannedResources(
            cpus=checked.need.cpus,
            gpus=checked.need.gpus,
            starts="unknown" if waiting is None else "later" if waiting else "now",
            waiting_for=waiting or "",
        ),
        memory=PlannedMemory(**asdict(advice.memory), total=advice.memory.total) if advice.memory else None,
        suggested=[SuggestedValue(**asdict(one)) for one in advice.suggested],
        warnings=advice.warnings,
    )


def check_reproduces(posted: PostedJob, before: Job | None, caller: Caller) -> None:
    """A job repeats another only if a run reads the same of both, but for the name and how long it may take.

    Raises:
        Invalid: there is no such job for this caller, or the jobs differ; says in what.
    """
    if before is None or not caller.sees(before.project_id) or before.task != Task.TRAIN:
        reason = f"there is no training {posted.reproduces!r}"
        hint = "GET /v1/jobs lists what there is"
        raise Invalid(
            f"{reason[0].upper()}{reason[1:]} to repeat.", [FieldError(field="reproduces", reason=reason, hint=hint)]
        )
    old, new = JobSpec.model_validate(before.spec), posted.spec
    names = [name for name in JobSpec.model_fields if name not in MAY_DIFFER]
    faults = [
        FieldError(field=name, reason=f"is not as in {before.id}", hint="leave out reproduces, or post its spec")
        for name in names
        if getattr(old, name) != getattr(new, name)
    ]
    if faults:
        raise Invalid(f"This is not job {before.id} again.", faults)


def check_priority(caller: Caller, priority: int) -> None:
    """Who may train may let others go first; to go before others is for an admin to allow.

    Raises:
        Forbidden: the caller may not give a job this priority.
    """
    if priority > 0 and not caller.role.includes(Role.ADMIN):
        hint = "leave it at 0 or below, or ask an admin of the project"
        fault = FieldError(field="priority", reason=f"is above 0, and the key's role is {caller.role}", hint=hint)
        raise Forbidden(f"A priority above 0 is for admins; the role of the key shown is {caller.role}.", [fault])
