"""Uploads in parts: any order, any number of tries, the same dataset as by one POST; on a folder and on a real S3."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from service.datasets import background
from service.datasets.kinds import UploadState
from service.datasets.part_sizes import LARGEST_PART, MOST_PARTS, SMALLEST_PART
from service.db import tables, uploads
from service.settings import Settings
from workers.contract import keys
from workers.contract.store import StoreUnavailable
from workers.contract.store_s3 import ACCESS_KEY, SECRET_KEY, S3Store

PART = SMALLEST_PART


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.real)])
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    if request.param == "local":
        yield Settings(data_dir=tmp_path / "data", database_url=database_url, network_check=False)
        return
    endpoint, access, secret = (os.environ[f"DALE_TEST_S3_{name}"] for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY"))
    monkeypatch.setenv(ACCESS_KEY, access)
    monkeypatch.setenv(SECRET_KEY, secret)
    url = f"s3://test-{uuid4().hex}/dale?endpoint={endpoint}"
    S3Store.from_url(url).create_bucket()
    yield Settings(data_dir=tmp_path, database_url=database_url, store_url=url, network_check=False)


@pytest.fixture
def archive(upload: Any) -> bytes:
    """A zip of two parts and a bit."""
    members = {}
    for number in range(3):
        members[f"images/case {number}.png"] = upload.photo(number, size=(520, 520))
        members[f"masks/case {number}.png"] = upload.encode(upload.disc(size=(520, 520)))
    data: bytes = upload.zip(members).getvalue()
    assert 2 * PART < len(data) < 3 * PART
    return data


@pytest.fixture
def begin(client: TestClient) -> Callable[..., dict[str, Any]]:
    def begin(data: bytes, **fields: Any) -> dict[str, Any]:
        answer = client.post("/v1/uploads", json={"name": "large", "size": len(data), "part_size": PART, **fields})
        assert answer.status_code == 201, answer.text
        assert answer.headers["location"] == f"/v1/uploads/{answer.json()['id']}"
        begun: dict[str, Any] = answer.json()
        return begun

    return begin


@pytest.fixture
def send(client: TestClient) -> Callable[..., None]:
    def send(upload_id: str, data: bytes, *numbers: int) -> None:
        for number in numbers:
            target = client.get(f"/v1/uploads/{upload_id}/parts/{number}").json()
            part = data[(number - 1) * PART : number * PART]
            assert target["length"] == len(part)
            if target["signed"]:
                assert httpx.put(target["url"], content=part).status_code == 200
            else:
                assert client.put(target["url"], content=part).status_code == 204

    return send


@pytest.fixture
def complete(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Ask for the import and wait until its thread is over; the resource as it is then."""
    started: list[threading.Thread] = []
    start = background.start

    def kept(*arguments: Any) -> threading.Thread:
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(background, "start", kept)

    def complete(upload_id: str, data: bytes) -> dict[str, Any]:
        answer = client.post(f"/v1/uploads/{upload_id}:complete", json={"sha256": hashlib.sha256(data).hexdigest()})
        assert answer.status_code == 202, answer.text
        for thread in started:
            thread.join(60)
            assert not thread.is_alive()
        done: dict[str, Any] = client.get(f"/v1/uploads/{upload_id}").json()
        return done

    return complete


def samples(client: TestClient, dataset_id: str) -> list[dict[str, Any]]:
    rows = client.get(f"/v1/datasets/{dataset_id}/versions/1/samples").json()["samples"]
    return [{name: value for name, value in row.items() if name not in ("image", "mask")} for row in rows]


def test_parts_in_any_order_make_the_dataset_that_one_post_makes(
    client: TestClient, context: Context, archive: bytes, begin: Any, send: Any, complete: Any
) -> None:
    begun = begin(archive)
    assert (begun["state"], begun["parts"], begun["received"]) == ("OPEN", 3, [])
    send(begun["id"], archive[:PART] + b"?" * (len(archive) - PART), 3, 2)  # wrong bytes, sent again below
    assert client.get(f"/v1/uploads/{begun['id']}").json()["received"] == [2, 3]
    early = client.post(f"/v1/uploads/{begun['id']}:complete", json={"sha256": "0" * 64})
    assert (early.status_code, [error["field"] for error in early.json()["errors"]]) == (409, ["parts/1"])
    send(begun["id"], archive, 1, 3, 2)
    done = complete(begun["id"], archive)
    assert (done["state"], done["errors"]) == ("SUCCEEDED", [])
    answer = client.post("/v1/datasets", files={"file": ("x.zip", archive)}, data={"name": "large"})
    assert samples(client, done["dataset_id"]) == samples(client, answer.json()["id"])
    assert list(context.store.list(keys.upload(begun["id"]))) == []
    assert client.get(f"/v1/uploads/{begun['id']}/parts/1").status_code == 409  # too late
    again = client.post(f"/v1/uploads/{begun['id']}:complete", json={"sha256": "0" * 64})
    assert (again.status_code, again.json()["dataset_id"]) == (202, done["dataset_id"])


