"""The end of a review: the next version of what was reviewed, and a job over it."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from service.actions import Action
from service.api.datasets import VersionNumber, version_resource
from service.api.dependencies import ContextDep, TrainDep, require_key
from service.api.idempotency import Answer, IdempotencyDep
from service.api.jobs import resource
from service.api.problems import problems
from service.db import audit, datasets, jobs
from service.errors import FieldError, Invalid
from service.jobs import checks
from service.jobs.posting import queue
from service.resources.finishing import Finish, Finished
from service.reviews import finishing
from service.roles import Caller
from workers.contract.request import JobSpec

router = APIRouter(
    prefix="/v1/datasets/{dataset_id}/versions",
    tags=["reviews"],
    dependencies=[Depends(require_key)],
    responses=problems(401, 404, 422),
)


@router.post(
    "/{number}/reviews:finish", status_code=201, response_model=Finished, responses=problems(400, 403, 409, 413, 503)
)
def finish_review(
    dataset_id: str,
    number: VersionNumber,
    wanted: Finish,
    context: ContextDep,
    caller: TrainDep,
    idempotency: IdempotencyDep,
) -> JSONResponse:
    """Make the next version: corrections in their labels' places, without what is excluded; and train on it.

    The other samples stay, flagged or not. Decisions about labels that stay hold on.
    """
    with context.database.read() as session:
        datasets.get(session, dataset_id, caller.project_id)
    with context.sessions() as session:

        def create() -> Answer:
            with context.database.read() as before:
                decided = finishing.read_decided(before, dataset_id, number)
                spec = _again(before, caller, dataset_id, wanted.again)
            if spec is not None:  # what is wrong with it would be wrong with the next version, too
                checks.check(context, caller, spec.model_copy(update={"dataset_version": number}))
            work = finishing.correction(context.store, context.settings.import_limits, decided)
            work.check()
            work.store()
            version = work.record(session)
            finishing.accept_corrections(session, version, decided, caller)
            project = datasets.get(session, dataset_id, None).project_id
            facts = {"number": version.number, "base": number, **work.counts}
            audit.add(session, caller, Action.VERSION_CREATE, dataset_id, project, **facts)
            job = None
            if spec is not None:
                named = {"dataset_id": dataset_id, "dataset_version": version.number}
                job = queue(session, caller, spec.model_copy(update=named), version)
            finished = Finished(
                version=version_resource(version),
                corrected=len(decided.corrected),
                excluded=len(decided.exclude),
                verified=len(decided.verified),
                job=resource(job) if job else None,
            )
            return Answer(finished, f"/v1/datasets/{dataset_id}/versions/{version.number}")

        answer = idempotency.answer(session, wanted.model_dump_json(), create)
        session.commit()
    context.bell.set()
    return answer


def _again(session: Session, caller: Caller, dataset_id: str, job_id: str | None) -> JobSpec | None:
    """What to train, as an earlier job did."""
    if job_id is None:
        return None
    job = jobs.get_training(session, job_id)
    if job is None or not caller.sees(job.project_id) or job.dataset_id != dataset_id:
        fault = FieldError(field="again", reason=f"there is no job {job_id!r} over this dataset")
        raise Invalid("The job to train again is not there.", [fault])
    return JobSpec.model_validate(job.spec)
