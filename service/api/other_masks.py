"""Other masks of a sample's image: who else drew it, and how far the masks agree."""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter, Depends
from numpy.typing import NDArray

from service.api.datasets import VersionNumber
from service.api.deciding import RowDep
from service.api.dependencies import ContextDep, SessionDep, require_key
from service.api.problems import problems
from service.db import other_masks
from service.errors import NotFound
from service.resources.other_masks import MOST, Annotation, Annotations
from service.reviews.agreement import dice, foreground
from workers.contract import keys
from workers.contract.store import ObjectMissing

router = APIRouter(
    prefix="/v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/annotations",
    tags=["datasets"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 422, 503),
)


@router.get("")
def read_annotations(row: RowDep, number: VersionNumber, session: SessionDep, context: ContextDep) -> Annotations:
    """The other annotators' masks of the sample's image in the same version, and how far each agrees with it."""
    others = other_masks.of_same_image(session, row, MOST)

    def read(digest: str) -> NDArray[np.bool_]:
        try:
            return foreground(context.store.get(keys.blob(row.dataset_id, digest)))
        except ObjectMissing as error:
            raise NotFound(f"A mask of the image of sample {row.name!r} is gone from the object store.") from error

    own = read(row.mask_sha256) if others and row.depth is None else None
    return Annotations(
        sample=row.name,
        annotator=row.annotator,
        agreement=row.agreement,
        others=[
            Annotation(
                sample=other.name,
                ordinal=other.ordinal,
                annotator=other.annotator or "",
                agreement=other.agreement,
                dice=dice(own, read(other.mask_sha256)) if own is not None else None,
            )
            for other in others
        ],
    )
