from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from service.api.dependencies import Context
from service.db import access
from service.db.base import now
from service.db.tables import IdempotencyKey
from service.jobs import checks

API_KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def body(add_dataset: Callable[..., str]) -> dict[str, object]:
    return {"dataset_id": add_dataset(), "name": "first"}


def post(client: TestClient, body: object, key: str = "k-1"):
    return client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})


def count(client: TestClient) -> int:
    return len(client.get("/v1/jobs").json()["jobs"])


def test_twice_the_same_creates_once_and_answers_the_same(client: TestClient, body: dict[str, object]) -> None:
    first, second = post(client, body), post(client, body)
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert first.headers["location"] == second.headers["location"]
    assert second.headers["idempotency-replayed"] == "true"
    assert count(client) == 1


def test_another_key_creates_another(client: TestClient, body: dict[str, object]) -> None:
    assert post(client, body).json()["id"] != post(client, body, "k-2").json()["id"]


def test_a_key_for_another_request_is_refused(client: TestClient, body: dict[str, object]) -> None:
    post(client, body)
    answer = post(client, {**body, "name": "second"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert count(client) == 1


def test_a_refused_request_leaves_the_key_free(client: TestClient, body: dict[str, object]) -> None:
    assert post(client, {**body, "dataset_id": "ds-none"}).status_code == 422
    assert post(client, body).status_code == 202


def test_a_key_is_forgotten_after_a_day(client: TestClient, context: Context, body: dict[str, object]) -> None:
    first = post(client, body).json()["id"]
    with context.sessions.begin() as session:
        session.execute(update(IdempotencyKey).values(created_at=now() - timedelta(hours=25)))
    assert post(client, body).json()["id"] != first


def test_while_the_first_is_answered_the_second_is_told_to_wait(
    client: TestClient, body: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    check = checks.check

    def slow(*arguments: Any, **named: Any) -> checks.Checked:
        entered.set()
        assert go_on.wait(30)
        return check(*arguments, **named)

    monkeypatch.setattr("service.jobs.checks.check", slow)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(post(client, body)))
    thread.start()
    assert entered.wait(30)
    assert post(client, body).status_code == 409
    go_on.set()
    thread.join()
    assert answers[0].status_code == 202
    assert post(client, body).json() == answers[0].json()


def test_a_claim_of_a_dead_process_is_taken_over(client: TestClient, context: Context, body: dict[str, object]) -> None:
    with context.sessions.begin() as session:
        owner = access.find_key(session, API_KEY)
        assert owner is not None
        session.add(
            IdempotencyKey(
                owner=owner.key_id,
                key="k-1",
                request_sha256="0" * 64,
                status=0,
                created_at=now() - timedelta(hours=3),
            )
        )
    assert post(client, body).status_code == 202


def test_a_crash_while_creating_creates_nothing_and_frees_the_key(
    app: FastAPI, client: TestClient, body: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr("service.api.jobs.resource", crash)  # after the job was written
    assert post(client, body).status_code == 500
    monkeypatch.undo()
    assert count(client) == 0
    assert post(client, body).status_code == 202
