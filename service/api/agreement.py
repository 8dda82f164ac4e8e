"""How far the people agree who looked at the same labels."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from service.api.datasets import DatasetDep, VersionNumber
from service.api.dependencies import ContextDep, SessionDep, require_key
from service.api.problems import problems
from service.datasets.kinds import Media
from service.db import datasets, reviews
from service.resources.agreement import AgreementList, AgreementResource
from service.reviews.agreement import agreements
from workers.contract import keys

router = APIRouter(
    prefix="/v1/datasets/{dataset_id}/versions/{number}/reviews/agreement",
    tags=["reviews"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 422),
)


@router.get("")
def read_agreement(
    dataset: DatasetDep, number: VersionNumber, session: SessionDep, context: ContextDep
) -> AgreementList:
    """How far the people agree who have looked at the same labels, two by two; what others decided later counts not."""
    version = datasets.version(session, dataset.id, number)

    def read_mask(digest: str) -> bytes:
        return context.store.get(keys.blob(dataset.id, digest))

    flat = version.spatial_dims == Media.IMAGE.spatial_dims
    found = agreements(reviews.opinions(session, dataset.id, number), read_mask if flat else None)
    return AgreementList(agreements=[AgreementResource.model_validate(vars(one)) for one in found])
