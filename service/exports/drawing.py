"""From masks that were drawn in a tool to corrections: checked and stored as those of the review page are."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from service.datasets.limits import ImportLimits
from service.db.tables import DatasetVersion, Job, Review, Sample
from service.errors import FieldError, Invalid
from service.exports.drawn import Drawn, Mask, painted
from service.exports.kinds import Source
from service.exports.rows import Placed
from service.exports.wanted import read_mask
from service.reviews.decisions import Decision
from service.reviews.masks import store_mask
from workers.contract.store import ObjectStore

HINT = "send each mask in the size and with the classes of the export"


def corrections(
    store: ObjectStore,
    limits: ImportLimits,
    job: Job,
    version: DatasetVersion,
    drawn: Sequence[Drawn],
    found: Mapping[str, tuple[Sample, Review | None]],
) -> list[Placed]:
    """The lines that come of drawn masks, each with its mask stored; one without a mask of its own has no decision.

    What is of no label of the version is passed on as it is: `applying.apply` names it.

    Raises:
        Invalid: masks that cannot be used, each by its place. Nothing but blobs that no row names was written.
    """
    lines: list[Placed] = []
    faults: list[FieldError] = []
    for one in drawn:
        said = one.said
        match = found.get(said.sample)
        if match is None or match[0].mask_sha256 != said.mask_sha256:
            lines.append(Placed(one.place, said))
            continue
        try:
            mask = _new_mask(store, job, version, one, match[0])
            if mask is None:
                kept = None if said.decision is Decision.CORRECTED else said.decision
                lines.append(Placed(one.place, said.model_copy(update={"decision": kept})))
                continue
            if said.decision in {Decision.FLAGGED, Decision.EXCLUDED}:
                raise ValueError(f"is {said.decision} and was drawn anew: keep one of them")
            sink = io.BytesIO()
            Image.fromarray(mask).save(sink, "PNG")
            plain = {column.name: getattr(match[0], column.name) for column in Sample.__table__.columns}
            stored = store_mask(store, limits, plain, job.dataset_id, version.mask_values, sink.getvalue())
        except ValueError as error:
            faults.append(FieldError(file=one.place, reason=f"{said.sample}: {error}", hint=HINT))
        except Invalid as error:
            faults += [fault.model_copy(update={"file": one.place}) for fault in error.errors]
        else:
            corrected = said.model_copy(update={"decision": Decision.CORRECTED})
            lines.append(Placed(one.place, corrected, stored.sha256))
    if faults:
        raise Invalid(f"{len(faults)} masks cannot be used; nothing was changed.", faults[:1000])
    return lines


def _new_mask(store: ObjectStore, job: Job, version: DatasetVersion, one: Drawn, sample: Sample) -> Mask | None:
    """The mask that somebody drew, (H, W); None: what is there is what was exported."""
    label = read_mask(store, sample, job.id, version.mask_values, Source.LABEL)
    changed = [("", np.zeros((sample.height, sample.width), np.uint8))] if one.blank else []
    for source, drawn in one.groups.items():
        mask = painted(drawn, sample.height, sample.width, version.mask_values)
        before = read_mask(store, sample, job.id, version.mask_values, Source(source)) if source else None
        if before is None or not np.array_equal(mask, before):
            changed.append((source, mask))
    new = [mask for source, mask in changed if not source] or [mask for _, mask in changed]
    if len(new) > 1 or (one.blank and len(changed) > 1):
        raise ValueError("has more than one new mask (drawn, changed, or empty): keep the one that is meant")
    return new[0] if new and (label is None or not np.array_equal(new[0], label)) else None
