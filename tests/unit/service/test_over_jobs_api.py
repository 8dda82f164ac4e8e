"""A sample over the jobs of its dataset: earlier and later ones, other labels, other people's datasets."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from service.api.dependencies import Context
from service.db import over_jobs
from tests.review_jobs import COUNT, JOB, finish, reviewable_job


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def jobs(client: TestClient, context: Context, scripted: ModuleType) -> list[str]:
    """Three jobs, oldest first: two over version 1, and one over a version where case 03 is corrected, 00 excluded."""
    dataset = reviewable_job(client, context, scripted)
    version = f"/v1/datasets/{dataset}/versions/1"
    for sample, decision in (
        ("case 03", {"decision": "corrected", "job_id": JOB}),
        ("case 00", {"decision": "excluded"}),
    ):
        answer = client.put(f"{version}/samples/{sample}/review", json=decision, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
    again = client.post("/v1/jobs", json={"dataset_id": dataset, "epochs": 3})
    assert again.status_code == 202, again.text
    second = finish(context, scripted, again.json()["id"], COUNT)
    made = client.post(f"{version}/reviews:finish", json={"again": JOB})
    assert made.status_code == 201, made.text
    return [JOB, second, finish(context, scripted, made.json()["job"]["id"], COUNT - 1)]


def ask(client: TestClient, job: str, sample: str, **params: Any) -> dict[str, Any]:
    answer = client.get(f"/v1/jobs/{job}/samples/{sample}/jobs", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_every_job_that_was_trained_on_the_sample_says_what_it_believed(
    client: TestClient, context: Context, jobs: list[str], scripted: ModuleType
) -> None:
    found = ask(client, jobs[0], "case 03")["jobs"]
    assert [one["job_id"] for one in found] == jobs[::-1]
    assert [one["dataset_version"] for one in found] == [2, 1, 1]
    assert [one["same_label"] for one in found] == [False, True, True]
    # The correction is what was decided of the label that was there; it stands accepted in the version made of it.
    assert [one["decision"] for one in found] == ["accepted", "corrected", "corrected"]
    assert {one["decided_by"] for one in found} == {"tests"}
    assert [one["samples"] for one in found] == [COUNT - 1, COUNT, COUNT]
    assert [one["ordinal"] for one in found] == [2, 3, 3]
    for one in found:
        alone = client.get(f"/v1/jobs/{one['job_id']}/samples/case 03").json()
        for name in ("ordinal", "rank", "epoch", "confidence", "score", "dice", "expected_dice"):
            assert one[name] == alone[name]
        assert one["confidence"] == pytest.approx(scripted.confidence(one["ordinal"], 2), abs=1e-6)
    # Asked of the later job, the label that it was trained on is the one to compare with.
    assert [one["same_label"] for one in ask(client, jobs[2], "case 03")["jobs"]] == [True, False, False]
    assert [one["job_id"] for one in ask(client, jobs[0], "case 00")["jobs"]] == [jobs[1], jobs[0]]
    assert client.get(f"/v1/jobs/{jobs[2]}/samples/case 00/jobs").status_code == 404


def test_pages(client: TestClient, jobs: list[str]) -> None:
    met, token = [], None
    for _ in jobs:
        page = ask(client, JOB, "case 05", page_size=1, **({"page_token": token} if token else {}))
        met += [one["job_id"] for one in page["jobs"]]
        token = page["next_page_token"]
    assert met == jobs[::-1] and token is None
    first = ask(client, JOB, "case 05", page_size=1)["next_page_token"]
    other = client.get(f"/v1/jobs/{JOB}/samples/case 06/jobs", params={"page_token": first})
    assert other.status_code == 400


def test_other_datasets_are_not_among_them(client: TestClient, jobs: list[str], finish_job: Callable[..., str]) -> None:
    finish_job("ds-other", "job-other", "prj-default")
    assert [one["job_id"] for one in ask(client, "job-other", "case 1")["jobs"]] == ["job-other"]


def test_it_is_one_indexed_query(context: Context, jobs: list[str], client: TestClient) -> None:
    dataset = client.get(f"/v1/jobs/{JOB}").json()["spec"]["dataset_id"]
    seen: list[tuple[str, Any]] = []
    event.listen(context.database.engine, "before_cursor_execute", lambda *call: seen.append((call[2], call[3])))
    with context.database.read() as session:
        assert len(over_jobs.page(session, dataset, "case 05", 50)) == len(jobs)
        (found,) = [call for call in seen if "job_samples" in call[0]]
        if context.database.engine.dialect.name != "sqlite":
            return  # PostgreSQL chooses by size
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {found[0]}", found[1]).all()
    assert "SCAN" not in str(plan), plan
    assert "ix_jobs_dataset_id" in str(plan) and "ix_job_samples_name" in str(plan)
