"""From what was decided about a version to the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from service.datasets.correcting import Base, Correction, read_base
from service.datasets.limits import ImportLimits
from service.db import datasets, reviews
from service.db.tables import DatasetVersion, Review, Sample
from service.errors import Conflict
from service.reviews.decisions import Decision
from service.reviews.masks import packed
from service.roles import Caller
from workers.contract import keys
from workers.contract.store import ObjectStore


@dataclass(frozen=True)
class Decided:
    """What is to become of the samples of a version.

    Attributes:
        base: the version.
        exclude: samples to leave out.
        corrected: the new mask of samples, by name.
        verified: samples whose labels, as they will be, were found right; training believes them.
    """

    base: Base
    exclude: list[str]
    corrected: dict[str, str]
    verified: list[str]


def read_decided(session: Session, dataset_id: str, number: int) -> Decided:
    """What is in force for a version.

    Raises:
        NotFound: there is no such version.
        Conflict: nothing is decided that would change it.
    """
    found = reviews.all_in_force(session, dataset_id, number)
    accepted = {sample.name for sample, review in found if review.decision == Decision.ACCEPTED}
    corrected = _new_masks(found)
    decided = Decided(
        read_base(session, dataset_id, number),
        [sample.name for sample, review in found if review.decision == Decision.EXCLUDED],
        corrected,
        sorted(accepted | corrected.keys()),
    )
    if not decided.exclude and not decided.verified:
        raise Conflict(
            f"Nothing of version {number} is accepted, corrected or excluded: the next one would be the same."
        )
    return decided


def correction(store: ObjectStore, limits: ImportLimits, decided: Decided) -> Correction:
    """The correction that carries it out, not yet checked."""
    base = decided.base
    masks = ((name, store.get(keys.blob(base.dataset_id, sha))) for name, sha in decided.corrected.items())
    file = packed(masks, base.media)
    return Correction(
        store, limits, base, decided.exclude, file if decided.corrected else None, verified=decided.verified
    )


def accept_corrections(session: Session, version: DatasetVersion, decided: Decided, caller: Caller) -> None:
    """The new labels were chosen by somebody who looked: they need no second look."""
    for name in decided.corrected:
        row = datasets.sample(session, version.dataset_id, version.number, name)
        if reviews.find(session, row) is None:
            note = f"corrected in version {decided.base.number}"
            reviews.decide(session, row, caller, reviews.NEVER, Decision.ACCEPTED, note=note)


def _new_masks(found: Sequence[tuple[Sample, Review]]) -> dict[str, str]:
    return {
        sample.name: review.new_mask_sha256
        for sample, review in found
        if review.decision == Decision.CORRECTED and review.new_mask_sha256
    }
