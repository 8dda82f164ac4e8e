"""The OpenAPI document against the service: Schemathesis asks what it describes, and also what it rules out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, cycle
from types import ModuleType

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.openapi import from_asgi

from service.api.dependencies import Context
from service.db import access, jobs, projects
from service.db.base import now
from service.jobs.ingest import read_result
from service.roles import Role
from service.settings import Settings
from tests.records import put_upload

NOBODY, OPERATOR = "nobody", "operator"
JOB, DATASET, UPLOAD = "job-real", "ds-real", "upl-real"
CONFIG = {
    "seed": 1,
    "continue-on-failure": True,
    "generation": {"max-examples": 6, "deterministic": True, "no-shrink": True, "database": "none"},
    "request-timeout": 20,
    "max-stream-events": 1,
    "phases": {"stateful": {"enabled": False}},
    "checks": {
        # The schema cannot tell that page tokens are ours, moments ahead, names visible or keys not used before.
        "positive_data_acceptance": {"enabled": False},
    },
    "operations": [
        # There is no cluster here; that a part is missing is what it is for.
        {"include-name": "GET /readyz", "checks": {"not_a_server_error": {"enabled": False}}},
        # Pydantic reads `true` as 1 and a number as seconds since 1970.
        {
            "include-name": [
                "POST /v1/jobs",
                "PATCH /v1/projects/{project_id}",
                "GET /v1/audit",
                "GET /v1/audit.jsonl",
            ],
            "checks": {"negative_data_rejection": {"enabled": False}},
        },
        # A parameter of the query that nobody knows is passed over, here as everywhere; here the generator tries one.
        {
            "include-name": [
                "GET /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/overlay",
                "GET /v1/jobs/{job_id}/samples/{sample}/jobs",
            ],
            "checks": {"negative_data_rejection": {"enabled": False}},
        },
        # `/jobs/x:cancel` and `/jobs/schema` fit `/jobs/{job_id}` as well, so that its methods are allowed too.
        {"include-path-regex": "(:[a-z]+|/jobs/schema)$", "checks": {"allow_header_conformance": {"enabled": False}}},
    ],
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Schemathesis asks without a pause: no limits."""
    return settings.model_copy(update={"requests_per_minute": 0, "attempts_per_minute": 0})


@pytest.fixture(params=[NOBODY, *Role, OPERATOR])
def headers(request: pytest.FixtureRequest, context: Context, things: dict[str, str | int]) -> dict[str, str]:
    """What this caller sends along."""
    if request.param == NOBODY:
        return {}
    role, project = (Role.ADMIN, None) if request.param == OPERATOR else (request.param, things["project_id"])
    key = access.new_key()
    with context.sessions.begin() as session:
        access.add_key(session, key, name="caller", role=role, project_id=project, created_by="tests")
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def things(context: Context, finish_job: Callable[..., str], scripted: ModuleType) -> dict[str, str | int]:
    """What there is, by the names that parameters of paths have."""
    with context.sessions.begin() as session:
        project = projects.add(session, "real").id
        spare = access.add_key(
            session, access.new_key(), name="spare", role=Role.READ, project_id=project, created_by="tests"
        ).id
    finish_job(DATASET, JOB, project)
    scripted.write_result(context.store, JOB, 1, 2)
    result = read_result(context.store, JOB)
    assert result is not None
    with context.sessions.begin() as session:
        row = jobs.lock_job(session, JOB)
        assert row is not None
        jobs.add_result(session, row, result)
        attempt = jobs.get_attempt(session, JOB, 1)
        assert attempt is not None
        attempt.finished_at = now()  # so that its log is here, and not on the cluster
    return {
        "project_id": project,
        "dataset_id": DATASET,
        "upload_id": UPLOAD,
        "job_id": JOB,
        "model_id": JOB,
        "key_id": spare,
        "sample": "case 1",
        "number": 1,
        "name": "model.bin",
    }


@pytest.fixture
def ask_for_what_there_is(context: Context, things: dict[str, str | int]) -> Iterator[None]:
    """Have every other request name things that exist."""
    turns = cycle((True, False))

    def before_call(_context: schemathesis.HookContext, case: schemathesis.Case, _kwargs: object) -> None:
        deletes = case.method == "DELETE" and not case.operation.path.startswith("/v1/uploads/")
        if not next(turns) or deletes:  # what is there is still asked for by others
            return
        case.path_parameters.update({name: things[name] for name in case.path_parameters.keys() & things.keys()})
        if isinstance(case.body, dict) and "dataset_id" in case.body:
            case.body["dataset_id"] = DATASET
        if case.operation.path.startswith("/v1/uploads/"):
            put_upload(context, UPLOAD, str(things["project_id"]))

    schemathesis.hook(before_call)
    yield
    schemathesis.hooks.unregister(before_call)


@pytest.mark.usefixtures("ask_for_what_there_is")
def test_the_service_answers_as_it_describes_itself(app: FastAPI, headers: dict[str, str]) -> None:
    config = schemathesis.Config.from_dict({**CONFIG, "headers": headers})
    faults, asked = {}, 0
    for event in from_schema(from_asgi("/openapi.json", app, config=config)).execute():
        assert not isinstance(event, FatalError), event.exception
        if isinstance(event, NonFatalError):
            faults[event.label] = repr(event.value)
        if isinstance(event, ScenarioFinished):
            asked += len(event.recorder.interactions)
            for check in chain.from_iterable(event.recorder.checks.values()):
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    what = f"{check.name}: {event.recorder.label}: {failure.title}"
                    faults.setdefault(what, f"{failure.message}\n{check.failure_info.code_sample}")
    assert asked > 1000
    assert not faults, "\n\n".join(f"{what}\n{how}" for what, how in faults.items())
