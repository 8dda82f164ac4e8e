"""Models under names: numbers, stages, tags, and who may change them, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.actions import Action
from service.api.dependencies import Context
from service.db import access, audit, jobs
from service.db.tables import DEFAULT_PROJECT
from service.jobs.lifecycle import State
from service.roles import Role
from workers.contract.request import JobSpec

Add = Callable[..., str]


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def add_model(context: Context, add_dataset: Callable[..., str]) -> Add:
    """Let a job succeed: `add_model(job_id, name) -> job id`."""
    dataset_id = add_dataset()

    def add(job_id: str, name: str = "") -> str:
        with context.sessions.begin() as session:
            job = jobs.add_job(session, job_id, JobSpec(dataset_id=dataset_id, name=name))
            for state in (State.STARTING, State.RUNNING, State.SUCCEEDED):
                jobs.set_state(session, job, state)
        return job_id

    return add


def change(client: TestClient, model_id: str, seen: int | str | None = "*", **fields: Any) -> httpx.Response:
    headers = {} if seen is None else {"If-Match": seen if seen == "*" else f'"{seen}"'}
    return client.patch(f"/v1/models/{model_id}", json=fields, headers=headers)


def ids(client: TestClient, **asked: Any) -> list[str]:
    answer = client.get("/v1/models", params=asked)
    assert answer.status_code == 200, answer.text
    return [model["id"] for model in answer.json()["models"]]


def test_numbers_follow_each_other_and_are_never_given_twice(client: TestClient, add_model: Add) -> None:
    for job_id, name in (("job-a", "polyps"), ("job-b", ""), ("job-c", " polyps "), ("job-d", "")):
        add_model(job_id, name)
    found = {
        one["id"]: (one["name"], one["version"], one["stage"]) for one in client.get("/v1/models").json()["models"]
    }
    assert found == {
        "job-a": ("polyps", 1, "none"),
        "job-b": ("lesions", 1, "none"),  # the dataset's name
        "job-c": ("polyps", 2, "none"),
        "job-d": ("lesions", 2, "none"),
    }
    assert client.delete("/v1/jobs/job-c").status_code == 204
    assert client.get("/v1/models/job-c").status_code == 404
    add_model("job-e", "polyps")
    assert client.get("/v1/models/job-e").json()["version"] == 3
    assert ids(client, name="polyps") == ["job-e", "job-a"]
    assert ids(client, name="polyps", version=3) == ["job-e"]


def test_pages_of_what_was_asked_for(client: TestClient, add_model: Add) -> None:
    expected = [add_model(f"job-{number}", "odd" if number % 2 else "even") for number in range(7)]
    found, token = [], ""
    while True:
        page = client.get("/v1/models", params={"name": "even", "page_size": 2, "page_token": token}).json()
        found += [model["id"] for model in page["models"]]
        if not (token := page["next_page_token"]):
            break
    assert found == expected[::-2]
    token = client.get("/v1/models", params={"name": "even", "page_size": 2}).json()["next_page_token"]
    assert client.get("/v1/models", params={"name": "odd", "page_token": token}).status_code == 400


def test_one_model_of_a_name_is_in_production(client: TestClient, context: Context, add_model: Add) -> None:
    for job_id, name in (("job-a", "polyps"), ("job-b", "polyps"), ("job-c", "ulcers")):
        add_model(job_id, name)
    for job_id in ("job-a", "job-c"):
        answer = change(client, job_id, stage="production").json()
        assert (answer["stage"], answer["archived"]) == ("production", None)
    answer = change(client, "job-b", 1, stage="production").json()
    assert (answer["stage"], answer["archived"], answer["revision"]) == ("production", "job-a", 2)
    again = change(client, "job-b", 2, stage="production").json()
    assert (again["archived"], again["revision"]) == (None, 2)  # nothing has changed
    assert ids(client, name="polyps", stage="production") == ["job-b"]
    assert ids(client, stage="archived") == ["job-a"]
    assert client.get("/v1/models/job-a").json()["revision"] == 3
    refused = client.delete("/v1/jobs/job-b")
    assert (refused.status_code, "'polyps' in production" in refused.json()["detail"]) == (409, True)
    assert client.delete("/v1/jobs/job-a").status_code == 204
    assert change(client, "job-b", stage="archived").status_code == 200
    assert client.delete("/v1/jobs/job-b").status_code == 204
    with context.database.read() as session:
        entries = audit.oldest(session, None, audit.Filter(action=Action.MODEL_CHANGE), 0, 99)
        stages = [(entry.target, entry.details["stage"]) for entry in entries]
    assert stages == [
        ("job-a", "production"),
        ("job-c", "production"),
        ("job-a", "archived"),
        ("job-b", "production"),
        ("job-b", "archived"),
    ]


def test_two_who_put_models_into_production_at_once(app: object, client: TestClient, add_model: Add) -> None:
    models = [add_model(f"job-{number}", "polyps") for number in range(6)]
    barrier = threading.Barrier(len(models))
    answers: list[int] = []

    def promote(job_id: str) -> None:
        barrier.wait(30)
        answers.append(change(client, job_id, stage="production").status_code)

    threads = [threading.Thread(target=promote, args=(job_id,)) for job_id in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * len(models)
    assert len(ids(client, stage="production")) == 1
    assert len(ids(client, stage="archived")) == len(models) - 1


def test_what_was_not_seen_is_not_overwritten(client: TestClient, add_model: Add) -> None:
    add_model("job-a")
    assert client.get("/v1/models/job-a").headers["etag"] == '"1"'
    assert change(client, "job-a", None, description="x").status_code == 428
    done = change(client, "job-a", 1, description="first")
    assert (done.status_code, done.headers["etag"]) == (200, '"2"')
    stale = change(client, "job-a", 1, description="second")
    assert (stale.status_code, "revision is 2" in stale.json()["detail"]) == (412, True)
    assert client.get("/v1/models/job-a").json()["description"] == "first"
    assert change(client, "job-a", 2, intended_use="research").json()["description"] == "first"


@pytest.mark.parametrize(
    "fields",
    [
        {"stage": "live"},
        {"tags": {"with space": "x"}},
        {"tags": {"": "x"}},
        {"tags": {"a": "x" * 201}},
        {"tags": {f"t{number}": "" for number in range(51)}},
        {"description": "a\0b"},
        {"intended_use": "x" * 10_001},
        {"version": 7},
    ],
)
def test_what_cannot_be_said_of_a_model(client: TestClient, add_model: Add, fields: dict[str, Any]) -> None:
    add_model("job-a")
    answer = change(client, "job-a", **fields)
    assert (answer.status_code, bool(answer.json()["errors"])) == (422, True)
    assert client.get("/v1/models/job-a").json()["revision"] == 1


def test_tags_are_found_by_name_and_by_value(client: TestClient, add_model: Add) -> None:
    for job_id, tags in (("job-a", {"site": "Graz", "a.b": "1"}), ("job-b", {"site": "Linz"}), ("job-c", {"x": ""})):
        add_model(job_id)
        assert change(client, job_id, tags=tags).json()["tags"] == tags
    assert ids(client, tag="site") == ["job-b", "job-a"]
    assert ids(client, tag="site=Graz") == ["job-a"]
    assert ids(client, tag="a.b=1") == ["job-a"]
    assert ids(client, tag="x") == ids(client, tag="x=") == ["job-c"]
    assert ids(client, tag="a") == ids(client, tag="site=graz") == []
    assert client.get("/v1/models", params={"tag": '"; drop'}).status_code == 422
    assert change(client, "job-a", tags={}).json()["tags"] == {}
    assert ids(client, tag="site") == ["job-b"]


def test_production_is_for_admins(client: TestClient, context: Context, add_model: Add) -> None:
    add_model("job-a")
    key = access.new_key()
    with context.sessions.begin() as session:
        access.add_key(session, key, name="ada", role=Role.TRAIN, project_id=DEFAULT_PROJECT, created_by="tests")
    trainer = {"Authorization": f"Bearer {key}", "If-Match": "*"}

    def stage(to: str) -> int:
        return client.patch("/v1/models/job-a", json={"stage": to}, headers=trainer).status_code

    assert [stage("staging"), stage("production"), stage("archived"), stage("none")] == [200, 403, 200, 200]
    assert change(client, "job-a", stage="production").status_code == 200
    assert [stage("production"), stage("archived")] == [200, 403]
    assert ids(client, stage="production") == ["job-a"]
