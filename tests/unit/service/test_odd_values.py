"""Values that a database or a codec does not take are refused like any other, and are never our mistake."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

HUGE = 10**30
JSON = {"content-type": "application/json"}
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/v1/jobs/%00", {}),
    ("GET", "/v1/jobs/job-pages/samples/%00", {}),
    ("GET", "/v1/jobs/job-pages/samples/%00/image", {}),
    ("GET", "/v1/jobs/job-pages/samples/%FF/history", {}),
    ("GET", "/v1/models/%00", {}),
    ("GET", "/v1/models/job-pages/files/%00", {}),
    ("GET", "/v1/datasets/%00", {}),
    ("GET", "/v1/datasets/ds-pages/versions/1/samples/%00/mask", {}),
    ("GET", "/v1/uploads/%00", {}),
    ("DELETE", "/v1/uploads/%00", {}),
    ("GET", "/v1/projects/%00", {}),
    ("DELETE", "/v1/keys/%00", {}),
    ("POST", "/v1/jobs/%00:cancel", {}),
    ("GET", "/jobs/%00", {}),
    ("GET", "/v1/jobs/job-pages/samples?name_contains=%00", {}),
    ("GET", "/v1/jobs/job-pages/samples?name_contains=%ED%A0%80", {}),
    ("GET", f"/v1/jobs/job-pages/logs?attempt={HUGE}", {}),
    ("GET", f"/v1/jobs?page_size={HUGE}", {}),
    ("GET", f"/v1/jobs/job-pages/samples/case%201/overlay?slice={HUGE}", {}),
    ("GET", "/v1/audit?target=%00", {}),
    ("GET", "/v1/audit?until=9999-12-31T23:59:59-12:00", {}),
    ("GET", "/v1/audit?since=0001-01-01T00:00:00Z", {}),
    ("GET", "/v1/jobs?page_token=%00", {}),
    ("GET", "/v1/jobs?page_token=é", {}),
    ("GET", "/v1/jobs?page_token=W10", {}),  # []
    ("GET", "/v1/jobs?page_token=W1tdXQ", {}),  # [[]]
    ("GET", "/v1/jobs?page_token=" + "W1tb" * 400, {}),
    ("GET", "/v1/jobs/job-pages/events", {"headers": {"Last-Event-ID": "9" * 18}}),
    ("POST", "/v1/uploads?project=%00", {"json": {"name": "x", "size": 1}}),
    ("POST", "/v1/uploads", {"json": {"name": "x", "size": 1}, "headers": {"Idempotency-Key": b"\x00\xff"}}),
    ("POST", "/v1/jobs", {"json": {"dataset_id": "ds-pages", "dataset_version": HUGE}}),
    ("POST", "/v1/jobs", {"json": {"dataset_id": "ds-pages", "name": "\0"}}),
    ("POST", "/v1/jobs", {"content": b'{"dataset_id": "ds-pages", "name": "\\ud800"}', "headers": JSON}),
    ("POST", "/v1/jobs", {"content": b'{"dataset_id": "\\ud800"}', "headers": JSON}),
    ("POST", "/v1/jobs", {"content": b'{"dataset_id": "ds-pages", "\\ud800": 1}', "headers": JSON}),
    ("POST", "/v1/jobs", {"json": {"dataset_id": "ds-pages", "network": {"arguments": {"x": "\0"}}}}),
    ("POST", "/v1/jobs", {"json": {"dataset_id": "ds-pages", "network": {"arguments": {"x": HUGE}}}}),
    (
        "POST",
        "/v1/jobs",
        {
            "content": b'{"dataset_id": "ds-pages", "network": {"arguments": {"x": "\\ud800"}}}',
            "headers": JSON,
        },
    ),
    (
        "POST",
        "/v1/jobs",
        {"content": b'{"dataset_id": "ds-pages", "network": {"arguments": {"x": NaN}}}', "headers": JSON},
    ),
    ("POST", "/v1/jobs", {"content": b'{"dataset_id": "ds-pages", "learning_rate": NaN}', "headers": JSON}),
    ("POST", "/v1/jobs", {"content": b"[" * 100_000, "headers": JSON}),
    ("POST", "/v1/jobs", {"content": b'{"dataset_version": ' + b"9" * 5000 + b"}", "headers": JSON}),
    ("POST", "/v1/jobs", {"content": b"\xff", "headers": JSON}),
    ("POST", "/v1/keys", {"content": b'{"name": "\\ud800"}', "headers": JSON}),
    ("POST", "/v1/keys", {"json": {"name": "x", "expires_at": "9999-12-31T23:59:59-12:00"}}),
    ("POST", "/v1/keys", {"json": {"name": "x", "expires_at": HUGE}}),
    ("POST", "/v1/datasets", {"content": b"\x00", "headers": {"content-type": "multipart/form-data"}}),
    ("POST", "/v1/datasets", {"content": b"\x00", "headers": {"content-type": "multipart/form-data; boundary=x"}}),
    (
        "POST",
        "/v1/datasets",
        {"content": b"--x\r\n\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    ),
    (
        "POST",
        "/v1/datasets",
        {
            "content": b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xff\r\n--x--\r\n',
            "headers": {"content-type": "multipart/form-data; boundary=x"},
        },
    ),
    ("POST", "/v1/datasets", {"data": {"name": "x"}, "files": {"file": ("\0.zip", b"PK\x05\x06" + bytes(18))}}),
]


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


def test_no_odd_value_is_our_mistake(client: TestClient, finished_job: str) -> None:
    wrong = []
    for method, path, arguments in REQUESTS:
        answer = client.request(method, path, **arguments)
        if answer.status_code >= 500:
            wrong.append(f"{method} {path} {str(arguments)[:100]}: {answer.status_code}")
    assert wrong == []
