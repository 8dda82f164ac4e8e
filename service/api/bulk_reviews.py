"""Decisions about many of a job's samples at once: one request, one transaction, an answer for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastapi import APIRouter, Depends

from service.actions import Action
from service.api.dependencies import Context, ContextDep, ReviewDep, require_key
from service.api.problems import problems
from service.db import audit, datasets, exports, jobs, tables
from service.db.deciding import AT_ONCE, Change, Changed, decide_many, undo_many
from service.errors import FieldError, Invalid, NotFound
from service.resources.bulk_reviews import (
    MOST_CORRECTIONS,
    LabelOutcome,
    ManyDecisions,
    ManyLabels,
    ManyOutcomes,
    SeenLabel,
)
from service.reviews.decisions import Decision, Outcome
from service.reviews.masks import store_prediction
from service.roles import Caller

router = APIRouter(
    prefix="/v1/jobs/{job_id}",
    tags=["reviews"],
    dependencies=[Depends(require_key)],
    responses=problems(400, 401, 403, 404, 422),
)


@router.post("/reviews:decide", responses=problems(413, 503))
def decide_labels(job_id: str, wanted: ManyDecisions, context: ContextDep, caller: ReviewDep) -> ManyOutcomes:
    """Decide about many labels. Those about which somebody has decided meanwhile stay as they are, and are named.

    The answer, as it is, names the labels and revisions that `reviews:undo` takes to take all of it back.
    """
    if wanted.decision is Decision.CORRECTED and len(wanted.labels) > MOST_CORRECTIONS:
        fault = FieldError(field="labels", reason=f"are {len(wanted.labels)}", hint=f"name {MOST_CORRECTIONS} at most")
        raise Invalid("These are too many corrections for one request.", [fault])
    job, rows = _read(context, caller, job_id, wanted.labels)
    faults: dict[int, str] = {}
    masks: dict[int, str] = {}
    if wanted.decision is Decision.CORRECTED:
        masks, faults = _store_predictions(context, job, rows.values())
    changes = [
        Change(rows[label.ordinal], label.revision, masks.get(label.ordinal))
        for label in wanted.labels
        if label.ordinal in rows and label.ordinal not in faults
    ]
    with context.sessions.begin() as session:
        project = datasets.get(session, job.dataset_id, caller.project_id).project_id
        done = decide_many(session, caller, changes, wanted.decision, wanted.note)
        for one in done:
            if one.outcome is Outcome.DONE:
                facts = _facts(job, one) | {"decision": wanted.decision}
                audit.add(session, caller, Action.REVIEW_DECIDE, job.dataset_id, project, **facts)
        return _answer(wanted.labels, rows, done, faults)


@router.post("/reviews:undo", responses=problems(413))
def undo_labels(job_id: str, wanted: ManyLabels, context: ContextDep, caller: ReviewDep) -> ManyOutcomes:
    """Go back, for many labels, to what was decided before; those that somebody has decided about since stay."""
    job, rows = _read(context, caller, job_id, wanted.labels)
    changes = [Change(rows[label.ordinal], label.revision) for label in wanted.labels if label.ordinal in rows]
    with context.sessions.begin() as session:
        project = datasets.get(session, job.dataset_id, caller.project_id).project_id
        done = undo_many(session, caller, changes)
        for one in done:
            if one.outcome is Outcome.DONE and one.review is not None:
                facts = _facts(job, one) | {"decision": one.review.decision}
                audit.add(session, caller, Action.REVIEW_UNDO, job.dataset_id, project, **facts)
        return _answer(wanted.labels, rows, done, {})


def _read(
    context: Context, caller: Caller, job_id: str, labels: Sequence[SeenLabel]
) -> tuple[tables.Job, dict[int, tables.Sample]]:
    """The job and the samples of its dataset version, read before anything is locked; raises `NotFound`."""
    with context.database.read() as session:
        job = jobs.get_training(session, job_id)
        if job is None or not caller.sees(job.project_id):
            raise NotFound(f"There is no job {job_id!r}; GET /v1/jobs lists those there are.")
        ordinals = [label.ordinal for label in labels]
        rows: dict[int, tables.Sample] = {}
        for start in range(0, len(ordinals), AT_ONCE):
            some = exports.by_ordinal(session, job, ordinals[start : start + AT_ONCE])
            rows |= {row.ordinal: row for row in some}
        return job, rows


def _store_predictions(
    context: Context, job: tables.Job, rows: Iterable[tables.Sample]
) -> tuple[dict[int, str], dict[int, str]]:
    """The job's predictions as stored masks: the sha256 of each, or why it can be none, by ordinal."""
    with context.database.read() as session:
        version = datasets.version(session, job.dataset_id, job.dataset_version)
    masks: dict[int, str] = {}
    faults: dict[int, str] = {}
    limits = context.settings.import_limits
    for row in rows:
        try:
            masks[row.ordinal] = store_prediction(context.store, limits, row, version, job.id, row.ordinal)
        except Invalid as error:
            faults[row.ordinal] = "; ".join(fault.reason for fault in error.errors) or str(error)
    return masks, faults


def _facts(job: tables.Job, changed: Changed) -> dict[str, object]:
    return {"sample": changed.change.row.name, "version": changed.change.row.version, "job": job.id}


def _answer(
    labels: Sequence[SeenLabel], rows: dict[int, tables.Sample], done: Sequence[Changed], faults: dict[int, str]
) -> ManyOutcomes:
    by_ordinal = {one.change.row.ordinal: one for one in done}
    found = []
    for label in labels:
        row, changed = rows.get(label.ordinal), by_ordinal.get(label.ordinal)
        review = changed.review if changed else None
        fault = f"the job has no sample {label.ordinal}" if row is None else faults.get(label.ordinal)
        found.append(
            LabelOutcome(
                ordinal=label.ordinal,
                sample=row.name if row else None,
                outcome=changed.outcome if changed else None,
                fault=fault,
                revision=review.revision if review else 0,
                decision=Decision(review.decision) if review and review.decision else None,
                by=review.key_name if review and review.decision else None,
                note=review.note if review and review.decision else "",
                new_mask_sha256=review.new_mask_sha256 if review else None,
            )
        )
    return ManyOutcomes(done=sum(one.outcome is Outcome.DONE for one in found), labels=found)
