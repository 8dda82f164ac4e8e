from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from service.api.dependencies import Context
from service.db import jobs, tables
from service.jobs import ingest
from service.jobs.intake import take_in, view_of
from service.jobs.lag import IngestLag
from service.metrics import Metrics
from workers.contract.request import JobSpec

NAMES = ["Übung 1", "a%b", "a_b", "case 1", "case 2", "Case 3", "d", "zé", "k", "l"]
EPOCHS = 3


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def job_id(context: Context, add_dataset: Callable[..., str], scripted: ModuleType) -> str:
    """A job with three epochs of confidences, taken in from the store as in production."""
    dataset_id = add_dataset(NAMES)
    with context.sessions.begin() as session:
        job = jobs.add_job(session, "job-1", JobSpec(dataset_id=dataset_id, epochs=EPOCHS))
        jobs.begin_attempt(session, job, "job-1-1")
    for epoch in range(EPOCHS):
        scripted.write_epoch(context.store, "job-1", 1, epoch, len(NAMES))
    with context.database.read() as session:
        view = view_of(jobs.unfinished(session)[0])
    assert take_in(context, view, IngestLag(Metrics())) is None
    return "job-1"


@pytest.fixture
def truth(scripted: ModuleType) -> dict[str, float]:
    """The newest confidence of each sample."""
    return {name: scripted.confidence(ordinal, EPOCHS - 1) for ordinal, name in enumerate(NAMES)}


def all_pages(client: TestClient, job_id: str, **params: object) -> list[dict[str, object]]:
    listed, token = [], None
    while True:
        page = client.get(f"/v1/jobs/{job_id}/samples", params={**params, "page_token": token} if token else params)
        assert page.status_code == 200, page.text
        listed += page.json()["samples"]
        token = page.json()["next_page_token"]
        if token is None:
            return listed


def test_the_most_doubted_come_first(client: TestClient, job_id: str, truth: dict[str, float]) -> None:
    samples = client.get(f"/v1/jobs/{job_id}/samples").json()
    assert [row["sample"] for row in samples["samples"]] == sorted(truth, key=truth.__getitem__)
    assert [row["rank"] for row in samples["samples"]] == list(range(1, len(NAMES) + 1))
    assert {row["epoch"] for row in samples["samples"]} == {EPOCHS - 1}
    assert samples["total"] == len(NAMES)
    for row in samples["samples"]:
        assert row["confidence"] == pytest.approx(truth[row["sample"]], abs=1e-7)


@pytest.mark.parametrize("order_by", ["score", "confidence", "name", "dice"])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("page_size", [1, 3, 10])
def test_pages_together_are_the_whole_list(
    client: TestClient, job_id: str, order_by: str, order: str, page_size: int
) -> None:
    params = {"order_by": order_by, "order": order}
    whole = client.get(f"/v1/jobs/{job_id}/samples", params=params).json()["samples"]
    assert all_pages(client, job_id, page_size=page_size, **params) == whole
    assert sorted(row["sample"] for row in whole) == sorted(NAMES)
    if order_by != "name":
        values = [row[order_by] for row in whole]
        assert values == sorted(values, reverse=order == "desc")


def test_equal_values_are_neither_lost_nor_doubled(client: TestClient, job_id: str, context: Context) -> None:
    with context.sessions.begin() as session:
        session.execute(text("UPDATE job_samples SET score = 0.5"))
    listed = all_pages(client, job_id, page_size=3)
    assert [row["ordinal"] for row in listed] == list(range(len(NAMES)))
    backwards = all_pages(client, job_id, page_size=3, order="desc")
    assert backwards == listed[::-1]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("case", {"case 1", "case 2", "Case 3"}),
        ("a%", {"a%b"}),
        ("a_", {"a_b"}),
        ("CASE 1", {"case 1"}),
        ("nothing", set()),
    ],
)
def test_names_are_found_by_a_part_taken_literally(client: TestClient, job_id: str, part: str, found: set[str]) -> None:
    page = client.get(f"/v1/jobs/{job_id}/samples", params={"name_contains": part}).json()
    assert {row["sample"] for row in page["samples"]} == found
    assert page["total"] == len(found)


def test_bounds(client: TestClient, job_id: str, truth: dict[str, float]) -> None:
    found = all_pages(client, job_id, confidence_min=0.3, confidence_max=0.6, page_size=2)
    assert {row["sample"] for row in found} == {name for name, value in truth.items() if 0.3 <= value <= 0.6}
    found = all_pages(client, job_id, score_max=0.2)
    assert {row["sample"] for row in found} == {name for name, value in truth.items() if value <= 0.2}
    assert client.get(f"/v1/jobs/{job_id}/samples", params={"score_min": 2}).status_code == 422


