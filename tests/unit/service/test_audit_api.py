"""The audit trail: that every change is in it, with its change or not at all, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from service.api import audit as audit_api
from service.db.tables import DEFAULT_PROJECT

KEYS = f"/v1/projects/{DEFAULT_PROJECT}/keys"


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def history(client: TestClient, add_dataset: Callable[..., str]) -> dict[str, str]:
    """Ids of what was made, in order: a project, a key of the default one, a job that was cancelled."""
    project = client.post("/v1/projects", json={"name": "skin"}).json()["id"]
    key = client.post(KEYS, json={"name": "Ada", "role": "train"}).json()
    ada = {"Authorization": f"Bearer {key['key']}"}
    job = client.post("/v1/jobs", json={"dataset_id": add_dataset(), "name": "first"}, headers=ada).json()["id"]
    for _ in range(2):
        client.post(f"/v1/jobs/{job}:cancel", headers=ada)
    return {"project": project, "key": key["id"], "job": job}


def entries(client: TestClient, **parameters: object) -> list[dict[str, object]]:
    answer = client.get("/v1/audit", params=parameters)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["entries"])


def test_every_change_is_there_once_newest_first(client: TestClient, history: dict[str, str]) -> None:
    found = entries(client)
    assert [(entry["action"], entry["target"], entry["project_id"]) for entry in found] == [
        ("job.cancel", history["job"], DEFAULT_PROJECT),
        ("job.create", history["job"], DEFAULT_PROJECT),
        ("key.create", history["key"], DEFAULT_PROJECT),
        ("project.create", history["project"], history["project"]),
    ]
    assert [entry["key_name"] for entry in found] == ["Ada", "Ada", "tests", "tests"]
    assert found[1]["details"]["name"] == "first"  # type: ignore[index]
    assert found[2]["details"] == {"name": "Ada", "role": "train", "expires_at": None}
    assert all(entry["request_id"] for entry in found)


@pytest.mark.parametrize(
    ("which", "count"),
    [
        ({"project": "{project}"}, 1),
        ({"project": DEFAULT_PROJECT}, 3),
        ({"action": "key.create"}, 1),
        ({"key": "{key}"}, 2),
        ({"target": "{job}"}, 2),
        ({"target": "{job}", "action": "job.cancel"}, 1),
        ({"since": "2020-01-01T00:00:00Z"}, 4),
        ({"until": "2020-01-01T00:00:00Z"}, 0),
    ],
)
def test_filters(client: TestClient, history: dict[str, str], which: dict[str, str], count: int) -> None:
    assert len(entries(client, **{name: value.format(**history) for name, value in which.items()})) == count


def test_periods_follow_each_other_without_gap_or_overlap(client: TestClient, history: dict[str, str]) -> None:
    middle = entries(client)[1]["at"]
    assert len(entries(client, since=middle)) + len(entries(client, until=middle)) == 4
    assert len(entries(client, since=middle)) == 2


@pytest.mark.parametrize(
    "which", [{"action": "x"}, {"since": "2020-01-01T00:00:00"}, {"since": "yesterday"}, {"key": "a\0b"}]
)
def test_a_filter_that_means_nothing_is_refused(client: TestClient, which: dict[str, str]) -> None:
    for path in ("/v1/audit", "/v1/audit.jsonl"):
        assert client.get(path, params=which).status_code == 422


def test_pages(client: TestClient, history: dict[str, str]) -> None:
    first = client.get("/v1/audit", params={"page_size": 3}).json()
    rest = client.get("/v1/audit", params={"page_size": 3, "page_token": first["next_page_token"]}).json()
    assert first["entries"] + rest["entries"] == entries(client)
    assert rest["next_page_token"] is None
    changed = client.get("/v1/audit", params={"page_token": first["next_page_token"], "action": "key.create"})
    assert changed.status_code == 400


def test_the_export_is_all_of_it_line_by_line_oldest_first(
    client: TestClient, history: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_api, "BATCH", 3)
    answer = client.get("/v1/audit.jsonl")
    assert answer.headers["content-type"] == "application/jsonl"
    assert [json.loads(line) for line in answer.text.splitlines()] == entries(client)[::-1]
    only = client.get("/v1/audit.jsonl", params={"action": "job.cancel"}).text.splitlines()
    assert len(only) == 1


def test_a_change_that_fails_is_not_put_down(
    client: TestClient, add_dataset: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr("service.api.jobs.resource", crash)  # after job and entry were written
    assert client.post("/v1/jobs", json={"dataset_id": add_dataset()}).status_code == 500
    assert entries(client) == []


def test_an_entry_that_cannot_be_written_undoes_its_change(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr("service.db.audit.add", crash)
    assert client.post(KEYS, json={"name": "Ada", "role": "read"}).status_code == 500
    assert client.get(KEYS).json()["keys"] == []
