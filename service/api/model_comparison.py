"""Comparing models on the samples that all of them had held out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session

from service.api.dependencies import CallerDep, SessionDep, require_key
from service.api.models import seen_model
from service.api.problems import problems
from service.db import paired
from service.errors import Conflict, FieldError, Invalid
from service.models.comparing import difference
from service.resources.fields import Id
from service.resources.model_comparison import MOST_ROWS, ComparedModel, ModelComparison, ModelDifference, PairedSample
from service.roles import Caller

router = APIRouter(tags=["models"], dependencies=[Depends(require_key)], responses=problems(401))
MOST_MODELS = 10


@router.get("/v1/models:compare", responses=problems(404, 409, 422))
def compare_models(
    session: SessionDep,
    caller: CallerDep,
    model: Annotated[list[Id], Query(min_length=2, max_length=MOST_MODELS, description="ids; the first: the baseline")],
) -> ModelComparison:
    """Compare models, sample by sample, on the samples that none of them was trained on and all were tested on.

    With several models against one baseline the p-values are not corrected for their number.
    """
    return comparison(session, caller, model)


def comparison(session: Session, caller: Caller, ids: list[str]) -> ModelComparison:
    """Compare models.

    Raises:
        Invalid: a model is named twice.
        NotFound: one is not there.
        Conflict: they have no held-out sample in common.
    """
    found = [seen_model(session, model_id, caller) for model_id in ids]
    if len(set(ids)) < len(ids):
        fault = FieldError(field="model", reason="names a model twice", hint="name each once")
        raise Invalid("A model cannot be compared with itself.", [fault])
    names, dice = paired.common(session, ids)
    tested = [paired.held_out_count(session, model_id) for model_id in ids]
    if not names:
        faults = [
            FieldError(
                field="model",
                reason=f"{job.id} was tested on {count} samples of {job.dataset_id}:{job.dataset_version}",
                hint="" if count else "its dataset version has none that are held out",
            )
            for (job, _), count in zip(found, tested, strict=True)
        ]
        raise Conflict("These models share no held-out sample of the same name, image and mask.", faults)
    models = [
        ComparedModel(
            id=job.id,
            name=model.series,
            version=model.number,
            dataset_id=job.dataset_id,
            dataset_version=job.dataset_version,
            held_out=count,
            dice=mean,
            dice_std=std,
        )
        for (job, model), count, mean, std in zip(found, tested, dice.mean(axis=0), dice.std(axis=0), strict=True)
    ]
    differences = []
    for place in range(1, len(ids)):
        one = difference(dice[:, place], dice[:, 0])
        differences.append(
            ModelDifference(
                model=ids[place],
                baseline=ids[0],
                dice=one.mean,
                low=one.low,
                high=one.high,
                better=one.better,
                worse=one.worse,
                equal=one.equal,
                sign_p=one.sign_p,
            )
        )
    pairs = [
        PairedSample(sample=name, dice=row)
        for name, row in zip(names[:MOST_ROWS], dice[:MOST_ROWS].tolist(), strict=True)
    ]
    return ModelComparison(samples=len(names), models=models, differences=differences, pairs=pairs)
