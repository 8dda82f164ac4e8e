"""Everything that can be known of a job before it is taken."""

from __future__ import annotations

from dataclasses import dataclass

from service.api.dependencies import Context
from service.datasets.rows import channel_names
from service.db import datasets, jobs, projects
from service.db.tables import DatasetVersion
from service.errors import FieldError, Invalid
from service.jobs import networks, warm_start
from service.jobs.capacity import Capacity, Resources, needs, never_fits
from service.jobs.intake import view_of
from service.jobs.lifecycle import State
from service.jobs.queue import Entry, enqueue, plan
from service.jobs.submission import RayJobs, RayUnreachableError
from service.roles import Caller
from workers.contract.prediction import AnySpec
from workers.contract.request import JobSpec


@dataclass(frozen=True)
class Checked:
    """What was found of a job that can be taken.

    Attributes:
        project_id: the project of its dataset.
        version: what it trains on.
        need: what it takes of the cluster; as many workers as it asks for where no cluster is known.
        waiting_for: what it would wait for now; empty: nothing; None: no cluster is known.
        capacity: what the cluster has; None: no cluster is known.
    """

    project_id: str
    version: DatasetVersion
    need: Resources
    waiting_for: str | None
    capacity: Capacity | None


def check(context: Context, caller: Caller, spec: JobSpec, priority: int = 0) -> Checked:
    """Hold a job to its dataset, the catalogue of networks and the cluster. Slow: not while a lock is held.

    Raises:
        Invalid: it cannot be trained; says why.
    """
    networks.check_names(spec.network)
    project_id, version = find_version(context, caller, spec.dataset_id, spec.dataset_version)
    with context.database.read() as reading:
        warm_start.check(reading, spec, project_id, version)
        if not datasets.labelled(reading, version):
            reason = f"every mask of version {version.number} that is trained on is empty: there is nothing to learn"
            hint = "correct some masks, or let a model predict it (POST /v1/jobs:predict)"
            raise Invalid("The dataset has no labels.", [FieldError(field="dataset_id", reason=reason, hint=hint)])
    _check_size(spec, version.spatial_dims)
    _check_validation(spec, version)
    capacity = capacity_of(context)
    check_fits(spec, capacity)
    if context.settings.network_check:
        size = spec.image_size if version.spatial_dims == 2 else spec.patch_size
        networks.check_by_building(
            spec.network,
            size=size,
            classes=len(version.mask_values),
            channels=len(channel_names(version)),
            spatial_dims=version.spatial_dims,
        )
    if capacity is None:
        need = Resources(spec.workers, spec.workers * spec.gpus_per_worker)
        return Checked(project_id, version, need, None, None)
    need = needs(spec, capacity.total)
    new = Entry("", need, project_id, priority)
    return Checked(project_id, version, need, _wait(context, new, capacity), capacity)


def find_version(context: Context, caller: Caller, dataset_id: str, number: int) -> tuple[str, DatasetVersion]:
    """A dataset version that the caller may see, with its project.

    Raises:
        Invalid: there is none.
    """
    with context.database.read() as reading:
        known = datasets.find(reading, dataset_id, caller.project_id)
        version = jobs.get_version(reading, known.id, number) if known else None
    if known is None or version is None:
        field, reason = "dataset_id", f"there is no dataset {dataset_id!r}"
        if known:
            field, reason = "dataset_version", f"{dataset_id} has no version {number}"
        hint = "GET /v1/datasets lists what there is"
        raise Invalid(f"{reason[0].upper()}{reason[1:]}.", [FieldError(field=field, reason=reason, hint=hint)])
    return known.project_id, version


def check_fits(spec: AnySpec, capacity: Capacity | None) -> None:
    """Refuse a job that is larger than the cluster.

    Raises:
        Invalid: it is.
    """
    if capacity and (reason := never_fits(needs(spec, capacity.total), capacity.total)):
        field = "gpus_per_worker" if "GPU" in reason else "workers"
        raise Invalid(f"{reason[0].upper()}{reason[1:]}.", [FieldError(field=field, reason=reason)])


def _check_size(spec: JobSpec, spatial_dims: int) -> None:
    """Refuse a size that the dataset's kind does not have, unless it is the default, which clients may send along."""
    what, own, other = "images", "image_size", "patch_size"
    if spatial_dims == 3:
        what, own, other = "volumes", "patch_size", "image_size"
    if getattr(spec, other) != JobSpec.model_fields[other].default:
        fault = FieldError(field=other, reason=f"the dataset holds {what}", hint=f"leave it out, and set {own}")
        raise Invalid(f"A dataset of {what} is trained with {own}, not {other}.", [fault])


def _check_validation(spec: JobSpec, version: DatasetVersion) -> None:
    """Refuse to compare epochs where there is nothing to compare them on."""
    if version.validation_count:
        return
    hint = "upload with validation_share, or with a split of validation in samples.csv"
    asked = {"deliver": spec.deliver == "best", "validate_every": spec.validate_every is not None}
    faults = [
        FieldError(field=name, reason=f"version {version.number} has no validation samples", hint=hint)
        for name, wanted in asked.items()
        if wanted
    ]
    if faults:
        raise Invalid("Epochs are compared on validation samples, and the dataset version has none.", faults)


def capacity_of(context: Context) -> Capacity | None:
    """What the cluster has; None if nobody knows yet: then the queue finds out what does not fit."""
    endpoint = context.cluster.endpoint
    if endpoint is None:
        return None
    try:
        with RayJobs(endpoint, timeout=2) as ray:
            return ray.capacity()
    except RayUnreachableError:
        return None


def _wait(context: Context, new: Entry, capacity: Capacity) -> str:
    """What a new job would wait for in the queue, in words; empty if for nothing."""
    total = capacity.total
    with context.database.read() as session:
        views = [view_of(job) for job in jobs.unfinished(session)]
        limits = projects.limits(session)
    started = [view.entry(total) for view in views if view.state is not State.QUEUED]
    queued = [view.entry(total) for view in views if view.state is State.QUEUED]
    ahead = [job for job in queued if not never_fits(job.need, total)]
    return plan(enqueue(ahead, new), capacity, started, limits)[new.job_id]
