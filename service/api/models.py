"""Trained models: each is what a job that has succeeded left, with a name, a number, and what people say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Query, Response
from sqlalchemy.orm import Session

from service.actions import Action
from service.api.dependencies import CallerDep, SessionDep, ShownProjectDep, TrainDep, require_key
from service.api.paging import PageSize, PageToken, decode, decode_time, encode, page_limit
from service.api.problems import problems
from service.db import audit, jobs, models, tables
from service.errors import FieldError, Forbidden, NotFound, PreconditionFailed, PreconditionRequired
from service.jobs.tasks import Task
from service.models.stages import Stage
from service.resources.fields import Id
from service.resources.models import (
    TAG_NAME,
    ChangedModel,
    ModelChange,
    ModelCheckpoint,
    ModelFile,
    ModelPage,
    ModelResource,
)
from service.roles import Caller, Role
from workers.contract.request import KeptCheckpoint, NetworkSpec

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(require_key)], responses=problems(401))
WEIGHTS = "model.safetensors"  # what is delivered
ONNX = "onnx.zip"  # the export that predicts here


IfMatch = Annotated[str | None, Header(description='ETag of the model that was seen, such as "1"; or *')]


def resource(job: tables.Job, model: tables.TrainedModel, files: Sequence[tables.Artifact]) -> ModelResource:
    """A model as the API shows it."""
    path = f"/v1/models/{job.id}"
    return ModelResource(
        id=job.id,
        project_id=job.project_id,
        name=model.series,
        version=model.number,
        stage=Stage(model.stage),
        tags=model.tags,
        description=model.description,
        intended_use=model.intended_use,
        revision=model.revision,
        job=f"/v1/jobs/{job.id}",
        card=f"{path}/card",
        lineage=f"{path}/lineage",
        network=NetworkSpec.model_validate(job.spec["network"]),
        dataset_id=job.dataset_id,
        dataset_version=job.dataset_version,
        warm_start=job.spec.get("warm_start"),
        metrics=job.metrics,
        finished_at=job.finished_at,
        files=[_file(job, file) for file in files],
        checkpoints=checkpoints(job, files),
        predict=f"/v1/models/{job.id}:predict" if any(file.name == ONNX for file in files) else None,
    )


def _file(job: tables.Job, file: tables.Artifact) -> ModelFile:
    return ModelFile(
        name=file.name,
        size=file.size,
        sha256=file.sha256,
        media_type=file.media_type,
        url=f"/v1/models/{job.id}/files/{quote(file.name, safe='')}",
    )


def checkpoints(job: tables.Job, files: Sequence[tables.Artifact]) -> list[ModelCheckpoint]:
    """Which weights of a job can be had; of one from before it was known, those at the end."""
    by_name = {file.name: _file(job, file) for file in files}
    kept = [KeptCheckpoint.model_validate(one) for one in job.checkpoints or ()]
    if not kept and WEIGHTS in by_name:
        kept = [KeptCheckpoint(kind="last", epoch=job.spec["epochs"] - 1, validation_dice=None, file=WEIGHTS)]
    deliver = job.spec.get("deliver", "last")
    return [
        ModelCheckpoint(
            **one.model_dump(),
            delivered=one.kind == deliver,
            **by_name[one.file].model_dump(include={"size", "sha256", "url"}),
        )
        for one in kept
        if one.file in by_name
    ]


def seen_model(session: Session, model_id: str, caller: Caller) -> tuple[tables.Job, tables.TrainedModel]:
    """A model that the caller may see, with its job.

    Raises:
        NotFound: there is none, or the job has not succeeded.
    """
    job = jobs.get_job(session, model_id)
    if job is None or not caller.sees(job.project_id):
        raise NotFound(f"There is no model {model_id!r}.")
    found = models.find(session, model_id)
    if found is None:
        why = "it predicts" if job.task == Task.PREDICT else f"it is {job.state}"
        raise NotFound(f"Job {model_id} has no model: {why}.")
    return found


def get_model(model_id: str, session: SessionDep, caller: CallerDep) -> tuple[tables.Job, tables.TrainedModel]:
    """The model that the path names; raises `NotFound`."""
    return seen_model(session, model_id, caller)


ModelDep = Annotated[tuple[tables.Job, tables.TrainedModel], Depends(get_model, scope="function")]


@router.get("", responses=problems(400, 404, 422))
def list_models(
    session: SessionDep,
    project: ShownProjectDep,
    name: Annotated[
        str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="only models of this name")
    ] = None,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="only this number of each name")] = None,
    stage: Annotated[
        Stage | None, Query(description="only models at this stage; production: one at most of a name")
    ] = None,
    tag: Annotated[
        str | None,
        Query(
            pattern=rf"^{TAG_NAME}(=[^\x00]{{0,200}})?$", description="only models with this tag: `key`, or `key=value`"
        ),
    ] = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> ModelPage:
    """Models, that of the newest job first. `?name=lesions&stage=production` finds the one that is in use."""
    arguments = {"list": "models", "project": project, "name": name, "version": version, "stage": stage, "tag": tag}
    position = decode(page_token, arguments, str, str)
    after = (decode_time(position[0]), position[1]) if position else None
    limit = page_limit(page_size)
    key, equals, value = tag.partition("=") if tag else (None, "", "")
    wanted = models.Wanted(name, version, stage, key, value if equals else None)
    found = models.page(session, project, wanted, limit + 1, after)
    token = None
    if len(found) > limit:
        last = found[limit - 1][0]
        token = encode([last.created_at.isoformat(), last.id], arguments)
    listed = [resource(job, model, jobs.artifacts(session, job.id)) for job, model in found[:limit]]
    return ModelPage(models=listed, next_page_token=token)


@router.get("/{model_id}", responses=problems(404))
def read_model(found: ModelDep, session: SessionDep, response: Response) -> ModelResource:
    """A model with its files. The ETag is what a change has to show."""
    job, model = found
    response.headers["ETag"] = etag(model)
    return resource(job, model, jobs.artifacts(session, job.id))


@router.patch("/{model_id}", responses=problems(400, 403, 404, 412, 413, 422, 428))
def change_model(
    model_id: Id,
    change: ModelChange,
    caller: TrainDep,
    session: SessionDep,
    response: Response,
    if_match: IfMatch = None,
) -> ChangedModel:
    """Say what a model is for, tag it, or move it on.

    `If-Match` says which state of it was seen. Whatever was in production under the same name is archived when another
    model takes its place: nobody who asks for the one in production ever finds two, or none between.
    """
    jobs.lock_job(session, model_id)  # that it is not deleted meanwhile
    job, model = seen_model(session, model_id, caller)
    model = models.lock(session, model)
    _expect(model, if_match)
    changes = change.model_dump(exclude_none=True, mode="json")
    stages = {Stage(model.stage), change.stage or Stage(model.stage)}
    if len(stages) > 1 and Stage.PRODUCTION in stages and not caller.role.includes(Role.ADMIN):
        fault = FieldError(field="stage", reason=f"the key's role is {caller.role}", hint="ask an admin of the project")
        raise Forbidden("What is in production is decided by admins: others' scripts fetch it.", [fault])
    former = models.in_production(session, model) if change.stage is Stage.PRODUCTION else None
    archived = None
    if former is not None and former.job_id != model.job_id:
        archived = former.job_id
        former.stage = Stage.ARCHIVED
        former.revision += 1
        session.flush()  # before the other takes its place: there is one at any time
        instead = {"stage": Stage.ARCHIVED, "instead": model.job_id}
        audit.add(session, caller, Action.MODEL_CHANGE, archived, job.project_id, **instead)
    changes = {name: value for name, value in changes.items() if getattr(model, name) != value}
    for name, value in changes.items():
        setattr(model, name, value)
    if changes:
        model.revision += 1
        facts = {"name": model.series, "version": model.number, **changes}
        audit.add(session, caller, Action.MODEL_CHANGE, model.job_id, job.project_id, **facts)
    response.headers["ETag"] = etag(model)
    shown = resource(job, model, jobs.artifacts(session, job.id))
    return ChangedModel(**shown.model_dump(), archived=archived)


def etag(model: tables.TrainedModel) -> str:
    """The ETag of what is said of a model."""
    return f'"{model.revision}"'


def _expect(model: tables.TrainedModel, if_match: str | None) -> None:
    if if_match is None:
        raise PreconditionRequired("Say which state of the model you have seen: If-Match with its ETag.")
    if if_match.strip() not in {"*", etag(model)}:
        raise PreconditionFailed(
            f"Model {model.job_id} was changed meanwhile: its revision is {model.revision}. Look at it again."
        )
