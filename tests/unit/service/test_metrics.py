"""What a scrape says, held against counts of our own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import event, text
from sqlalchemy.exc import SQLAlchemyError

from service.api.dependencies import Context
from service.db import jobs
from service.db.base import now
from service.db.session import open_database
from service.jobs import census
from service.jobs.census import Census
from service.jobs.lifecycle import State
from service.main import create_app
from service.measured_store import MeasuredStore
from service.metrics import Metrics
from service.settings import Settings
from tests.unit.service.scraping import Sample, parse
from workers.contract.request import JobSpec
from workers.contract.store import ObjectMissing, StoreUnavailable


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


# --- requests


def test_requests_are_counted_by_route_and_status(client: TestClient, scrape: Callable[[], Sample]) -> None:
    for job in ("job-1", "job-2", "job-3"):
        assert client.get(f"/v1/jobs/{job}").status_code == 404
    for _ in range(2):
        assert client.get("/v1/jobs").status_code == 200
    assert client.delete("/v1/jobs").status_code == 405
    value = scrape()
    count, bucket = "dale_http_request_duration_seconds_count", "dale_http_request_duration_seconds_bucket"
    assert value(count, method="GET", route="/v1/jobs/{job_id}", status="404") == 3
    assert value(count, method="GET", route="/v1/jobs", status="200") == 2
    assert value(count, method="DELETE", route="/v1/jobs", status="405") == 1
    assert value(bucket, method="GET", route="/v1/jobs", status="200", le="+Inf") == 2
    assert value("dale_http_requests_in_flight") == 1  # the scrape itself
    assert scrape()(count, method="GET", route="/metrics", status="200") == 1


def test_a_crash_counts_as_500(app: FastAPI, client: TestClient, scrape: Callable[[], Sample]) -> None:
    @app.get("/crash")
    def crash() -> None:
        raise RuntimeError

    client.get("/crash")
    value = scrape()
    assert value("dale_http_request_duration_seconds_count", method="GET", route="/crash", status="500") == 1
    assert value("dale_http_requests_in_flight") == 1


def test_no_caller_can_make_a_new_label(client: TestClient, metrics: Metrics) -> None:
    def series() -> set[frozenset[tuple[str, str]]]:
        return {frozenset(sample.labels.items()) for family in metrics.requests.collect() for sample in family.samples}

    client.get("/nothing-here")
    client.request("INVENTED", "/nothing-here")
    before = series()
    for number in range(20):
        client.get(f"/nothing/{number}", headers={"X-Request-ID": f"id-{number}"})
        client.request(f"INVENTED{number}", f"/nothing/{number}")
    assert series() == before
    assert {dict(labels)["route"] for labels in before} == {"other"}


def test_it_wants_a_key_unless_it_is_opened(stranger: TestClient, context: Context, settings: Settings) -> None:
    answer = stranger.get("/metrics")
    assert answer.status_code == 401
    assert "dale_" not in answer.text
    assert stranger.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    opened = create_app(settings.model_copy(update={"metrics_open": True}), context, Metrics())
    assert "dale_jobs" in TestClient(opened).get("/metrics").text


def test_two_services_in_one_process_count_apart(client: TestClient, context: Context, metrics: Metrics) -> None:
    other = Metrics()
    create_app(context.settings, context, other)
    client.get("/v1/jobs")
    assert [sample for family in other.requests.collect() for sample in family.samples] == []
    assert [sample for family in metrics.requests.collect() for sample in family.samples]


# --- jobs


def add_jobs(context: Context, dataset_id: str, states: list[State]) -> None:
    with context.sessions.begin() as session:
        for number, state in enumerate(states):
            job = jobs.add_job(session, f"job-{number}", JobSpec(dataset_id=dataset_id))
            job.state = state
            job.created_at = now() - timedelta(seconds=1000 * (number + 1))


def test_jobs_are_counted_by_state(
    context: Context, add_dataset: Callable[..., str], scrape: Callable[[], Sample]
) -> None:
    states = [State.QUEUED, State.QUEUED, State.RUNNING, State.FAILED, State.FAILED, State.FAILED, State.SUCCEEDED]
    add_jobs(context, add_dataset(), states)
    value = scrape()
    for state in State:
        assert value("dale_jobs", state=state) == states.count(state), state
    # The second is the older of the two that wait; those that do not wait are older still.
    assert value("dale_queue_oldest_seconds") == pytest.approx(2000, abs=30)


def test_without_a_queue_nothing_waits(scrape: Callable[[], Sample]) -> None:
    value = scrape()
    assert value("dale_queue_oldest_seconds") == 0
    assert value("dale_jobs", state="QUEUED") == 0


def test_however_many_scrape_there_is_one_query(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    event.listen(context.database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    counted = Census(context.database)
    for _ in range(5):
        assert len(list(counted.collect())) == 2
    assert len([statement for statement in asked if "GROUP BY" in statement]) == 1
    monkeypatch.setattr(census, "FRESH_SECONDS", 0.0)
    list(counted.collect())
    assert len([statement for statement in asked if "GROUP BY" in statement]) == 2


def test_a_database_that_is_away_leaves_the_rest_of_the_scrape(
    context: Context, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    app = create_app(settings.model_copy(update={"metrics_open": True}), context, Metrics())
    with context.sessions.begin() as session:
        session.execute(text("ALTER TABLE jobs RENAME TO away"))
    answer = TestClient(app).get("/metrics")
    assert answer.status_code == 200
    value = parse(answer.text)
    assert value("dale_jobs", state="QUEUED") is None, "no number is better than a wrong one"
    assert value("dale_http_requests_in_flight") == 1


# --- database and store


def test_statements_are_measured(context: Context, metrics: Metrics) -> None:
    names = [
        (name, verb) for name in ("duration_seconds_count", "errors_total") for verb in ("SELECT", "UPDATE", "DELETE")
    ]

    def counted() -> list[float]:
        value = metrics.registry.get_sample_value
        return [value(f"dale_database_{name}", {"statement": verb}) or 0 for name, verb in names]

    before = counted()
    with context.database.read() as session:
        for _ in range(7):
            session.execute(text("SELECT 1"))
    with context.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET name = name"))
        with pytest.raises(SQLAlchemyError):
            session.execute(text("DELETE FROM nothing"))
        session.rollback()
    more = [now - then for then, now in zip(before, counted(), strict=True)]
    assert dict(zip(names, more, strict=True)) == {
        ("duration_seconds_count", "SELECT"): 7,
        ("duration_seconds_count", "UPDATE"): 1,
        ("duration_seconds_count", "DELETE"): 1,
        ("errors_total", "SELECT"): 0,
        ("errors_total", "UPDATE"): 0,
        ("errors_total", "DELETE"): 1,
    }


def test_a_slow_statement_is_seen_as_slow(tmp_path: Path) -> None:
    database, seen = open_database(f"sqlite:///{tmp_path / 'slow.db'}"), []
    event.listen(
        database.engine,
        "connect",
        lambda connection, _: connection.create_function("wait", 1, time.sleep),
    )
    database.watch(seen.append)
    with database.read() as session:
        session.execute(text("SELECT wait(0.2)"))
    database.close()
    (statement,) = [one for one in seen if one.text.startswith("SELECT")]
    assert 0.2 <= statement.seconds < 5
    assert not statement.failed


class BrokenStore:
    """Fails in every way that a store can, after one part."""

    def get(self, key: str) -> bytes:
        raise StoreUnavailable("away")

    def size(self, key: str) -> int:
        raise ObjectMissing(key)

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        return self.list(key)  # type: ignore[return-value]

    def list(self, prefix: str) -> Iterator[str]:
        yield "first"
        raise StoreUnavailable("away")


def test_every_operation_of_the_store_is_measured(
    context: Context, scrape: Callable[[], Sample], tmp_path: Path
) -> None:
    store, path = context.store, tmp_path / "file"
    path.write_bytes(b"abc")
    store.put("a/1", b"abc")
    store.put_file("a/2", path)
    assert store.get("a/1") == b"abc"
    assert b"".join(store.read("a/2", 1)) == b"bc"
    assert store.size("a/1") == 3
    assert store.exists("a/1") and not store.exists("a/3")
    assert list(store.list("a/")) == ["a/1", "a/2"]
    assert list(store.list("b/")) == []
    store.delete("a/1")
    assert store.presigned_get("a/2", 60, "a", "text/plain") is None
    value = scrape()
    expected = {"put": 1, "put_file": 1, "get": 1, "read": 1, "size": 1, "exists": 2, "list": 2, "delete": 1}
    for operation, count in expected.items():
        assert value("dale_store_duration_seconds_count", operation=operation) == count, operation
        assert value("dale_store_errors_total", operation=operation) is None, operation


def test_failures_of_the_store_are_counted_and_missing_objects_are_none(metrics: Metrics) -> None:
    store = MeasuredStore(BrokenStore(), metrics)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        store.get("key")
    with pytest.raises(ObjectMissing):
        store.size("key")
    for stream in (store.read("key"), store.list("key")):
        assert next(stream) == "first"
        with pytest.raises(StoreUnavailable):
            next(stream)
    value = metrics.registry.get_sample_value
    assert value("dale_store_errors_total", {"operation": "get"}) == 1
    assert value("dale_store_errors_total", {"operation": "size"}) is None
    assert value("dale_store_errors_total", {"operation": "read"}) == 1
    assert value("dale_store_errors_total", {"operation": "list"}) == 1
    assert value("dale_store_duration_seconds_count", {"operation": "size"}) == 1


def test_the_process_is_measured(scrape: Callable[[], Sample]) -> None:
    value = scrape()
    assert (value("process_resident_memory_bytes") or 0) > 10e6
    assert (value("process_open_fds") or 0) > 3
