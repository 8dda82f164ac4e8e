"""Every route, by every role, on things of its own project and of another: one table, and no route without a row."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from PIL import Image

from service.api.dependencies import SESSION_COOKIE, Context
from service.db import access, jobs, projects
from service.jobs.ingest import read_prediction, read_result
from service.jobs.lifecycle import State
from service.roles import Role
from service.settings import Settings
from tests.records import put_upload
from workers.contract.prediction import PredictSpec
from workers.contract.request import JobSpec

NOBODY, READ, REVIEW, TRAIN, ADMIN, OPERATOR = "nobody", "read", "review", "train", "admin", "operator"
CALLERS = (NOBODY, *Role, OPERATOR)
UNKNOWN = {
    "project": "prj-none",
    "dataset": "ds-none",
    "job": "job-none",
    "queued": "queued-none",
    "predicted": "predicted-none",
    "key": "key-none",
    "upload": "upl-none",
}
SAMPLE = "case 1"


@dataclass(frozen=True)
class Row:
    """What a route answers.

    `path` and `body` may name `{project}`, `{dataset}`, `{upload}`, `{job}`, `{queued}`, `{predicted}`, `{key}`: then
    the route is tried with those of the caller's own project, those of another, and some that nobody has. `lists`: what
    it shows is looked through.
    """

    needs: str
    ok: int = 200
    path: str = ""  # if it is not that of the route
    foreign: int = 404  # what is answered for things of another project, just as for those that nobody has
    body: dict[str, Any] = field(default_factory=dict)  # arguments of the request
    page: bool = False  # of the browser: shows its session, and is sent to sign in without one
    lists: bool = False


def archive() -> bytes:
    """A dataset of one sample."""
    diagonal = np.eye(8, dtype=np.uint8) * 255
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as made:
        for folder, pixels in (("images", np.stack([diagonal] * 3, axis=-1)), ("masks", diagonal)):
            picture = io.BytesIO()
            Image.fromarray(pixels).save(picture, "PNG")
            made.writestr(f"{folder}/a.png", picture.getvalue())
    return sink.getvalue()


DATASET = "/v1/datasets/{dataset}"
UPLOAD = "/v1/uploads/{upload}"
SAMPLES = f"/v1/jobs/{{job}}/samples/{SAMPLE}"
REVIEWED = f"{DATASET}/versions/1/samples/{SAMPLE}/review"
KEYS = "/v1/projects/{project}/keys"
ROWS = {
    "GET /healthz": Row(NOBODY),
    "GET /readyz": Row(NOBODY, 503),  # no Ray in this test
    "GET /metrics": Row(READ),
    "GET /openapi.json": Row(NOBODY),
    "GET /docs": Row(NOBODY),
    "GET /docs/oauth2-redirect": Row(NOBODY),
    "GET /redoc": Row(NOBODY),
    "MOUNT /static": Row(NOBODY, path="/static/style.css"),
    # Datasets
    "GET /v1/datasets": Row(READ, lists=True),
    "POST /v1/datasets": Row(
        TRAIN,
        201,
        path="/v1/datasets?project={project}",
        body={"data": {"name": "new"}, "files": {"file": ("new.zip", archive())}},
    ),
    "GET /v1/datasets/{dataset_id}": Row(READ, path=DATASET),
    "DELETE /v1/datasets/{dataset_id}": Row(TRAIN, 409, path=DATASET),  # it has a job
    "GET /v1/datasets/{dataset_id}/versions": Row(READ, path=f"{DATASET}/versions"),
    "POST /v1/datasets/{dataset_id}/versions": Row(
        TRAIN,
        201,
        path=f"{DATASET}/versions",
        body={"files": {"changes": (None, '{"base": 1, "exclude": ["case 2"]}')}},
    ),
    "GET /v1/datasets/{dataset_id}/versions/{number}": Row(READ, path=f"{DATASET}/versions/1"),
    "GET /v1/datasets/{dataset_id}/versions/{number}/diff/{other}": Row(READ, path=f"{DATASET}/versions/1/diff/1"),
    "GET /v1/datasets/{dataset_id}/versions/{number}/samples": Row(READ, path=f"{DATASET}/versions/1/samples"),
    "GET /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/image": Row(
        READ, path=f"{DATASET}/versions/1/samples/{SAMPLE}/image"
    ),
    "GET /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/mask": Row(
        READ, path=f"{DATASET}/versions/1/samples/{SAMPLE}/mask"
    ),
    "GET /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/overlay": Row(
        READ, path=f"{DATASET}/versions/1/samples/{SAMPLE}/overlay"
    ),
    "GET /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/annotations": Row(
        READ, path=f"{DATASET}/versions/1/samples/{SAMPLE}/annotations"
    ),
    # Reviews
    "GET /v1/datasets/{dataset_id}/versions/{number}/reviews": Row(READ, path=f"{DATASET}/versions/1/reviews"),
    "GET /v1/datasets/{dataset_id}/versions/{number}/reviews/agreement": Row(
        READ, path=f"{DATASET}/versions/1/reviews/agreement"
    ),
    "GET /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/review": Row(READ, path=REVIEWED),
    "PUT /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/review": Row(
        REVIEW, path=REVIEWED, body={"json": {"decision": "flagged"}, "headers": {"If-Match": "*"}}
    ),
    "PUT /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/review/mask": Row(
        REVIEW, 422, path=f"{REVIEWED}/mask", body={"content": "no mask", "headers": {"If-Match": "*"}}
    ),
    "PUT /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/review/slices": Row(
        REVIEW,
        422,  # it is an image
        path=f"{REVIEWED}/slices",
        body={"json": {"slices": []}, "headers": {"If-Match": "*"}},
    ),
    "GET /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/review/mask": Row(
        READ,
        404,  # nobody has corrected it
        path=f"{REVIEWED}/mask",
    ),
    "POST /v1/datasets/{dataset_id}/versions/{number}/samples/{sample}/review:undo": Row(
        REVIEW, 412, path=f"{REVIEWED}:undo", body={"headers": {"If-Match": '"77"'}}
    ),
    "POST /v1/datasets/{dataset_id}/versions/{number}/reviews:finish": Row(
        TRAIN,
        409,  # nothing is to be changed
        path=f"{DATASET}/versions/1/reviews:finish",
        body={"json": {}},
    ),
    # Uploads
    "POST /v1/uploads": Row(
        TRAIN, 201, path="/v1/uploads?project={project}", body={"json": {"name": "new", "size": 1}}
    ),
    "GET /v1/uploads/{upload_id}": Row(TRAIN, path=UPLOAD),
    "GET /v1/uploads/{upload_id}/parts/{number}": Row(TRAIN, path=f"{UPLOAD}/parts/1"),
    "POST /v1/uploads/{upload_id}:complete": Row(
        TRAIN,
        409,
        path=f"{UPLOAD}:complete",
        body={"json": {"sha256": "0" * 64}},  # its part is not here
    ),
    "PUT /v1/uploads/{upload_id}/parts/{number}": Row(TRAIN, 204, path=f"{UPLOAD}/parts/1", body={"content": "x"}),
    "DELETE /v1/uploads/{upload_id}": Row(TRAIN, 204, path=UPLOAD),
    # Jobs
    "GET /v1/jobs": Row(READ, lists=True),
    "POST /v1/jobs": Row(TRAIN, 202, foreign=422, body={"json": {"dataset_id": "{dataset}"}}),
    "POST /v1/jobs:predict": Row(TRAIN, 202, foreign=422, body={"json": {"dataset_id": "{dataset}", "model": "{job}"}}),
    "GET /v1/jobs/schema": Row(READ),
    "GET /v1/jobs/{job_id}": Row(READ, path="/v1/jobs/{job}"),
    "PATCH /v1/jobs/{job_id}": Row(TRAIN, path="/v1/jobs/{queued}", body={"json": {"priority": -1}}),
    "POST /v1/jobs/{job_id}:cancel": Row(TRAIN, 202, path="/v1/jobs/{job}:cancel"),
    "POST /v1/jobs/{job_id}:retry": Row(TRAIN, 409, path="/v1/jobs/{job}:retry"),  # it has its model
    "DELETE /v1/jobs/{job_id}": Row(TRAIN, 409, path="/v1/jobs/{queued}"),  # it is not over
    "GET /v1/jobs/{job_id}/events": Row(READ, path="/v1/jobs/{job}/events"),
    "GET /v1/jobs/{job_id}/epochs": Row(READ, path="/v1/jobs/{job}/epochs"),
    "GET /v1/jobs/{job_id}/histogram": Row(READ, path="/v1/jobs/{job}/histogram"),
    "GET /v1/jobs/{job_id}/logs": Row(READ, 503, path="/v1/jobs/{job}/logs"),  # it is on the cluster
    "GET /v1/jobs/{job_id}/held-out": Row(READ, path="/v1/jobs/{job}/held-out"),
    "GET /v1/jobs/{job_id}/metrics": Row(READ, path="/v1/jobs/{job}/metrics"),
    "GET /v1/jobs/{job_id}/files": Row(READ, path="/v1/jobs/{predicted}/files"),
    "GET /v1/jobs/{job_id}/files/{name}": Row(READ, path="/v1/jobs/{predicted}/files/samples.csv"),
    "HEAD /v1/jobs/{job_id}/files/{name}": Row(READ, path="/v1/jobs/{predicted}/files/samples.csv"),
    "GET /v1/jobs/{job_id}/predictions": Row(READ, path="/v1/jobs/{predicted}/predictions"),
    "GET /v1/jobs/{job_id}/environment": Row(READ, path="/v1/jobs/{job}/environment"),
    "GET /v1/jobs/{job_id}/samples": Row(READ, path="/v1/jobs/{job}/samples"),
    "GET /v1/jobs/{job_id}/samples:order": Row(READ, path="/v1/jobs/{job}/samples:order"),
    "GET /v1/jobs/{job_id}/samples:cards": Row(READ, path="/v1/jobs/{job}/samples:cards?ordinal=0"),
    "GET /v1/jobs/{job_id}/samples:facets": Row(READ, path="/v1/jobs/{job}/samples:facets"),
    "POST /v1/jobs/{job_id}/reviews:decide": Row(
        REVIEW,
        path="/v1/jobs/{job}/reviews:decide",
        body={"json": {"decision": "flagged", "labels": [{"ordinal": 1}]}},
    ),
    "POST /v1/jobs/{job_id}/reviews:undo": Row(
        REVIEW, path="/v1/jobs/{job}/reviews:undo", body={"json": {"labels": [{"ordinal": 1}]}}
    ),
    "GET /v1/jobs/{job_id}/samples/{sample}": Row(READ, path=SAMPLES),
    "GET /v1/jobs/{job_id}/samples/{sample}/masks/{kind}": Row(READ, path=f"{SAMPLES}/masks/label"),
    "GET /v1/jobs/{job_id}/samples/{sample}/history": Row(READ, path=f"{SAMPLES}/history"),
    "GET /v1/jobs/{job_id}/samples/{sample}/jobs": Row(READ, path=f"{SAMPLES}/jobs"),
    "GET /v1/jobs/{job_id}/samples/{sample}/neighbours": Row(READ, path=f"{SAMPLES}/neighbours"),
    "GET /v1/jobs/{job_id}/samples/{sample}/image": Row(READ, path=f"{SAMPLES}/image"),
    "GET /v1/jobs/{job_id}/samples/{sample}/overlay": Row(READ, path=f"{SAMPLES}/overlay"),
    "GET /v1/jobs/{job_id}/samples/{sample}/map": Row(READ, path=f"{SAMPLES}/map"),
    "GET /v1/jobs/{job_id}/export": Row(READ, path="/v1/jobs/{job}/export?format=csv"),
    "POST /v1/jobs/{job_id}/import": Row(
        REVIEW, path="/v1/jobs/{job}/import?format=csv", body={"content": "sample,mask_sha256,decision"}
    ),
    # Models
    "GET /v1/models": Row(READ, lists=True),
    "GET /v1/models/{model_id}": Row(READ, path="/v1/models/{job}"),
    "GET /v1/models:compare": Row(READ, 422, path="/v1/models:compare?model={job}&model={job}"),
    "GET /v1/models/{model_id}/card": Row(READ, path="/v1/models/{job}/card"),
    "GET /v1/models/{model_id}/lineage": Row(READ, path="/v1/models/{job}/lineage"),
    "PATCH /v1/models/{model_id}": Row(
        TRAIN, path="/v1/models/{job}", body={"json": {"stage": "staging"}, "headers": {"If-Match": "*"}}
    ),
    "GET /v1/models/{model_id}/files/{name}": Row(READ, path="/v1/models/{job}/files/model.bin"),
    "HEAD /v1/models/{model_id}/files/{name}": Row(READ, path="/v1/models/{job}/files/model.bin"),
    "POST /v1/models/{model_id}:predict": Row(
        READ,
        409,  # it has no ONNX file
        path="/v1/models/{job}:predict",
        body={"content": "x", "headers": {"Content-Type": "image/png"}},
    ),
    # Access
    "GET /v1/me": Row(READ),
    "GET /v1/projects": Row(READ, lists=True),
    "POST /v1/projects": Row(OPERATOR, 201, body={"json": {"name": "third"}}),
    "GET /v1/projects/{project_id}": Row(READ, path="/v1/projects/{project}"),
    "PATCH /v1/projects/{project_id}": Row(
        OPERATOR, path="/v1/projects/{project}", body={"json": {"max_running_jobs": 2}}
    ),
    "POST /v1/projects/{project_id}/keys": Row(ADMIN, 201, path=KEYS, body={"json": {"name": "new", "role": "admin"}}),
    "GET /v1/projects/{project_id}/keys": Row(ADMIN, path=KEYS),
    "DELETE /v1/projects/{project_id}/keys/{key_id}": Row(ADMIN, 204, path=f"{KEYS}/{{key}}"),
    "GET /v1/keys": Row(OPERATOR),
    "POST /v1/keys": Row(OPERATOR, 201, body={"json": {"name": "another"}}),
    "DELETE /v1/keys/{key_id}": Row(OPERATOR, 204, path="/v1/keys/{spare}"),
    "GET /v1/audit": Row(ADMIN, lists=True),
    "GET /v1/audit.jsonl": Row(ADMIN, lists=True),
    # Pages
    "GET /login": Row(NOBODY, page=True),
    "POST /login": Row(NOBODY, 401, page=True, body={"data": {"key": "wrong"}}),
    "POST /logout": Row(NOBODY, 303, page=True),
    "GET /": Row(READ, page=True, lists=True),
    "GET /datasets/new": Row(TRAIN, page=True),
    "GET /datasets/{dataset_id}": Row(READ, path="/datasets/{dataset}", page=True),
    "GET /models": Row(READ, path="/models", page=True, lists=True),
    "GET /models/compare": Row(READ, 422, path="/models/compare?model={job}&model={job}", page=True),
    "GET /models/{model_id}": Row(READ, path="/models/{job}", page=True),
    "GET /jobs/new": Row(TRAIN, path="/jobs/new?dataset={dataset}", page=True),
    "GET /jobs/{job_id}": Row(READ, path="/jobs/{job}", page=True),
    "GET /jobs/{job_id}/before": Row(READ, 404, path="/jobs/{job}/before", page=True),  # there is no earlier version
    "GET /jobs/{job_id}/review": Row(READ, path="/jobs/{job}/review", page=True),
    "GET /jobs/{job_id}/samples/{sample}": Row(READ, path=f"/jobs/{{job}}/samples/{SAMPLE}", page=True),
}


@dataclass
class World:
    """Two projects with the same things in each, and everybody's keys to the first."""

    http: TestClient
    context: Context
    own: dict[str, str]
    other: dict[str, str]
    keys: dict[str, str]

    def ask(self, route: str, who: str, things: dict[str, str]) -> httpx.Response:
        """The request of a row, made by somebody, of these things."""
        row, method = ROWS[route], route.split(" ", maxsplit=1)[0].replace("MOUNT", "GET")
        path = filled(row.path or route.split(" ")[1], things)
        if "upload" in things and things != UNKNOWN:
            put_upload(self.context, things["upload"], things["project"])
        headers = {}
        if who != NOBODY and row.page:
            headers["Cookie"] = f"{SESSION_COOKIE}={self.signed_in(who)}"
        elif who != NOBODY:
            headers["Authorization"] = f"Bearer {self.keys[who]}"
        body = filled(row.body, things)
        headers |= body.pop("headers", {})
        return self.http.request(method, path, headers=headers, follow_redirects=False, **body)

    def signed_in(self, who: str) -> str:
        with self.context.sessions.begin() as session:
            caller = access.find_key(session, self.keys[who])
            assert caller is not None
            return access.sign_in(session, caller)


