"""What the page of a job that predicts a dataset shows."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from service.api.jobs import resource
from service.db import datasets, jobs, models
from service.db.tables import Job
from service.jobs.lifecycle import State, can_retry
from service.roles import Caller, Role
from workers.contract.outputs import Output
from workers.contract.prediction import PredictSpec

LISTED = 30  # files; the API lists all


def prediction_values(session: Session, job: Job, spec: PredictSpec, visitor: Caller) -> dict[str, Any]:
    """The values of the template `prediction_job.html`."""
    state = State(job.state)
    files = jobs.artifacts(session, job.id) if state is State.SUCCEEDED else []
    tables = [file for file in files if file.name.startswith("samples.")]
    zips = [file for file in files if file not in tables]
    may = visitor.role.includes(Role.TRAIN)
    return {
        "job": resource(job),
        "spec": spec,
        "dataset": datasets.get(session, job.dataset_id, visitor.project_id),
        "model": models.get(session, spec.model_id),
        "tables": tables,
        "zips": zips[:LISTED],
        "more": len(zips) - LISTED,
        # By output: how much the zip of all of it will be.
        "outputs": {
            output: sum(file.size for file in zips if file.name.startswith(f"{output.folder}-"))
            for output in map(Output, spec.outputs)
        },
        "may": {
            "cancel": may and not state.terminal and state is not State.CANCELLING,
            "retry": may and can_retry(state),
            "delete": may and state.terminal,
        },
    }