def test_what_arrives_damaged_is_found_and_can_be_sent_again(
    client: TestClient, context: Context, archive: bytes, begin: Any, send: Any, complete: Any
) -> None:
    begun = begin(archive)
    send(begun["id"], bytes([archive[0] ^ 1]) + archive[1:], 1, 2, 3)
    failed = complete(begun["id"], archive)
    assert (failed["state"], failed["errors"][0]["field"]) == ("FAILED", "sha256")
    assert failed["received"] == [1, 2, 3]
    assert list(context.store.list("datasets/")) == []
    send(begun["id"], archive, 1)
    assert complete(begun["id"], archive)["state"] == "SUCCEEDED"


def test_bad_files_are_named_and_nothing_is_left(
    client: TestClient, context: Context, upload: Any, begin: Any, send: Any, complete: Any
) -> None:
    members = upload.good(2) | {"masks/case 0.png": b"no image", "images/lonely.png": upload.photo(9)}
    data = upload.zip(members).getvalue()
    begun = begin(data)
    send(begun["id"], data, 1)
    failed = complete(begun["id"], data)
    assert failed["state"] == "FAILED"
    assert {error["file"] for error in failed["errors"]} == {"masks/case 0.png", "images/lonely.png"}
    assert list(context.store.list("datasets/")) == []
    assert client.get("/v1/datasets").json()["datasets"] == []
    assert client.delete(f"/v1/uploads/{begun['id']}").status_code == 204
    assert list(context.store.list("uploads/")) == []
    assert client.get(f"/v1/uploads/{begun['id']}").status_code == 404


def test_a_store_that_fails_in_the_middle_is_said_and_the_parts_are_kept(
    client: TestClient,
    context: Context,
    archive: bytes,
    begin: Any,
    send: Any,
    complete: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = begin(archive)
    send(begun["id"], archive, 1, 2, 3)
    with monkeypatch.context() as broken:

        def fail(*_arguments: object) -> None:
            raise StoreUnavailable("gone")

        broken.setattr(type(context.store), "put_file", fail)
        failed = complete(begun["id"], archive)
    assert (failed["state"], failed["received"]) == ("FAILED", [1, 2, 3])
    assert "does not answer" in failed["errors"][0]["reason"]
    assert complete(begun["id"], archive)["state"] == "SUCCEEDED"


def test_an_import_whose_process_died_is_taken_up_again(
    client: TestClient, context: Context, archive: bytes, begin: Any, send: Any, complete: Any
) -> None:
    begun = begin(archive)
    send(begun["id"], archive, 1, 2, 3)
    with context.sessions.begin() as session:
        row = uploads.get(session, begun["id"], None)
        row.state = UploadState.IMPORTING  # by somebody who is at it
    assert complete(begun["id"], archive)["state"] == "IMPORTING"
    assert client.delete(f"/v1/uploads/{begun['id']}").status_code == 409
    with context.sessions.begin() as session:
        uploads.get(session, begun["id"], None).updated_at -= uploads.SILENCE + timedelta(seconds=1)
    assert client.get(f"/v1/uploads/{begun['id']}").json()["interrupted"] is True
    assert complete(begun["id"], archive)["state"] == "SUCCEEDED"


def test_a_long_import_says_that_it_is_alive(
    client: TestClient,
    context: Context,
    archive: bytes,
    begin: Any,
    send: Any,
    complete: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told, checked = threading.Event(), background.Import.check
    monkeypatch.setattr(background, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(
        uploads, "report", lambda session, upload_id, done, total: told.set() if (done, total) == (3, 3) else None
    )

    def check(self: Any, progress: Any) -> Any:
        result = checked(self, progress)
        assert told.wait(30)
        return result

    monkeypatch.setattr(background.Import, "check", check)
    begun = begin(archive)
    send(begun["id"], archive, 1, 2, 3)
    assert complete(begun["id"], archive)["state"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("number", "content", "status"), [(1, b"short", 422), (2, b"x" * (PART + 1), 422), (4, b"", 422)]
)
def test_parts_of_another_length_are_refused(
    client: TestClient, archive: bytes, begin: Any, number: int, content: bytes, status: int
) -> None:
    begun = begin(archive)
    answer = client.put(f"/v1/uploads/{begun['id']}/parts/{number}", content=content)
    assert answer.status_code == status, answer.text
    assert client.get(f"/v1/uploads/{begun['id']}").json()["received"] == []


def test_impossible_uploads_are_refused(client: TestClient, settings: Settings) -> None:
    for fields in (
        {"size": 0},
        {"size": settings.import_limits.max_total_bytes + 1, "part_size": LARGEST_PART},
        {"size": 10**10, "part_size": SMALLEST_PART - 1},
        {"size": PART * (MOST_PARTS + 1), "part_size": PART},
        {"size": 5, "name": "\n"},
        {"size": 5, "layout": "new"},
    ):
        answer = client.post("/v1/uploads", json={"name": "large", **fields})
        assert answer.status_code == 422, answer.text
    assert client.get("/v1/uploads/upl-0").status_code == 404


def test_what_nobody_goes_on_with_is_removed(
    client: TestClient, context: Context, archive: bytes, begin: Any, send: Any
) -> None:
    left = begin(archive)
    send(left["id"], archive, 1)
    with context.sessions.begin() as session:
        uploads.get(session, left["id"], None).expires_at -= 2 * uploads.KEPT
    begin(archive)
    assert client.get(f"/v1/uploads/{left['id']}").status_code == 404
    assert list(context.store.list("uploads/")) == []
    with context.database.read() as session:
        assert session.query(tables.Upload).count() == 1
