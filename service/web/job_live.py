"""What the upper part of a job's page shows, which is drawn anew while the job runs."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from service.api.models import checkpoints
from service.db import datasets, histograms, jobs
from service.db.tables import Job
from service.jobs.lifecycle import State, can_retry
from service.roles import Caller, Role
from service.web.evaluation import evaluation_of
from service.web.forms import shown
from workers.contract.request import JobSpec


def live(session: Session, job: Job, visitor: Caller) -> dict[str, Any]:
    """The values of the template `job_live.html` beside those of the page."""
    state = State(job.state)
    version = datasets.version(session, job.dataset_id, job.dataset_version)
    may = visitor.role.includes(Role.TRAIN)
    files = jobs.artifacts(session, job.id) if state is State.SUCCEEDED else []
    return {
        "histogram": histograms.confidence_histogram(session, job.id, version.train_count, job.epochs_done),
        "evaluation": evaluation_of(session, job),
        "files": files,
        "checkpoints": checkpoints(job, files),
        "may": {
            "cancel": may and not state.terminal and state is not State.CANCELLING,
            "retry": may and can_retry(state),
            "delete": may and state.terminal,
            "again": may,
        },
        "again": form_address(JobSpec.model_validate(job.spec)),
    }


def form_address(spec: JobSpec) -> str:
    """The form of a job, filled in as in that one."""
    defaults = JobSpec(dataset_id=spec.dataset_id)
    query = {"dataset": spec.dataset_id, "version": str(spec.dataset_version)}
    for name in JobSpec.model_fields:
        value = getattr(spec, name)
        if name in {"dataset_id", "dataset_version", "network", "method"} or value == getattr(defaults, name):
            continue
        query[name] = shown(value)
    if spec.network != defaults.network:
        query["network.name"] = spec.network.name
        query |= {"network.arguments": json.dumps(spec.network.arguments)} if spec.network.arguments else {}
    usual = type(spec.method)()
    query |= {"method.name": spec.method.name} if spec.method.name != defaults.method.name else {}
    for name in type(spec.method).model_fields:
        if getattr(spec.method, name) != getattr(usual, name):
            query[f"method.{name}"] = shown(getattr(spec.method, name))
    return f"/jobs/new?{urlencode(query)}"
