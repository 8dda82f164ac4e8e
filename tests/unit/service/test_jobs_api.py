from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.api.dependencies import Context
from service.db import access, jobs, projects, tables
from service.db.tables import DEFAULT_PROJECT
from service.jobs import networks
from service.jobs.ingest import read_result
from service.jobs.lifecycle import State
from service.roles import Role
from tests.unit.service.fake_ray import FakeRay
from workers.contract import keys
from workers.contract.request import Failure, JobSpec
from workers.contract.store import StoreUnavailable
from workers.contract.store_local import LocalStore


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def post(client: TestClient, add_dataset: Callable[..., str]) -> Callable[..., dict[str, object]]:
    dataset_id = add_dataset()

    def post(**spec: object) -> dict[str, object]:
        answer = client.post("/v1/jobs", json={"dataset_id": dataset_id, **spec})
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
        return answer.json()

    return post


def test_a_posted_job_is_queued_and_can_be_read(client: TestClient, post: Callable[..., dict[str, object]]) -> None:
    job = post(name="first", epochs=3, method={"name": "plain"})
    assert job == client.get(f"/v1/jobs/{job['id']}").json()
    assert (job["state"], job["name"], job["attempt"], job["epochs_done"]) == ("QUEUED", "first", 0, 0)
    assert job["waiting_for"]
    assert job["spec"]["epochs"] == 3
    assert job["spec"]["method"] == {"name": "plain"}
    assert job["created_at"].endswith("Z")
    assert (job["progress"], job["metrics"], job["failure"], job["started_at"]) == (None, None, None, None)
    assert job["links"]["model"] is None


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"dataset_id": "ds-none"}, "dataset_id", "ds-none"),
        ({"dataset_version": 2}, "dataset_version", "no version 2"),
        ({"network": {"name": "Unet2"}}, "network.name", "did you mean UNet"),
        ({"network": {"name": "UNet", "arguments": {"chanels": [4]}}}, "network.arguments.chanels", "channels"),
        ({"epochs": 0}, "epochs", "greater than or equal to 1"),
        ({"epoch": 3}, "epoch", "not permitted"),
        ({"workers": 8, "batch_size": 4}, None, "batch_size 4 is smaller than workers 8"),
        ({"method": {"name": "dale", "momentum": 1}}, "method.dale.momentum", "less than 1"),
        ({"method": {"name": "dael"}}, "method", "dael"),
        ({"gpus_per_worker": 2}, "gpus_per_worker", "less than or equal to 1"),
        ({"learning_rate": "fast"}, "learning_rate", "number"),
    ],
)
@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_what_cannot_be_trained_is_refused_with_the_reason(
    client: TestClient,
    add_dataset: Callable[..., str],
    change: dict[str, object],
    field: str | None,
    words: str,
    query: str,
) -> None:
    answer = client.post(f"/v1/jobs{query}", json={"dataset_id": add_dataset(), **change})
    assert answer.status_code == 422
    faults = [fault for fault in answer.json()["errors"] if fault["field"] == field]
    assert faults, answer.text
    assert words in json.dumps(faults)
    assert client.get("/v1/jobs").json()["jobs"] == []


def test_the_schema_describes_every_option(client: TestClient) -> None:
    schema = client.get("/v1/jobs/schema").json()
    options = schema["properties"]
    assert schema["required"] == ["dataset_id"]
    assert schema["additionalProperties"] is False
    assert [name for name, option in options.items() if not option.get("description")] == []
    assert [name for name, option in options.items() if "default" not in option] == ["dataset_id"]
    assert (options["epochs"]["default"], options["epochs"]["minimum"]) == (60, 1)
    defaults = {name: option.get("default", "ds-1") for name, option in options.items()}
    assert (defaults.pop("priority"), defaults.pop("reproduces")) == (0, None)  # not of what a run reads
    assert JobSpec.model_validate(defaults) == JobSpec(dataset_id="ds-1")


