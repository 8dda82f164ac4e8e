from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.api.dependencies import SESSION_COOKIE, Context
from service.db import access, audit
from service.db.base import now
from service.db.tables import DEFAULT_PROJECT, ApiKey
from service.embedded import CannotServeError, let_in
from service.main import open_context
from service.roles import Role
from service.settings import Settings

API_KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
KEY = "dale_7hGf2Kq9Lm4Zx8Vb1Nc6Ty3"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic ZGFsZTpkYWxl"},
        {"Authorization": "Bearer"},
        {"Cookie": f"{SESSION_COOKIE}=wrong"},
    ],
)
def test_without_a_valid_key_there_is_nothing_to_see(stranger: TestClient, headers: dict[str, str]) -> None:
    for path in ("/v1/jobs", "/v1/jobs/job-1/samples", "/v1/jobs/job-1/events", "/v1/models"):
        answer = stranger.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "key" in answer.json()["detail"]


def test_only_the_hash_of_a_key_is_kept(context: Context) -> None:
    with context.sessions.begin() as session:
        access.add_key(session, KEY, name="one", role=Role.READ, project_id=DEFAULT_PROJECT, created_by="tests")
    raw = (
        Path(context.settings.data_dir / "dale.db").read_bytes()
        + Path(context.settings.data_dir / "dale.db-wal").read_bytes()
    )
    assert access.fingerprint(KEY).encode() in raw
    assert KEY.encode() not in raw


def test_a_browser_session_opens_the_api_until_it_ends(stranger: TestClient, context: Context) -> None:
    with context.sessions.begin() as session:
        operator = access.find_key(session, API_KEY)
        assert operator is not None
        token = access.sign_in(session, operator)
    headers = {"Cookie": f"{SESSION_COOKIE}={token}"}
    assert stranger.get("/v1/jobs", headers=headers).status_code == 200
    with context.database.read() as session:
        assert access.find_session(session, token, at=now() + timedelta(hours=13)) is None
    with context.sessions.begin() as session:
        access.sign_out(session, token)
    assert stranger.get("/v1/jobs", headers=headers).status_code == 401


def open_at(tmp_path: Path, **options: object) -> Context:
    return open_context(Settings(data_dir=tmp_path, network_check=False, **options))


def test_the_first_start_makes_one_key_and_the_second_none(tmp_path: Path) -> None:
    context = open_at(tmp_path)
    made = let_in(context)
    assert made is not None
    assert let_in(context) is None
    with context.database.read() as session:
        operator = access.find_key(session, made)
        assert operator is not None and operator.operator and operator.role is Role.ADMIN
        assert len(session.scalars(select(ApiKey)).all()) == 1


def test_others_are_not_let_near_a_service_without_a_key(tmp_path: Path) -> None:
    with pytest.raises(CannotServeError, match=r"0\.0\.0\.0.*DALE_API_KEY"):
        let_in(open_at(tmp_path, host="0.0.0.0"))  # noqa: S104 - the very case
    assert let_in(open_at(tmp_path, host="0.0.0.0", api_key=KEY)) is None  # noqa: S104
    assert let_in(open_at(tmp_path, host="0.0.0.0")) is None  # noqa: S104 - a key exists by now


def test_a_key_of_a_project_does_not_count_as_the_operator_s(tmp_path: Path) -> None:
    context = open_at(tmp_path, host="192.168.1.4")
    with context.sessions.begin() as session:
        access.add_key(session, KEY, name="one", role=Role.ADMIN, project_id=DEFAULT_PROJECT, created_by="tests")
    with pytest.raises(CannotServeError, match="without a key"):
        let_in(context)
    with pytest.raises(CannotServeError, match="a key of a project"):
        let_in(open_at(tmp_path, api_key=KEY))


def test_the_key_of_the_environment_is_replaced_by_the_next(tmp_path: Path) -> None:
    let_in(open_at(tmp_path, api_key=KEY))
    context = open_at(tmp_path, api_key=KEY[::-1])
    let_in(context)
    let_in(context)
    with context.database.read() as session:
        assert access.find_key(session, KEY) is None
        current = access.find_key(session, KEY[::-1])
        assert current is not None and current.operator
        written = [(entry.action, entry.key_id) for entry in audit.oldest(session, None, audit.Filter(), 0, 9)]
    assert written == [(action, "service") for action in ("key.create", "key.revoke", "key.create")]
    with pytest.raises(CannotServeError, match="revoked"):
        let_in(open_at(tmp_path, api_key=KEY))  # what was replaced, perhaps because it leaked, stays outside


def test_the_key_of_the_first_start_may_also_be_set_in_the_environment(tmp_path: Path) -> None:
    made = let_in(open_at(tmp_path))
    context = open_at(tmp_path, api_key=made)
    let_in(context)
    with context.database.read() as session:
        assert len(session.scalars(select(ApiKey)).all()) == 1