def filled(value: Any, things: dict[str, str]) -> Any:
    """A path or body with the names of things put in."""
    if isinstance(value, dict):
        return {name: filled(part, things) for name, part in value.items()}
    if isinstance(value, str):
        for name, thing in things.items():
            value = value.replace(f"{{{name}}}", thing)
    return value


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nobody asks for everything here, too: no limits."""
    return settings.model_copy(update={"attempts_per_minute": 0})


@pytest.fixture
def world(
    context: Context, stranger: TestClient, finish_job: Callable[..., str], scripted: ModuleType
) -> Iterator[World]:
    sides = []
    for side in ("a", "b"):
        with context.sessions.begin() as session:
            project = projects.add(session, f"project-{side}").id
            victim = access.add_key(
                session,
                access.new_key(),
                name=f"key-of-{side}",
                role=Role.READ,
                project_id=project,
                created_by="tests",
            ).id
        job = finish_job(f"ds-{side}", f"job-{side}", project)
        scripted.write_result(context.store, job, 1, 2)
        result = read_result(context.store, job)
        assert result is not None
        with context.sessions.begin() as session:
            row = jobs.lock_job(session, job)
            assert row is not None
            jobs.add_result(session, row, result)
        sides.append({"project": project, "dataset": f"ds-{side}", "job": job, "key": victim, "upload": f"upl-{side}"})
    with context.sessions.begin() as session:
        for side in sides:
            side["queued"] = side["job"].replace("job", "queued")
            jobs.add_job(session, side["queued"], JobSpec(dataset_id=side["dataset"]))
            side["predicted"] = side["job"].replace("job", "predicted")
            spec = PredictSpec(model_id=side["job"], dataset_id=side["dataset"])
            predicted = jobs.add_job(session, side["predicted"], spec)
            scripted.write_prediction(context.store, predicted.id, 1, 6)
            made = read_prediction(context.store, predicted.id, 6)
            assert made is not None
            jobs.add_prediction(session, predicted, made)
            for state in (State.STARTING, State.RUNNING, State.SUCCEEDED):
                jobs.set_state(session, predicted, state)
    keys = {who: access.new_key() for who in CALLERS if who != NOBODY}
    with context.sessions.begin() as session:
        for who, key in keys.items():
            role, project_id = (Role.ADMIN, None) if who == OPERATOR else (Role(who), sides[0]["project"])
            access.add_key(session, key, name=who, role=role, project_id=project_id, created_by="tests")
        spare = access.add_key(
            session, access.new_key(), name="spare", role=Role.ADMIN, project_id=None, created_by="tests"
        )
        for side in sides:
            side["spare"] = spare.id
    yield World(stranger, context, sides[0], sides[1], keys)


def expected(row: Row, who: str, *, foreign: bool) -> int:
    """The status that the table states."""
    order = (NOBODY, *Role, OPERATOR)
    if row.needs == NOBODY:
        return row.ok
    if who == NOBODY:
        return 303 if row.page else 401
    if order.index(who) < order.index(row.needs):
        return 403
    return row.foreign if foreign and who != OPERATOR and scoped(row) else row.ok


def scoped(row: Row) -> bool:
    """Whether the request names a thing of a project."""
    return any(f"{{{name}}}" in row.path + str(row.body) for name in UNKNOWN)


def test_no_route_is_without_a_row(app: FastAPI) -> None:
    routes = set()
    for route in iter_route_contexts(app.routes):
        methods = route.methods or {"MOUNT"}
        # HEAD beside GET is Starlette's own doing, for its plain routes
        routes |= {f"{method} {route.path}" for method in (methods - {"HEAD"} or methods)}
    assert routes == ROWS.keys()


def test_the_description_names_the_refusals(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    for route, row in ROWS.items():
        method, path = route.lower().split(" ")
        if path not in paths or method not in paths[path]:
            continue
        known = paths[path][method]["responses"].keys()
        assert ("401" in known) == (row.needs != NOBODY), route
        assert ("403" in known) == (row.needs not in {NOBODY, READ}), route


@pytest.mark.parametrize("foreign", [False, True], ids=["own", "other"])
def test_every_route_answers_each_role_as_the_table_says(world: World, foreign: bool) -> None:
    wrong = []
    for route, row in ROWS.items():
        for who in CALLERS:
            answer = world.ask(route, who, world.other if foreign else world.own)
            wanted = expected(row, who, foreign=foreign)
            if answer.status_code != wanted:
                wrong.append(f"{route} by {who}: {answer.status_code} and not {wanted}: {answer.text[:200]}")
    assert wrong == []


def test_things_of_another_project_are_as_those_that_nobody_has(world: World) -> None:
    def told(answer: httpx.Response, things: dict[str, str]) -> tuple[int, str, dict[str, str]]:
        text = answer.text.replace(answer.headers["x-request-id"], "<request>")
        for name, thing in things.items():
            text = text.replace(thing, f"<{name}>")
        changing = {"x-request-id", "content-length", "date"}
        return answer.status_code, text, {k: v for k, v in answer.headers.items() if k not in changing}

    compared = 0
    for route, row in ROWS.items():
        if not scoped(row):
            continue
        for who in Role:
            theirs = told(world.ask(route, who, world.other), world.other)
            nobodys = told(world.ask(route, who, UNKNOWN), UNKNOWN)
            assert theirs == nobodys, f"{route} by {who}"
            compared += 1
    assert compared > 80
    # A key of another project is not to be had through the own one either.
    mixed = {**world.own, "key": world.other["key"]}
    assert world.ask("DELETE /v1/projects/{project_id}/keys/{key_id}", ADMIN, mixed).status_code == 404


def test_lists_show_what_is_the_caller_s_and_nothing_else(world: World) -> None:
    for things in (world.own, world.other):
        world.ask("POST /v1/jobs", OPERATOR, things)  # so that there is something in the audit trail of both
    for route, row in ROWS.items():
        if row.lists:
            seen = world.ask(route, ADMIN, {}).text
            everything = world.ask(route, OPERATOR, {}).text
            hidden = [world.other["project"], world.other["dataset"], world.other["job"], "project-b"]
            # Not as the beginning of another id: what is made here has ids like job-b0c1….
            assert not [text for text in hidden if re.search(rf"{text}(?!\w)", seen)], route
            for things in (world.own, world.other):
                assert any(things[name] in everything for name in ("project", "dataset", "job")), route
            assert any(world.own[name] in seen for name in ("project", "dataset", "job")), route


@pytest.mark.parametrize("path", ["/v1/datasets", "/v1/jobs", "/v1/models"])
def test_a_list_of_one_project_is_for_who_sees_it(world: World, path: str) -> None:
    def ask(who: str, project: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {world.keys[who]}"}
        return world.http.get(path, headers=headers, params={"project": project, "page_size": 1})

    name = path.rpartition("/")[2]
    for things, others in ((world.own, world.other), (world.other, world.own)):
        answer = ask(OPERATOR, things["project"])
        assert answer.status_code == 200
        assert things["dataset"] in answer.text or things["job"] in answer.text
        assert others["dataset"] not in answer.text and others["job"] not in answer.text
    whole = world.http.get(path, headers={"Authorization": f"Bearer {world.keys[READ]}"}, params={"page_size": 1})
    assert ask(READ, world.own["project"]).json()[name] == whole.json()[name]
    refused, unknown = ask(ADMIN, world.other["project"]), ask(ADMIN, UNKNOWN["project"])
    assert (refused.status_code, unknown.status_code) == (404, 404)
    assert refused.json()["detail"] == unknown.json()["detail"].replace(UNKNOWN["project"], world.other["project"])
    if token := ask(OPERATOR, world.own["project"]).json()["next_page_token"]:
        headers = {"Authorization": f"Bearer {world.keys[OPERATOR]}"}
        parameters = {"project": world.other["project"], "page_token": token}
        assert world.http.get(path, headers=headers, params=parameters).status_code == 400, "another question"
