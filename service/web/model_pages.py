"""Pages of models: all of them, one with its card, and several beside each other."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from service.api.dependencies import SessionDep
from service.api.model_comparison import MOST_MODELS, comparison
from service.api.models import resource
from service.datasets.rows import channel_names
from service.db import datasets, jobs, models
from service.db.tables import Dataset, DatasetVersion, Job
from service.errors import ServiceError
from service.models import card
from service.models.knowing import known
from service.models.stages import Stage
from service.resources.model_comparison import ModelComparison
from service.resources.models import ModelResource
from service.roles import Role
from service.web.pages import VisitorDep, missing, page, templates, to_sign_in

router = APIRouter(include_in_schema=False)
SHOWN = 200
MOST_APART = 20


def called(model: ModelResource) -> str:
    """A model for people."""
    return f"{model.name} v{model.version}"


templates.env.globals.update(called=called)


@router.get("/models")
def show_models(
    request: Request,
    session: SessionDep,
    visitor: VisitorDep,
    name: Annotated[str, Query(max_length=200)] = "",
    stage: str = "",
) -> Response:
    """Models, newest first."""
    if visitor is None:
        return to_sign_in(request)
    wanted = models.Wanted(name=name.replace("\0", "") or None, stage=Stage(stage) if stage in list(Stage) else None)
    found = models.page(session, visitor.project_id, wanted, SHOWN + 1)
    shown = [resource(job, model, ()) for job, model in found[:SHOWN]]
    names: dict[str, str] = {}
    for one in shown:
        names[one.dataset_id] = names.get(one.dataset_id) or datasets.get(session, one.dataset_id, None).name
    values = {
        "models": shown,
        "names": names,
        "name": name,
        "stage": wanted.stage,
        "stages": list(Stage),
        "more": len(found) > SHOWN,
        "most": MOST_MODELS,
    }
    return page(request, "models.html", values)


@router.get("/models/compare")
def show_comparison(
    request: Request,
    session: SessionDep,
    visitor: VisitorDep,
    model: Annotated[list[str], Query(max_length=MOST_MODELS)] = [],  # noqa: B006
) -> Response:
    """Models on the held-out samples that they have in common."""
    if visitor is None:
        return to_sign_in(request)
    ids = [one for one in model if len(one) <= 64 and one.isascii() and one.isprintable()]
    if len(ids) < 2:
        return missing(request, "Choose at least two models to compare, in the list of models.")
    try:
        found = comparison(session, visitor, ids)
    except ServiceError as error:
        values = {"title": "Not comparable", "detail": error.detail, "errors": error.errors}
        return page(request, "models_apart.html", values, status=error.status)
    return page(request, "model_compare.html", {"found": found, "apart": most_apart(found)})


def most_apart(found: ModelComparison) -> list[tuple[str, list[float]]]:
    """The samples on which the models differ most."""
    ordered = sorted(found.pairs, key=lambda pair: min(pair.dice) - max(pair.dice))
    return [(pair.sample, pair.dice) for pair in ordered[:MOST_APART] if max(pair.dice) > min(pair.dice)]


@router.get("/models/{model_id}")
def show_model(request: Request, model_id: str, session: SessionDep, visitor: VisitorDep) -> Response:
    """One model: its card, its files, and what can be done with it."""
    if visitor is None:
        return to_sign_in(request)
    found = models.find(session, model_id)
    if found is None or not visitor.sees(found[0].project_id):
        return missing(request, f"There is no model {model_id}.")
    job, model = found
    facts = known(session, job, model)
    others = [
        resource(*other, ())
        for other in models.page(session, job.project_id, models.Wanted(name=model.series), MOST_MODELS)
        if other[0].id != job.id
    ]
    train, admin = visitor.role.includes(Role.TRAIN), visitor.role.includes(Role.ADMIN)
    guarded = model.stage == Stage.PRODUCTION and not admin
    moves = [
        one for one in Stage if one != model.stage and train and not guarded and (admin or one is not Stage.PRODUCTION)
    ]
    values = {
        "model": resource(job, model, jobs.artifacts(session, job.id)),
        "sections": card.sections(facts),
        "lineage": facts.lineage,
        "others": others,
        "moves": moves,
        "may_train": train,
        "predictable": predictable(session, job) if train else [],
    }
    return page(request, "model.html", values)


def predictable(session: Session, job: Job) -> list[tuple[Dataset, DatasetVersion]]:
    """The newest versions of the project's datasets that seem to be of the model's kind; the POST looks closer."""
    mine = datasets.version(session, job.dataset_id, job.dataset_version)
    found = datasets.page(session, job.project_id, SHOWN, None)
    newest = datasets.newest_versions(session, [dataset.id for dataset in found])
    kind = (mine.spatial_dims, len(mine.mask_values), len(channel_names(mine)))
    return [
        (dataset, version)
        for dataset in found
        if (version := newest.get(dataset.id))
        and (version.spatial_dims, len(version.mask_values), len(channel_names(version))) == kind
    ]
