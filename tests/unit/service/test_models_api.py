from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import ModuleType

import pytest
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from service.db import jobs
from service.jobs.ingest import read_result
from service.jobs.lifecycle import State
from workers.contract.request import JobSpec

CONTENT = bytes(range(256)) * 4000 + b"end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "/v1/models/job-1/files/model.bin"


@pytest.fixture
def model(client: TestClient, context: Context, add_dataset: Callable[..., str], scripted: ModuleType) -> TestClient:
    """A caller of a service that has one finished model and one running job."""
    dataset_id = add_dataset()
    scripted.write_result(context.store, "job-1", 1, 0, CONTENT)
    result = read_result(context.store, "job-1")
    assert result is not None
    with context.sessions.begin() as session:
        for job_id in ("job-1", "job-2"):
            job = jobs.add_job(session, job_id, JobSpec(dataset_id=dataset_id, name=job_id))
            jobs.begin_attempt(session, job, f"{job_id}-1")
            jobs.set_state(session, job, State.RUNNING)
        finished = jobs.lock_job(session, "job-1")
        assert finished is not None
        jobs.add_result(session, finished, result)
        jobs.set_state(session, finished, State.SUCCEEDED)
    return client


def test_only_finished_jobs_have_models(model: TestClient) -> None:
    listed = model.get("/v1/models").json()["models"]
    assert [entry["id"] for entry in listed] == ["job-1"]
    assert model.get("/v1/models/job-1").json() == listed[0]
    assert model.get("/v1/jobs/job-1").json()["links"]["model"] == "/v1/models/job-1"
    answer = model.get("/v1/models/job-2")
    assert (answer.status_code, "RUNNING" in answer.json()["detail"]) == (404, True)
    assert model.get("/v1/models/none").status_code == 404
    assert model.get("/v1/models/job-1/files/none").status_code == 404
    assert model.get("/v1/models/job-1/files/..%2f..%2fdale.db").status_code == 404


def test_a_file_is_what_its_entry_says(model: TestClient) -> None:
    (file,) = model.get("/v1/models/job-1").json()["files"]
    answer = model.get(file["url"])
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == file["sha256"] == SHA256
    assert len(answer.content) == file["size"] == int(answer.headers["content-length"])
    assert answer.headers["etag"] == f'"{SHA256}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == file["media_type"]
    assert answer.headers["content-disposition"] == 'attachment; filename="job-1-model.bin"'


def test_head_says_all_but_the_content(model: TestClient) -> None:
    answer, full = model.head(PATH), model.get(PATH)
    assert (answer.status_code, answer.content) == (200, b"")
    different = {"x-request-id"}
    assert {k: v for k, v in answer.headers.items() if k not in different} == {
        k: v for k, v in full.headers.items() if k not in different
    }


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1000-1999", 1000, 2000),
        ("bytes=1024000-", 1024000, len(CONTENT)),
        ("bytes=-3", len(CONTENT) - 3, len(CONTENT)),
        (f"bytes=5-{10**17}", 5, len(CONTENT)),
        (f"bytes=-{10**17}", 0, len(CONTENT)),
    ],
)
def test_a_range(model: TestClient, asked: str, start: int, end: int) -> None:
    answer = model.get(PATH, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", [f"bytes={len(CONTENT)}-", "bytes=99999999-", "bytes=-0"])
def test_a_range_outside_is_refused(model: TestClient, asked: str) -> None:
    answer = model.get(PATH, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert answer.json()["title"] == "Range not satisfiable"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,5-6", "bytes=0-1 x"])
def test_a_range_that_means_nothing_is_ignored(model: TestClient, asked: str) -> None:
    answer = model.get(PATH, headers={"Range": asked})
    assert (answer.status_code, len(answer.content)) == (200, len(CONTENT))


def test_a_download_is_resumed_only_with_the_same_file(model: TestClient) -> None:
    headers = {"Range": "bytes=1000-"}
    same = model.get(PATH, headers={**headers, "If-Range": f'"{SHA256}"'})
    other = model.get(PATH, headers={**headers, "If-Range": '"other"'})
    assert (same.status_code, same.content) == (206, CONTENT[1000:])
    assert (other.status_code, other.content) == (200, CONTENT)


def test_a_copy_that_is_the_file_is_not_sent_again(model: TestClient) -> None:
    answer = model.get(PATH, headers={"If-None-Match": f'"x", "{SHA256}"'})
    assert (answer.status_code, answer.content) == (304, b"")
    assert model.get(PATH, headers={"If-None-Match": '"x"'}).status_code == 200


def test_a_store_that_has_links_sends_the_client_there(model: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.contract.store_local import LocalStore

    def link(_store: LocalStore, key: str, expires_s: int, filename: str, _media_type: str) -> str:
        return f"https://store.test/{key}?expires={expires_s}&as={filename}"

    monkeypatch.setattr(LocalStore, "presigned_get", link)
    answer = model.get(PATH, follow_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["location"].startswith("https://store.test/jobs/job-1/result/model.bin?expires=3600")
    assert model.head(PATH, follow_redirects=False).status_code == 200


def test_a_file_that_is_gone_is_not_found(model: TestClient, context: Context) -> None:
    context.store.delete("jobs/job-1/result/model.bin")
    answer = model.get(PATH)
    assert (answer.status_code, "gone" in answer.json()["detail"]) == (404, True)