def test_a_dry_run_says_what_would_be_trained_and_creates_nothing(
    client: TestClient, add_dataset: Callable[..., str]
) -> None:
    body = {"dataset_id": add_dataset(6), "workers": 2}
    headers = {"Idempotency-Key": "once"}
    answer = client.post("/v1/jobs", params={"dry_run": True}, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert plan["dataset"] | {"classes": 2, "sample_count": 6, "spatial_dims": 2, "version": 1} == plan["dataset"]
    assert plan["cluster"] == {"cpus": 2, "gpus": 0, "starts": "unknown", "waiting_for": ""}
    assert client.get("/v1/jobs").json()["jobs"] == []
    assert client.get("/v1/audit", params={"action": "job.create"}).json()["entries"] == []
    job = client.post("/v1/jobs", json=body, headers=headers)  # the key is still free
    assert (job.status_code, job.headers.get("Idempotency-Replayed")) == (202, None)
    assert job.json()["spec"] == plan["spec"]
    assert job.json()["project_id"] == plan["project_id"]


def test_a_dry_run_knows_the_cluster_and_the_queue(
    client: TestClient, add_dataset: Callable[..., str], ray: FakeRay
) -> None:
    dataset_id = add_dataset()

    def plan(workers: int, **spec: object) -> dict[str, object]:
        body = {"dataset_id": dataset_id, "workers": workers, **spec}
        answer = client.post("/v1/jobs", params={"dry_run": True}, json=body)
        return answer.json() | {"status": answer.status_code}

    assert plan(4)["cluster"] == {"cpus": 4, "gpus": 0, "starts": "now", "waiting_for": ""}
    assert plan(8, min_workers=2)["cluster"]["cpus"] == 4  # as many as there is room for
    never = plan(5)
    assert (never["status"], never["errors"][0]["field"]) == (422, "workers")
    client.post("/v1/jobs", json={"dataset_id": dataset_id, "workers": 3})  # ahead in the queue
    assert plan(1)["cluster"]["starts"] == "now"
    later = plan(2)["cluster"]
    assert (later["starts"], later["waiting_for"]) == ("later", "2 CPUs (1 free of 4)")


def test_a_network_is_built_before_the_job_is_taken(
    client: TestClient, add_dataset: Callable[..., str], context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def build(network: str, size: int, classes: int, channels: int, spatial_dims: int) -> str:
        asked.append((json.loads(network)["name"], size, classes, channels, spatial_dims))
        return "kernel larger than the image"

    monkeypatch.setattr(networks, "_build", build)
    object.__setattr__(context.settings, "network_check", True)
    body = {"dataset_id": add_dataset(), "image_size": 64}
    assert client.post("/v1/jobs", json=body).status_code == 202  # known to work
    answer = client.post("/v1/jobs", json={**body, "network": {"name": "UNet", "arguments": {"channels": [4, 8]}}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["reason"] == "kernel larger than the image"
    answer = client.post("/v1/jobs", json={**body, "image_size": 100})
    assert answer.json()["errors"][0]["field"] == "image_size"
    assert asked == [("UNet", 64, 2, 3, 2), ("UNet", 100, 2, 3, 2)]


def test_pages_are_stable_while_jobs_are_added(client: TestClient, post: Callable[..., dict[str, object]]) -> None:
    made = [post()["id"] for _ in range(5)]
    first = client.get("/v1/jobs", params={"page_size": 2}).json()
    later = post()["id"]
    seen = [job["id"] for job in first["jobs"]]
    token = first["next_page_token"]
    while token:
        page = client.get("/v1/jobs", params={"page_size": 2, "page_token": token}).json()
        seen += [job["id"] for job in page["jobs"]]
        token = page["next_page_token"]
    assert seen == made[::-1]
    assert client.get("/v1/jobs").json()["jobs"][0]["id"] == later
    refused = client.get("/v1/jobs", params={"page_token": first["next_page_token"], "state": "QUEUED"})
    assert refused.status_code == 400


def test_jobs_by_state(client: TestClient, post: Callable[..., dict[str, object]]) -> None:
    one, two = post()["id"], post()["id"]
    client.post(f"/v1/jobs/{one}:cancel")

    def listed(state: str) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params={"state": state}).json()["jobs"]]

    assert listed("QUEUED") == [two]
    assert listed("CANCELLED") == [one]
    assert client.get("/v1/jobs", params={"state": "LOST"}).status_code == 422


def test_a_queued_job_is_cancelled_at_once_and_only_once(
    client: TestClient, post: Callable[..., dict[str, object]], context: Context
) -> None:
    job_id = post()["id"]
    first = client.post(f"/v1/jobs/{job_id}:cancel")
    assert (first.status_code, first.json()["state"]) == (202, "CANCELLED")
    assert first.json()["finished_at"]
    assert client.post(f"/v1/jobs/{job_id}:cancel").json() == first.json()
    with context.database.read() as session:
        kinds = [(event.kind, event.data["state"]) for event in jobs.events_after(session, str(job_id), 0)]
    assert kinds == [("state", "QUEUED"), ("state", "CANCELLED")]


def test_a_running_job_is_cancelling_until_ray_says_so(
    client: TestClient, post: Callable[..., dict[str, object]], context: Context
) -> None:
    job_id = str(post()["id"])
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.begin_attempt(session, job, "x-1")
        jobs.set_state(session, job, State.RUNNING)
    for _ in range(2):
        assert client.post(f"/v1/jobs/{job_id}:cancel").json()["state"] == "CANCELLING"


def test_a_job_that_was_cancelled_is_queued_again_once(
    client: TestClient, post: Callable[..., dict[str, object]]
) -> None:
    job_id = post()["id"]
    assert client.post(f"/v1/jobs/{job_id}:retry").json()["state"] == "QUEUED"  # it is: nothing changes
    client.post(f"/v1/jobs/{job_id}:cancel")
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{job_id}:retry")
        assert (answer.status_code, answer.json()["state"]) == (202, "QUEUED"), answer.text
        assert (answer.json()["finished_at"], answer.json()["waiting_for"]) == (None, "its turn")
    told = client.get("/v1/audit", params={"action": "job.retry"}).json()["entries"]
    assert [(entry["target"], entry["details"]["state"]) for entry in told] == [(job_id, "CANCELLED")]


@pytest.mark.parametrize(("state", "words"), [(State.RUNNING, "by itself"), (State.SUCCEEDED, "model")])
def test_only_what_failed_or_was_cancelled_is_tried_again(
    client: TestClient, post: Callable[..., dict[str, object]], context: Context, state: State, words: str
) -> None:
    job_id = str(post()["id"])
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.begin_attempt(session, job, "x-1")
        jobs.set_state(session, job, state)
    answer = client.post(f"/v1/jobs/{job_id}:retry")
    assert answer.status_code == 409
    assert state in answer.json()["detail"]
    assert words in answer.json()["detail"]
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == state


def left_of(context: Context, job_id: str) -> list[str]:
    """Names of the tables and keys of the objects that still have something of a job."""
    with context.database.read() as session:
        owned = {table: table.c.job_id for table in tables.Job.metadata.sorted_tables if "job_id" in table.c}
        owned[tables.Job.__table__] = tables.Job.__table__.c.id
        found = [
            t.name for t, column in owned.items() if session.scalar(select(column).where(column == job_id).limit(1))
        ]
    return found + list(context.store.list(keys.job(job_id)))


@pytest.fixture
def succeeded(finished_job: str, context: Context, scripted: ModuleType) -> str:
    """A job that has something in every table and its model in the store."""
    scripted.write_result(context.store, finished_job, 1, 3)
    result = read_result(context.store, finished_job)
    assert result is not None
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, finished_job)
        assert job is not None
        jobs.add_result(session, job, result)
        if job.state != State.SUCCEEDED:
            jobs.set_state(session, job, State.SUCCEEDED)
    return finished_job


def test_a_job_is_deleted_with_everything_of_it(client: TestClient, context: Context, succeeded: str) -> None:
    tables_of_it = {"jobs", "attempts", "epochs", "confidences", "job_samples", "artifacts", "events"}
    assert tables_of_it < set(left_of(context, succeeded))
    kept = list(context.store.list("datasets/"))
    assert client.delete(f"/v1/jobs/{succeeded}").status_code == 204
    assert left_of(context, succeeded) == []
    assert list(context.store.list("datasets/")) == kept
    assert client.get(f"/v1/jobs/{succeeded}").status_code == 404
    assert client.delete(f"/v1/jobs/{succeeded}").status_code == 404
    (told,) = client.get("/v1/audit", params={"action": "job.delete"}).json()["entries"]
    assert (told["target"], told["details"]["state"]) == (succeeded, "SUCCEEDED")


def test_a_deletion_that_breaks_off_leaves_no_model_and_can_be_done_again(
    client: TestClient, context: Context, succeeded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 2

    def fail_soon(store: LocalStore, key: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreUnavailable("the disk is gone")
        delete(store, key)

    delete = LocalStore.delete
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", fail_soon)
        assert client.delete(f"/v1/jobs/{succeeded}").status_code == 503
    job = client.get(f"/v1/jobs/{succeeded}").json()
    assert (job["state"], job["links"]["model"]) == ("DELETING", None)
    assert client.get(f"/v1/models/{succeeded}").status_code in {404, 409}
    assert client.get("/v1/models").json()["models"] == []
    assert client.post(f"/v1/jobs/{succeeded}:retry").status_code == 409
    assert client.delete(f"/v1/jobs/{succeeded}").status_code == 204
    assert left_of(context, succeeded) == []
    assert len(client.get("/v1/audit", params={"action": "job.delete"}).json()["entries"]) == 1


def test_a_job_that_is_not_over_is_not_deleted(client: TestClient, post: Callable[..., dict[str, object]]) -> None:
    job_id = post()["id"]
    answer = client.delete(f"/v1/jobs/{job_id}")
    assert answer.status_code == 409
    assert f"/v1/jobs/{job_id}:cancel" in answer.json()["detail"]
    client.post(f"/v1/jobs/{job_id}:cancel")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204


@pytest.mark.parametrize(
    "path", ["", ":cancel", ":retry", "/epochs", "/logs", "/events", "/samples", "/samples/a/history"]
)
def test_an_unknown_job_is_not_found(client: TestClient, path: str) -> None:
    method = "POST" if path.startswith(":") else "GET"
    answer = client.request(method, f"/v1/jobs/job-none{path}")
    assert answer.status_code == 404
    assert "job-none" in answer.json()["detail"]


def sse(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def test_events_are_replayed_from_the_last_one_seen(
    client: TestClient, post: Callable[..., dict[str, object]], context: Context
) -> None:
    job_id = str(post()["id"])
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.begin_attempt(session, job, "x-1")
        jobs.add_event(session, job_id, "epoch", {"epoch": 0, "metrics": {"loss": 0.5}})
        jobs.fail(session, job, Failure(cause="it broke", hint="mend it"))
    events = sse(client.get(f"/v1/jobs/{job_id}/events").text)
    assert [event["event"] for event in events] == ["state", "state", "epoch", "state"]
    states = [json.loads(event["data"]).get("state") for event in events]
    assert states == ["QUEUED", "STARTING", None, "FAILED"]
    assert json.loads(events[-1]["data"])["cause"] == "it broke"
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))
    rest = sse(client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": events[1]["id"]}).text)
    assert rest == events[2:]
    assert client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"}).status_code == 400


def test_the_log_of_an_ended_attempt_is_kept(
    client: TestClient, post: Callable[..., dict[str, object]], context: Context
) -> None:
    job_id = str(post()["id"])
    assert client.get(f"/v1/jobs/{job_id}/logs").text == ""
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.begin_attempt(session, job, "x-1")
    assert client.get(f"/v1/jobs/{job_id}/logs").status_code == 503  # it is on a cluster that is not there
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.end_attempt(session, job, "epoch 1\0\nbroken, naïve")
        jobs.fail(session, job, Failure(cause="it broke"))
    answer = client.get(f"/v1/jobs/{job_id}/logs")
    assert answer.text == "epoch 1\nbroken, naïve"
    assert answer.headers["content-type"].startswith("text/plain")
    assert client.get(f"/v1/jobs/{job_id}/logs", params={"attempt": 2}).status_code == 404


def test_a_job_goes_before_others_by_its_priority(
    client: TestClient, post: Callable[..., dict[str, object]], context: Context, ray: FakeRay
) -> None:
    first, second = post(workers=3), post(priority=-4)
    assert (first["priority"], second["priority"], "priority" in second["spec"]) == (0, -4, False)
    assert client.patch(f"/v1/jobs/{second['id']}", json={"priority": 7}).json()["priority"] == 7
    with context.database.read() as session:
        assert [job.id for job in jobs.unfinished(session)] == [second["id"], first["id"]]
    entries = client.get("/v1/audit", params={"action": "job.priority"}).json()["entries"]
    assert [(entry["target"], entry["details"]) for entry in entries] == [(second["id"], {"before": -4, "priority": 7})]
    body = {"dataset_id": first["spec"]["dataset_id"], "workers": 2}
    told = {
        priority: client.post("/v1/jobs", params={"dry_run": True}, json={**body, "priority": priority}).json()
        for priority in (0, 1, 8)
    }
    assert [plan["cluster"]["starts"] for plan in told.values()] == ["later", "now", "now"]
    assert told[0]["priority"] == 0
    project = client.get(f"/v1/jobs/{first['id']}").json()["project_id"]
    limited = client.patch(f"/v1/projects/{project}", json={"max_running_jobs": 0})
    assert limited.json() == client.get(f"/v1/projects/{project}").json()
    plan = client.post("/v1/jobs", params={"dry_run": True}, json=body).json()
    assert plan["cluster"]["waiting_for"] == "its project's limit of 0 running jobs"
    assert client.get("/v1/audit", params={"action": "project.change"}).json()["entries"][0]["details"] == {
        "before": None,
        "max_running_jobs": 0,
    }
    client.post(f"/v1/jobs/{second['id']}:cancel")
    assert client.patch(f"/v1/jobs/{second['id']}", json={"priority": 1}).status_code == 409
    for wrong in ({"priority": 11}, {"priority": 0, "state": "QUEUED"}, {}):
        assert client.patch(f"/v1/jobs/{first['id']}", json=wrong).status_code == 422


def test_only_an_admin_lets_a_job_go_first(
    stranger: TestClient, context: Context, add_dataset: Callable[..., str]
) -> None:
    body = {"dataset_id": add_dataset()}
    answers = {}
    for role in (Role.TRAIN, Role.ADMIN):
        key = access.new_key()
        with context.sessions.begin() as session:
            access.add_key(session, key, name=role, role=role, project_id=DEFAULT_PROJECT, created_by="tests")
        headers = {"Authorization": f"Bearer {key}"}
        posted = [stranger.post("/v1/jobs", json={**body, "priority": n}, headers=headers) for n in (-10, 0, 1)]
        job_id = posted[0].json()["id"]
        changed = [stranger.patch(f"/v1/jobs/{job_id}", json={"priority": n}, headers=headers) for n in (-1, 1)]
        answers[role] = [answer.status_code for answer in (*posted, *changed)]
    assert answers == {Role.TRAIN: [202, 202, 403, 200, 403], Role.ADMIN: [202, 202, 202, 200, 200]}


def test_a_job_repeats_another_only_if_it_is_the_same(
    client: TestClient, post: Callable[..., dict[str, object]], context: Context
) -> None:
    first = post(name="first", epochs=3, timeout_seconds=60)
    again = client.post("/v1/jobs", json={**first["spec"], "name": "first again", "reproduces": first["id"]}).json()
    assert (again["reproduces"], again["spec"]) == (first["id"], first["spec"] | {"name": "first again"})
    entry = client.get("/v1/audit", params={"target": again["id"]}).json()["entries"][0]
    assert entry["details"]["reproduces"] == first["id"]
    answer = client.post("/v1/jobs", json={**first["spec"], "epochs": 4, "seed": 1, "reproduces": first["id"]})
    assert (answer.status_code, [fault["field"] for fault in answer.json()["errors"]]) == (422, ["epochs", "seed"])
    answer = client.post("/v1/jobs", json={**first["spec"], "reproduces": "job-none"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "reproduces")
    client.post(f"/v1/jobs/{first['id']}:cancel")
    assert client.delete(f"/v1/jobs/{first['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{again['id']}").json()["reproduces"] == first["id"]


def test_a_job_starts_from_a_model_of_its_own_kind_which_then_stays(
    client: TestClient, finish_job: Callable[..., str], context: Context, add_dataset: Callable[..., str]
) -> None:
    before = finish_job("ds-before", "job-before", DEFAULT_PROJECT)
    body = {"dataset_id": add_dataset(), "warm_start": before}
    post = partial(client.post, "/v1/jobs")

    def faults(**change: object) -> dict[str, str]:
        answer = post(json=body | change)
        assert answer.status_code == 422, answer.text
        return {fault["field"]: fault["reason"] for fault in answer.json()["errors"]}

    assert faults(network={"name": "SegResNet"}) == {"network.name": "is SegResNet, and UNet of the model"}
    assert faults(network={"name": "UNet", "arguments": {"norm": "batch"}}).keys() == {"network.arguments"}
    assert faults(warm_start="job-none") == {"warm_start": "there is no job 'job-none' in the project of the dataset"}
    with context.sessions.begin() as session:
        other = projects.add(session, "another").id
    assert faults(dataset_id=add_dataset(project_id=other)).keys() == {"warm_start"}
    three = add_dataset()
    with context.sessions.begin() as session:
        version = jobs.get_version(session, three, 1)
        assert version is not None
        version.mask_values = [0, 1, 2]
    assert faults(dataset_id=three) == {
        "dataset_id": "is 3 classes of 3 channels in 2 dimensions, "
        "and 2 classes of 3 channels in 2 dimensions of the model"
    }
    assert post(json=body, params={"dry_run": True}).status_code == 200

    job = post(json=body).json()
    assert job["spec"]["warm_start"] == before
    assert faults(warm_start=job["id"]) == {"warm_start": f"job {job['id']} has no model: it is QUEUED"}
    refused = client.delete(f"/v1/jobs/{before}")
    assert refused.status_code == 409
    assert job["id"] in refused.json()["detail"]
    client.post(f"/v1/jobs/{job['id']}:cancel")
    assert client.get(f"/v1/models/{before}").json()["warm_start"] is None
    assert client.delete(f"/v1/jobs/{before}").status_code == 204
    retried = client.post(f"/v1/jobs/{job['id']}:retry")  # from a model that is not there any more
    assert (retried.status_code, retried.json()["errors"][0]["field"]) == (422, "warm_start")
