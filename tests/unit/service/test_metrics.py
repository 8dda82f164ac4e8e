"""What a scrape says, held against counts of our own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from sqlalchemy import event, text
from sqlalchemy.exc import SQLAlchemyError

from service.api.dependencies import Context
from service.db import jobs
from service.db.session import open_database
from service.db.tables import now
from service.jobs import census
from service.jobs.census import Census
from service.jobs.lifecycle import State
from service.jobs.metrics_listener import listening
from service.jobs.reconciler import Reconciler
from service.main import create_app
from service.measured_store import MeasuredStore
from service.metrics import Metrics
from service.settings import Settings
from tests.integration.harness import wait_for
from tests.unit.service.fake_ray import SAMPLES, FakeRay
from workers.contract import keys
from workers.contract.request import JobSpec
from workers.contract.store import ObjectMissing, StoreUnavailable

Sample = Callable[..., float | None]


def parse(scraped: str) -> Sample:
    """A scrape as a function: `value("dale_jobs", state="QUEUED")`, None if there is no such sample."""
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(scraped)
        for sample in family.samples
    }
    return lambda name, **labels: found.get((name, frozenset(labels.items())))


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def scrape(client: TestClient) -> Callable[[], Sample]:
    def scrape() -> Sample:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return parse(answer.text)

    return scrape


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


def test_statements_are_measured(context: Context, metrics: Metrics, scrape: Callable[[], Sample]) -> None:
    before = scrape()
    with context.database.read() as session:
        for _ in range(7):
            session.execute(text("SELECT 1"))
    with context.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET name = name"))
        with pytest.raises(SQLAlchemyError):
            session.execute(text("DELETE FROM nothing"))
        session.rollback()
    after = scrape()

    def more(name: str, statement: str) -> float:
        return (after(name, statement=statement) or 0) - (before(name, statement=statement) or 0)

    # The scrapes' own: the second looked up its key; the first counted jobs after it had told of statements.
    assert more("dale_database_duration_seconds_count", "SELECT") == 7 + 2
    assert more("dale_database_duration_seconds_count", "UPDATE") == 1
    assert more("dale_database_duration_seconds_count", "DELETE") == 1
    assert more("dale_database_errors_total", "DELETE") == 1
    assert after("dale_database_errors_total", statement="SELECT") is None


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


# --- the reconciler


def test_a_look_at_the_jobs_leaves_its_time(context: Context, reconciler: Reconciler, metrics: Metrics) -> None:
    def last() -> float:
        return metrics.registry.get_sample_value("dale_reconciler_last_round_timestamp_seconds") or 0.0

    assert last() == 0
    began, stop = time.time(), threading.Event()
    context.settings.reconcile_seconds = 0.05
    thread = threading.Thread(target=reconciler.run, args=(stop,))
    thread.start()
    try:
        wait_for(lambda: last() >= began, seconds=30)
        with context.sessions.begin() as session:
            session.execute(text("ALTER TABLE jobs RENAME TO away"))
        time.sleep(0.3)
        failing = last()
        time.sleep(0.5)
        assert last() == failing, "a look that failed is none"
        with context.sessions.begin() as session:
            session.execute(text("ALTER TABLE away RENAME TO jobs"))
        wait_for(lambda: last() > failing, seconds=30)
    finally:
        stop.set()
        thread.join()


def start(reconciler: Reconciler, job_id: str) -> str:
    """Bring a queued job to where its run writes epochs."""
    reconciler.round()
    reconciler.round()
    return job_id


def test_the_lag_of_ingestion_is_what_an_epoch_has_waited(
    context: Context, reconciler: Reconciler, queue: Any, scripted: ModuleType, scrape: Callable[[], Sample]
) -> None:
    job_id = start(reconciler, queue())
    value = scrape()
    assert value("dale_ingested_epochs_total") == value("dale_ingest_lag_seconds_count") == 0
    scripted.write_epoch(context.store, job_id, 1, 0, SAMPLES)
    time.sleep(0.6)  # the epoch waits; nobody looks
    assert (scrape()("dale_ingest_behind_seconds") or 0) >= 0.6
    reconciler.round()
    value = scrape()
    assert value("dale_ingested_epochs_total") == value("dale_ingest_lag_seconds_count") == 1
    assert value("dale_ingest_lag_seconds_bucket", le="0.5") == 0
    assert 0.6 <= (value("dale_ingest_lag_seconds_sum") or 0) < 5
    assert (value("dale_ingest_behind_seconds") or 0) < 0.6, "everything was taken in just now"
    scripted.write_epoch(context.store, job_id, 1, 1, SAMPLES)
    reconciler.round()
    value = scrape()
    with context.database.read() as session:
        in_database = len(jobs.epochs(session, job_id, -1, 10))
    assert value("dale_ingested_epochs_total") == value("dale_ingest_lag_seconds_count") == in_database == 2


def test_a_damaged_epoch_leaves_ingestion_behind(
    context: Context, reconciler: Reconciler, queue: Any, scripted: ModuleType, scrape: Callable[[], Sample]
) -> None:
    job_id = start(reconciler, queue())
    scripted.write_epoch(context.store, job_id, 1, 0, SAMPLES)
    shard = keys.confidence_shard(job_id, 0, 0, 2)
    context.store.put(shard, b"torn")
    time.sleep(0.3)
    reconciler.round()
    value = scrape()
    assert (value("dale_ingest_behind_seconds") or 0) >= 0.3, "looked at, but not taken in"
    assert value("dale_ingested_epochs_total") == 0


def test_a_cluster_that_is_away_leaves_ingestion_behind_and_a_finished_job_does_not(
    context: Context,
    ray: FakeRay,
    reconciler: Reconciler,
    queue: Any,
    scripted: ModuleType,
    scrape: Callable[[], Sample],
) -> None:
    job_id = start(reconciler, queue())
    ray.broken = True
    time.sleep(0.3)
    reconciler.round()
    assert (scrape()("dale_ingest_behind_seconds") or 0) >= 0.3
    ray.broken = False
    for epoch in range(2):
        scripted.write_epoch(context.store, job_id, 1, epoch, SAMPLES)
    scripted.write_result(context.store, job_id, 1, 2)
    ray.runs[f"{job_id}-1"]["status"] = "SUCCEEDED"
    reconciler.round()
    time.sleep(0.3)
    reconciler.round()
    assert scrape()("dale_ingest_behind_seconds") == 0
    assert scrape()("dale_jobs", state="SUCCEEDED") is not None


def test_a_reconciler_by_itself_can_be_scraped(settings: Settings, context: Context, client: TestClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings.metrics_listen = f"127.0.0.1:{port}"
    url, headers = f"http://127.0.0.1:{port}/metrics", {"Authorization": client.headers["Authorization"]}
    before = {thread.name for thread in threading.enumerate()}
    metrics = Metrics()  # its own, as that process has no jobs to tell of
    metrics.last_round.set(1234)
    with listening(context, metrics):
        wait_for(lambda: reachable(url), seconds=30)
        assert httpx.get(url).status_code == 401
        value = parse(httpx.get(url, headers=headers).text)
        assert value("dale_reconciler_last_round_timestamp_seconds") == 1234
        assert value("dale_jobs", state="QUEUED") is None, "those are told by the API, once"
        assert httpx.get(url.replace("metrics", "v1/jobs"), headers=headers).status_code == 404
    assert not reachable(url)
    assert "metrics" not in {thread.name for thread in threading.enumerate()} - before


def test_a_reconciler_listens_to_nothing_unless_it_is_told_to(context: Context, metrics: Metrics) -> None:
    with listening(context, metrics):
        assert "metrics" not in {thread.name for thread in threading.enumerate()}


def reachable(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


@pytest.mark.parametrize("wrong", ["9464", ":9464", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:http", "h:70000"])
def test_an_address_to_listen_at_is_host_and_port(wrong: str) -> None:
    with pytest.raises(ValidationError, match="host:port"):
        Settings(metrics_listen=wrong)


def test_addresses_of_both_kinds() -> None:
    assert Settings(metrics_listen="0.0.0.0:9464").metrics_address == ("0.0.0.0", 9464)  # noqa: S104
    assert Settings(metrics_listen="[::1]:9464").metrics_address == ("::1", 9464)
    assert Settings().metrics_address is None
