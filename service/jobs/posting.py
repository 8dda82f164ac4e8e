"""The one way into the queue: of trainings, of predictions, of the folds of a cross-validation."""

from __future__ import annotations

import secrets

from sqlalchemy.orm import Session

from service.actions import Action
from service.db import audit, jobs, tables
from service.jobs import predictions, warm_start
from service.roles import Caller
from workers.contract.prediction import AnySpec, PredictSpec


def queue(
    session: Session,
    caller: Caller,
    spec: AnySpec,
    version: tables.DatasetVersion,
    priority: int = 0,
    reproduces: str | None = None,
) -> tables.Job:
    """Queue a job that has been checked, and put it down in the audit trail.

    Raises:
        Invalid: the model that it would start from, or predict by, was deleted meanwhile.
    """
    project_id = session.get_one(tables.Dataset, spec.dataset_id).project_id
    if isinstance(spec, PredictSpec):
        predictions.hold(session, spec.model_id, project_id)
    else:
        warm_start.check(session, spec, project_id, version, hold=True)
    job = jobs.add_job(session, f"job-{secrets.token_hex(8)}", spec, priority, reproduces)
    facts = {"name": job.name, "dataset_id": job.dataset_id, "dataset_version": job.dataset_version}
    facts |= {"priority": priority} if priority else {}
    facts |= {"reproduces": reproduces} if reproduces else {}
    facts |= {"task": job.task, "model": spec.model_id} if isinstance(spec, PredictSpec) else {}
    audit.add(session, caller, Action.JOB_CREATE, job.id, job.project_id, **facts)
    return job
