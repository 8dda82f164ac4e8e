"""Cross-validations: post, watch, end, and look at what came out over all folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.actions import Action
from service.api.dependencies import CallerDep, ContextDep, SessionDep, ShownProjectDep, TrainDep, require_key
from service.api.idempotency import Answer, IdempotencyDep
from service.api.jobs import allow_deletion, end, erase
from service.api.paging import PageSize, PageToken, decode, decode_time, encode, page_limit
from service.api.posting import check_priority
from service.api.problems import problems
from service.db import audit, cross_validations, tables
from service.errors import Conflict, NotFound
from service.jobs import pooled
from service.jobs.folding import Folding
from service.jobs.lifecycle import State
from service.resources.cross_validations import (
    CrossValidation,
    CrossValidationMetrics,
    CrossValidationPage,
    FoldJob,
    OutOfFoldPage,
    OutOfFoldSample,
    PostedCrossValidation,
)
from service.resources.fields import Id
from service.roles import Caller
from workers.contract import keys
from workers.contract.evaluation import METRICS, MetricName
from workers.contract.request import JobSpec

router = APIRouter(
    prefix="/v1/cross-validations",
    tags=["cross-validations"],
    dependencies=[Depends(require_key)],
    responses=problems(401),
)


def get_cross_validation(cross_validation_id: str, session: SessionDep, caller: CallerDep) -> tables.CrossValidation:
    """The cross-validation that the path names; raises `NotFound`."""
    return _seen(cross_validations.find(session, cross_validation_id), cross_validation_id, caller)


def _seen(row: tables.CrossValidation | None, asked: str, caller: Caller) -> tables.CrossValidation:
    if row is None or not caller.sees(row.project_id):
        raise NotFound(f"There is no cross-validation {asked!r}.")
    return row


CrossValidationDep = Annotated[tables.CrossValidation, Depends(get_cross_validation, scope="function")]


@router.post("", status_code=202, response_model=CrossValidation, responses=problems(400, 403, 404, 409, 413, 422, 503))
def post_cross_validation(
    posted: PostedCrossValidation, caller: TrainDep, context: ContextDep, idempotency: IdempotencyDep
) -> JSONResponse:
    """Cut a dataset version into folds and queue a job for each, which trains on the others and is tested on it.

    Groups (such as patients) are dealt out whole, and images that are nearly the same go together. What the version
    holds out is left out of everything here, so that it can still judge the model that is chosen in the end. Each job
    is over a version that is derived for it: versions are listed without these, unless they are asked for.

    Refused as a job would be, and with fewer groups than folds; also where the training would start (`warm_start`)
    from a model that may have seen the samples that it is tested on.
    """
    check_priority(caller, posted.priority)
    # A session of our own: the folds' lists are written before its first statement, so that no lock is held meanwhile.
    foldings: list[Folding] = []
    with context.sessions() as session:

        def create() -> Answer:
            foldings.append(Folding.prepare(context, caller, posted))
            row = foldings[0].record(session, caller)
            return Answer(resource(session, [row])[0], f"/v1/cross-validations/{row.id}", status=202)

        try:
            answer = idempotency.answer(session, posted.model_dump_json(), create)
            session.commit()
        except BaseException:
            session.rollback()
            for folding in foldings:
                folding.undo()
            raise
    context.bell.set()
    return answer


@router.get("", responses=problems(400, 404, 422))
def list_cross_validations(
    session: SessionDep,
    project: ShownProjectDep,
    dataset: Annotated[Id | None, Query(description="only of this dataset")] = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> CrossValidationPage:
    """Cross-validations, newest first."""
    arguments = {"list": "cross-validations", "project": project, "dataset": dataset}
    position = decode(page_token, arguments, str, str)
    after = (decode_time(position[0]), position[1]) if position else None
    limit = page_limit(page_size)
    found = cross_validations.page(session, project, dataset, limit + 1, after)
    token = None
    if len(found) > limit:
        last = found[limit - 1]
        token = encode([last.created_at.isoformat(), last.id], arguments)
    return CrossValidationPage(cross_validations=resource(session, found[:limit]), next_page_token=token)


@router.get("/{cross_validation_id}", responses=problems(404))
def read_cross_validation(row: CrossValidationDep, session: SessionDep) -> CrossValidation:
    """A cross-validation with the state of each fold."""
    return resource(session, [row])[0]


@router.get("/{cross_validation_id}/metrics", responses=problems(404))
def read_cross_validated_metrics(row: CrossValidationDep, session: SessionDep) -> CrossValidationMetrics:
    """Metrics over the samples of all folds together, each scored by the network that has not seen its group.

    Intervals are those of the mean, by a bootstrap that draws whole groups. They say how far it might be another with
    other patients, not with another draw of the folds or another start of the training. Folds whose jobs have not
    succeeded are named, and in none of the numbers.
    """
    return pooled.metrics_of(session, row)


@router.get("/{cross_validation_id}/samples", responses=problems(400, 404, 422))
def list_out_of_fold(
    row: CrossValidationDep,
    session: SessionDep,
    order_by: Annotated[MetricName, Query(description="the worst by this metric come first")] = "dice",
    fold: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="only this fold")] = None,
    name: Annotated[Id | None, Query(description="only samples with this text in their names")] = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> OutOfFoldPage:
    """The metrics of each sample by the network that has not seen it: the worst first, undefined ones last.

    The label that such a network contradicts most is the first to look at: it was not there to be learnt by heart.
    """
    arguments = {"list": "out of fold", "of": row.id, "order_by": order_by, "fold": fold, "name": name}
    position = decode(page_token, arguments, float, str)
    limit = page_limit(page_size)
    after = (position[0], position[1]) if position else None
    wanted = cross_validations.Wanted(fold, name)
    found = cross_validations.samples(session, row, wanted, limit + 1, after, order_by)
    last = cross_validations.place(found[limit - 1], order_by) if len(found) > limit else None
    return OutOfFoldPage(
        samples=[sample_resource(one) for one in found[:limit]],
        total=cross_validations.count(session, row, wanted),
        next_page_token=encode(list(last), arguments) if last else None,
    )


@router.post("/{cross_validation_id}:cancel", status_code=202, responses=problems(403, 404))
def cancel_cross_validation(cross_validation_id: str, caller: TrainDep, session: SessionDep) -> CrossValidation:
    """End all of its jobs that are not over. Asking again, or too late, changes nothing."""
    row = _seen(cross_validations.find(session, cross_validation_id, lock=True), cross_validation_id, caller)
    ended = [end(session, caller, job.id) for job in cross_validations.jobs_of(session, [row.id])]
    if any(ended):
        facts = {"jobs": sum(ended)}
        audit.add(session, caller, Action.CROSS_VALIDATION_CANCEL, row.id, row.project_id, **facts)
    session.flush()
    return resource(session, [row])[0]


@router.delete("/{cross_validation_id}", status_code=204, responses=problems(403, 404, 409, 503))
def delete_cross_validation(cross_validation_id: str, caller: TrainDep, context: ContextDep) -> None:
    """Remove a cross-validation that is over, with its jobs, their models and the versions of its folds. For good.

    Refused as the deletion of any of its jobs would be, and while another job is over one of its folds' versions.
    Where that breaks off, its jobs are `DELETING`, and it can be deleted again.
    """
    with context.sessions.begin() as session:
        row = _seen(cross_validations.find(session, cross_validation_id, lock=True), cross_validation_id, caller)
        if others := cross_validations.other_jobs(session, row):
            raise Conflict(f"Other jobs are over the versions of its folds: delete {', '.join(others[:5])} first.")
        found = cross_validations.jobs_of(session, [row.id])
        for job in found:
            allow_deletion(session, caller, job.id)
    for job in found:
        erase(context, job.id)
    with context.sessions.begin() as session:
        row = _seen(cross_validations.find(session, cross_validation_id, lock=True), cross_validation_id, caller)
        lists = [keys.version(row.dataset_id, row.first_version + fold) for fold in range(len(row.folds))]
        facts = {"name": row.name, "jobs": len(found)}
        audit.add(session, caller, Action.CROSS_VALIDATION_DELETE, row.id, row.project_id, **facts)
        try:
            cross_validations.remove(session, row)
        except IntegrityError as error:
            raise Conflict("A job over one of its folds' versions was posted just now: look at the jobs.") from error
    for key in lists:  # behind the commit: objects that no row names harm nobody
        context.store.delete(key)


def resource(session: Session, rows: Sequence[tables.CrossValidation]) -> list[CrossValidation]:
    """Cross-validations as the API shows them."""
    found: dict[str, dict[int, tables.Job]] = {row.id: {} for row in rows}
    for job in cross_validations.jobs_of(session, list(found)):
        if job.cross_validation_id is not None and job.fold is not None and job.state != State.DELETING:
            found[job.cross_validation_id][job.fold] = job
    return [
        CrossValidation(
            id=row.id,
            project_id=row.project_id,
            name=row.name,
            state=pooled.state_of(len(row.folds), [State(job.state) for job in found[row.id].values()]),
            dataset_id=row.dataset_id,
            dataset_version=row.dataset_version,
            seed=row.seed,
            left_out=row.left_out,
            spec=JobSpec.model_validate(row.spec),
            folds=[_fold(row, place, found[row.id].get(place + 1)) for place in range(len(row.folds))],
            created_at=row.created_at,
        )
        for row in rows
    ]


def _fold(row: tables.CrossValidation, place: int, job: tables.Job | None) -> FoldJob:
    return FoldJob(
        fold=place + 1,
        **row.folds[place],
        dataset_version=row.first_version + place,
        job_id=job.id if job else None,
        state=State(job.state) if job else None,
        test_dice=(job.metrics or {}).get("test_dice") if job and job.state == State.SUCCEEDED else None,
        cause=(job.failure or {}).get("cause") if job else None,
    )


def sample_resource(one: cross_validations.OutOfFold) -> OutOfFoldSample:
    """A sample of a fold as the API shows it."""
    base = f"/v1/jobs/{one.row.job_id}/samples/{quote(one.row.name, safe='')}"
    return OutOfFoldSample(
        sample=one.row.name,
        fold=one.fold,
        job_id=one.row.job_id,
        ordinal=one.row.ordinal,
        group=one.group,
        **{metric: getattr(one.row, metric) for metric in METRICS},
        classes=one.row.classes,
        mask_sha256=one.mask_sha256,
        image=f"{base}/image",
        overlay=f"{base}/overlay",
    )
