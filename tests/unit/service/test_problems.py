from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from service.api.problems import MEDIA_TYPE
from service.db import migrations
from service.errors import Conflict, FieldError, ServiceError


class Body(BaseModel):
    count: int
    name: str


@pytest.fixture
def app(app: FastAPI) -> FastAPI:
    """The application with routes that go wrong in every way."""

    @app.post("/wrong/body")
    def body(body: Body) -> None: ...

    @app.get("/wrong/refused")
    def refused() -> None:
        raise Conflict("It is busy.", [FieldError(field="state", reason="busy", hint="wait")])

    @app.get("/wrong/crash")
    def crash() -> None:
        raise RuntimeError("the password is hunter2")

    return app


def test_a_refusal_says_what_where_and_what_to_do(client: TestClient) -> None:
    answer = client.get("/wrong/refused")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json() == {
        "type": "urn:dale:problem:conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "It is busy.",
        "instance": "/wrong/refused",
        "request_id": answer.headers["x-request-id"],
        "errors": [{"file": None, "field": "state", "reason": "busy", "hint": "wait"}],
    }


def test_every_bad_field_is_named_at_once(client: TestClient) -> None:
    answer = client.post("/wrong/body", json={"count": "many"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == MEDIA_TYPE
    faults = {fault["field"]: fault for fault in answer.json()["errors"]}
    assert faults.keys() == {"count", "name"}
    assert "integer" in faults["count"]["reason"]
    assert "'many'" in faults["count"]["hint"]


def test_broken_json_is_a_bad_request(client: TestClient) -> None:
    answer = client.post("/wrong/body", content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, MEDIA_TYPE)


def test_a_crash_tells_the_client_nothing_but_where_to_look(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.get("/wrong/crash")
    assert (answer.status_code, answer.headers["content-type"]) == (500, MEDIA_TYPE)
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/healthz", 405)])
def test_what_does_not_exist_is_a_problem_too(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)


def test_a_body_that_is_too_large_is_refused_announced_or_not(client: TestClient, app: FastAPI) -> None:
    limit = app.state.context.settings.max_body_bytes
    large = json.dumps({"count": 1, "name": "x" * limit}).encode()
    headers = {"content-type": "application/json"}
    announced = client.post("/wrong/body", content=large, headers=headers)
    streamed = client.post("/wrong/body", content=iter([large[: limit // 2], large[limit // 2 :]]), headers=headers)
    for answer in (announced, streamed):
        assert (answer.status_code, answer.headers["content-type"]) == (413, MEDIA_TYPE)
        assert str(limit) in answer.json()["detail"]


def test_every_error_of_the_tree_has_its_own_status() -> None:
    classes = ServiceError.__subclasses__()
    assert len({cls.status for cls in classes}) == len(classes)


def test_openapi_describes_every_error_as_a_problem(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert {"Problem", "FieldError"} <= document["components"]["schemas"].keys()
    for path, operations in document["paths"].items():
        if not path.startswith("/v1/"):
            continue
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation.get("summary") and operation.get("description"), where
            assert "401" in operation["responses"], where
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == [MEDIA_TYPE], f"{where} {status}"
            if "{" in path:
                assert "404" in operation["responses"], where
            if "requestBody" in operation:
                assert {"413", "422"} <= operation["responses"].keys(), where


def test_health_needs_no_key_and_names_each_part(stranger: TestClient, app: FastAPI) -> None:
    assert stranger.get("/healthz").json() == {"status": "ok"}
    answer = stranger.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "database": {"ok": True, "detail": ""},
        "store": {"ok": True, "detail": ""},
        "ray": {"ok": False, "detail": "Ray is still starting"},
    }
    migrations.downgrade(app.state.context.database.engine, "base")
    assert stranger.get("/healthz").status_code == 200


def test_what_is_allowed_at_a_path_is_all_that_is_there(client: TestClient) -> None:
    assert client.patch("/v1/jobs").headers["allow"] == "GET, POST"