def test_a_token_does_not_fit_another_question(client: TestClient, job_id: str) -> None:
    path = f"/v1/jobs/{job_id}/samples"
    token = client.get(path, params={"page_size": 2}).json()["next_page_token"]
    for change in ({"order": "desc"}, {"order_by": "name"}, {"score_min": 0.1}, {"name_contains": "a"}):
        answer = client.get(path, params={"page_token": token, **change})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "page_token"
    assert client.get(path, params={"page_token": token, "page_size": 5}).status_code == 200


def test_one_sample_and_its_history(client: TestClient, job_id: str, scripted: ModuleType) -> None:
    for row in client.get(f"/v1/jobs/{job_id}/samples").json()["samples"]:
        assert client.get(row["links"]["self"]).json() == row
        answer = client.get(row["links"]["history"]).json()
        assert answer["sample"] == row["sample"]
        assert [point["epoch"] for point in answer["history"]] == list(range(EPOCHS))
        for point in answer["history"]:
            expected = scripted.confidence(row["ordinal"], point["epoch"])
            assert point["confidence"] == pytest.approx(expected, abs=1e-7)
    assert client.get(f"/v1/jobs/{job_id}/samples/nobody").status_code == 404


def test_epochs(client: TestClient, job_id: str) -> None:
    first = client.get(f"/v1/jobs/{job_id}/epochs", params={"page_size": 2}).json()
    rest = client.get(f"/v1/jobs/{job_id}/epochs", params={"page_token": first["next_page_token"]}).json()
    assert [row["epoch"] for row in first["epochs"] + rest["epochs"]] == [0, 1, 2]
    assert rest["epochs"][0]["metrics"] == {"loss": pytest.approx(1 / 3)}
    assert client.get(f"/v1/jobs/{job_id}").json()["metrics"] == {"loss": pytest.approx(1 / 3)}


@pytest.mark.parametrize("order_by", ["score", "confidence", "dice", "name"])
def test_lists_are_read_from_an_index(context: Context, job_id: str, order_by: str) -> None:
    if context.database.engine.dialect.name != "sqlite":
        return  # PostgreSQL chooses by size; the same indexes are compared in the test of the migrations
    with context.database.read() as session:
        plan = session.execute(
            text(f"EXPLAIN QUERY PLAN SELECT * FROM job_samples WHERE job_id = 'job-1' ORDER BY {order_by} LIMIT 50")
        ).all()
    assert f"USING INDEX ix_job_samples_{order_by}" in str(plan)
    assert "TEMP B-TREE" not in str(plan)


def test_reasons_come_with_the_result(client: TestClient, job_id: str, context: Context, scripted: ModuleType) -> None:
    told = {
        ordinal: ("wide", f"the label is {ordinal} px wider") if ordinal % 2 else ("none", "they agree")
        for ordinal in range(len(NAMES))
    }
    before = client.get(f"/v1/jobs/{job_id}/samples").json()["samples"]
    assert {(row["reason"], row["reason_kind"]) for row in before} == {(None, None)}
    classes = {3: [1], 4: [], 5: [1]}  # of the others a run of before does not say
    scripted.write_result(context.store, job_id, 1, EPOCHS, reasons=told, predicted=classes)
    manifest = ingest.read_result(context.store, job_id)
    assert manifest is not None
    table = ingest.read_reasons(context.store, manifest, len(NAMES))
    with context.sessions.begin() as session:
        jobs.add_result(session, session.get_one(tables.Job, job_id), manifest, None, table)
    found = {row["ordinal"]: (row["reason_kind"], row["reason"]) for row in all_pages(client, job_id, page_size=3)}
    assert found == told
    wide = all_pages(client, job_id, reason="wide", page_size=2)
    assert {row["ordinal"] for row in wide} == set(range(1, len(NAMES), 2))
    assert client.get(f"/v1/jobs/{job_id}/samples", params={"reason": "wide"}).json()["total"] == len(NAMES) // 2
    assert client.get(f"/v1/jobs/{job_id}/samples", params={"reason": "odd"}).status_code == 422
    assert {row["ordinal"] for row in all_pages(client, job_id, predicted_class=1)} == {3, 5}
    with pytest.raises(ingest.DamagedError, match="reasons for 11 samples"):
        ingest.read_reasons(context.store, manifest, len(NAMES) + 1)
