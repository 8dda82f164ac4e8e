"""Keys: what is shown of them, when they end, and that nobody makes one that does more than their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from service.api import events
from service.api.dependencies import SESSION_COOKIE, Context
from service.db import access
from service.db.base import now
from service.db.tables import DEFAULT_PROJECT, ApiKey, BrowserSession

KEYS = f"/v1/projects/{DEFAULT_PROJECT}/keys"
Make = Callable[..., TestClient]


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def make(app: FastAPI, client: TestClient) -> Make:
    """Make a key, and a caller who shows it: `make(role, **fields)`."""

    def make(role: str, **fields: object) -> TestClient:
        answer = client.post(KEYS, json={"name": f"a {role}", "role": role, **fields})
        assert answer.status_code == 201, answer.text
        made = TestClient(app, raise_server_exceptions=False)
        made.headers["Authorization"] = f"Bearer {answer.json()['key']}"
        return made

    return make


def whose(caller: TestClient) -> str:
    return str(caller.get("/v1/me").json()["key_id"])


def test_a_key_is_shown_once(client: TestClient, context: Context) -> None:
    answer = client.post(KEYS, json={"name": " Ada ", "role": "train"})
    made = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (made["name"], made["role"], made["project_id"]) == ("Ada", "train", DEFAULT_PROJECT)
    assert (made["expires_at"], made["revoked_at"], made["last_used_at"]) == (None, None, None)
    assert made["created_by"] == whose(client)
    listed = client.get(KEYS)
    assert listed.json()["keys"] == [{name: value for name, value in made.items() if name != "key"}]
    for text in (listed.text, client.get("/v1/audit").text):
        assert made["key"] not in text
        assert access.fingerprint(made["key"]) not in text
    with context.database.read() as session:
        found = access.find_key(session, made["key"])
    assert found is not None and found.key_id == made["id"]


def test_keys_come_in_pages(client: TestClient) -> None:
    made = [client.post(KEYS, json={"name": str(n), "role": "read"}).json()["id"] for n in range(3)]
    first = client.get(KEYS, params={"page_size": 2}).json()
    rest = client.get(KEYS, params={"page_size": 2, "page_token": first["next_page_token"]}).json()
    assert [key["id"] for page in (first, rest) for key in page["keys"]] == made[::-1]
    assert rest["next_page_token"] is None


def test_me_says_what_a_key_may_do(client: TestClient, make: Make) -> None:
    me = client.get("/v1/me").json()
    assert (me["name"], me["role"], me["operator"], me["project"], me["expires_at"]) == (
        "tests",
        "admin",
        True,
        None,
        None,
    )
    me = make("review").get("/v1/me").json()
    assert (me["role"], me["operator"], me["project"]["name"]) == ("review", False, "default")


def test_a_role_that_is_too_low_is_told_which_is_needed(make: Make) -> None:
    answer = make("review").post("/v1/jobs", json={"dataset_id": "ds-1"})
    assert answer.status_code == 403
    problem = answer.json()
    assert problem["type"] == "urn:dale:problem:forbidden"
    assert "role train" in problem["detail"] and "review" in problem["detail"]
    assert problem["errors"][0]["hint"]
    answer = make("admin").post("/v1/projects", json={"name": "mine"})
    assert answer.status_code == 403
    assert "operator" in answer.json()["detail"] and DEFAULT_PROJECT in answer.json()["detail"]


def test_a_revoked_key_and_its_sessions_open_nothing_from_then_on(
    client: TestClient, make: Make, stranger: TestClient
) -> None:
    reader = make("read")
    key = reader.headers["Authorization"].removeprefix("Bearer ")
    assert stranger.post("/login", data={"key": key}, follow_redirects=False).status_code == 303
    assert stranger.get("/v1/me").json()["role"] == "read"  # by the cookie
    assert stranger.post("/v1/jobs", json={"dataset_id": "ds-1"}).status_code == 403
    path = f"{KEYS}/{whose(reader)}"
    assert [client.delete(path).status_code for _ in range(2)] == [204, 204]
    assert reader.get("/v1/jobs").status_code == stranger.get("/v1/jobs").status_code == 401
    assert stranger.get("/", follow_redirects=False).status_code == 303
    assert stranger.post("/login", data={"key": key}).status_code == 401
    actions = [entry["action"] for entry in client.get("/v1/audit").json()["entries"]]
    assert actions == ["key.revoke", "session.create", "key.create"]  # the second DELETE changed nothing
    assert client.get(KEYS).json()["keys"][0]["revoked_at"]


def test_a_stream_ends_with_its_key(
    client: TestClient, make: Make, add_dataset: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "POLL_SECONDS", 0.05)
    job = client.post("/v1/jobs", json={"dataset_id": add_dataset()}).json()["id"]
    reader = make("read")
    key_id = whose(reader)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(reader.get(f"/v1/jobs/{job}/events")))
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()  # the job is queued: there is more to come
    client.delete(f"{KEYS}/{key_id}")
    thread.join(20)
    assert "QUEUED" in answers[0].text


def test_keys_and_sessions_end_by_themselves(
    client: TestClient, make: Make, context: Context, stranger: TestClient
) -> None:
    ends = now() + timedelta(minutes=5)
    reader = make("read", expires_at=ends.isoformat())
    key = reader.headers["Authorization"].removeprefix("Bearer ")
    stranger.post("/login", data={"key": key}, follow_redirects=False)
    token = stranger.cookies[SESSION_COOKIE]
    with context.database.read() as session:
        kept = session.get(BrowserSession, access.fingerprint(token))
        assert kept is not None and kept.expires_at == ends
        later = ends + timedelta(seconds=1)
        assert access.find_key(session, key, at=later) is None
        assert access.find_session(session, token, at=later) is None
    with context.sessions.begin() as session:
        session.execute(update(ApiKey).where(ApiKey.id == whose(reader)).values(expires_at=now()))
    assert reader.get("/v1/jobs").status_code == 401
    assert client.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2100-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"role": "operator"}, "role"),
        ({"name": " "}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"project_id": "prj-1"}, "project_id"),
    ],
)
def test_a_key_that_cannot_be_is_refused(client: TestClient, change: dict[str, str], field: str) -> None:
    answer = client.post(KEYS, json={"name": "x", "role": "read", **change})
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


def test_no_key_gives_more_than_it_has(make: Make) -> None:
    ends = now() + timedelta(days=1)
    admin = make("admin", expires_at=ends.isoformat())
    inherited = admin.post(KEYS, json={"name": "x", "role": "admin"}).json()["expires_at"]
    assert datetime.fromisoformat(inherited) == ends
    longer = {"name": "x", "role": "read", "expires_at": (ends + timedelta(days=1)).isoformat()}
    answer = admin.post(KEYS, json=longer)
    assert answer.status_code == 422
    assert "when the key that makes it ends" in answer.json()["detail"]
    for method in ("GET", "POST"):  # nor an operator's key
        assert admin.request(method, "/v1/keys", json={"name": "x"}).status_code == 403


def test_the_operator_changes_keys_and_cannot_shut_itself_out(app: FastAPI, client: TestClient) -> None:
    first = whose(client)
    answer = client.delete(f"/v1/keys/{first}")
    assert answer.status_code == 409
    assert client.get("/v1/me").status_code == 200
    client.post("/v1/keys", json={"name": "short", "expires_at": (now() + timedelta(days=1)).isoformat()})
    assert client.delete(f"/v1/keys/{first}").status_code == 409
    second = TestClient(app)
    second.headers["Authorization"] = f"Bearer {client.post('/v1/keys', json={'name': 'next'}).json()['key']}"
    assert second.delete(f"/v1/keys/{first}").status_code == 204
    assert client.get("/v1/me").status_code == 401
    assert second.get("/v1/me").json()["operator"] is True


def test_the_use_of_a_key_is_noted_once_a_minute(client: TestClient, make: Make, context: Context) -> None:
    reader = make("read")
    key_id = whose(reader)

    def used() -> datetime:
        return datetime.fromisoformat(client.get(KEYS).json()["keys"][0]["last_used_at"])

    first = used()
    reader.get("/v1/jobs")
    assert used() == first
    with context.sessions.begin() as session:
        earlier = now() - timedelta(minutes=2)
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=earlier))
    reader.get("/v1/jobs")
    assert used() >= first


def test_callers_never_get_each_other_s_answers(
    client: TestClient, make: Make, add_dataset: Callable[..., str]
) -> None:
    body, headers = {"dataset_id": add_dataset()}, {"Idempotency-Key": "k-1"}
    callers = [client, make("train"), make("train")]
    made = [caller.post("/v1/jobs", json=body, headers=headers).json()["id"] for caller in callers]
    assert len(set(made)) == 3
    again = [caller.post("/v1/jobs", json=body, headers=headers).json()["id"] for caller in callers]
    assert again == made


def test_a_project_s_name_is_taken_once(client: TestClient) -> None:
    made = client.post("/v1/projects", json={"name": "skin"})
    assert made.status_code == 201
    assert client.get(made.headers["location"]).json() == made.json()
    answer = client.post("/v1/projects", json={"name": "skin"}, headers={"Idempotency-Key": "k-1"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (409, "name")
    assert [project["name"] for project in client.get("/v1/projects").json()["projects"]] == ["skin", "default"]
    page = client.get("/v1/projects", params={"page_size": 1}).json()
    rest = client.get("/v1/projects", params={"page_size": 1, "page_token": page["next_page_token"]}).json()
    assert ([project["name"] for project in rest["projects"]], rest["next_page_token"]) == (["default"], None)
