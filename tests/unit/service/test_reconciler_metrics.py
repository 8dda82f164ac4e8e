"""What the reconciler tells of itself, and where."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sqlalchemy import text

from service.api.dependencies import Context
from service.db import jobs
from service.jobs import lag
from service.jobs.metrics_listener import listening
from service.jobs.reconciler import Reconciler
from service.metrics import Metrics
from service.settings import Settings
from tests.integration.harness import wait_for
from tests.unit.service.fake_ray import SAMPLES, FakeRay
from tests.unit.service.scraping import Sample, parse
from workers.contract import keys


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the lag is measured by."""
    clock = Clock()
    monkeypatch.setattr(lag, "time", clock)
    return clock


def test_a_look_at_the_jobs_leaves_its_time(
    context: Context, reconciler: Reconciler, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[BaseException] = []
    look = reconciler.round

    def watched() -> None:
        try:
            look()
        except Exception as error:
            failed.append(error)
            raise

    monkeypatch.setattr(reconciler, "round", watched)

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
        wait_for(lambda: failed, seconds=30)
        failing = last()
        wait_for(lambda: len(failed) >= 5, seconds=30)
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
    clock: Clock,
    context: Context,
    reconciler: Reconciler,
    queue: Any,
    scripted: ModuleType,
    scrape: Callable[[], Sample],
) -> None:
    job_id = start(reconciler, queue())
    value = scrape()
    assert value("dale_ingested_epochs_total") == value("dale_ingest_lag_seconds_count") == 0
    scripted.write_epoch(context.store, job_id, 1, 0, SAMPLES)
    clock.now += 0.7  # the epoch waits; nobody looks
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
    clock: Clock,
    context: Context,
    reconciler: Reconciler,
    queue: Any,
    scripted: ModuleType,
    scrape: Callable[[], Sample],
) -> None:
    job_id = start(reconciler, queue())
    scripted.write_epoch(context.store, job_id, 1, 0, SAMPLES)
    shard = keys.confidence_shard(job_id, 0, 0, 2)
    context.store.put(shard, b"torn")
    clock.now += 0.4
    reconciler.round()
    value = scrape()
    assert (value("dale_ingest_behind_seconds") or 0) >= 0.3, "looked at, but not taken in"
    assert value("dale_ingested_epochs_total") == 0


def test_a_cluster_that_is_away_leaves_ingestion_behind_and_a_finished_job_does_not(
    clock: Clock,
    context: Context,
    ray: FakeRay,
    reconciler: Reconciler,
    queue: Any,
    scripted: ModuleType,
    scrape: Callable[[], Sample],
) -> None:
    job_id = start(reconciler, queue())
    ray.broken = True
    clock.now += 0.4
    reconciler.round()
    assert (scrape()("dale_ingest_behind_seconds") or 0) >= 0.3
    ray.broken = False
    for epoch in range(2):
        scripted.write_epoch(context.store, job_id, 1, epoch, SAMPLES)
    scripted.write_result(context.store, job_id, 1, 2)
    ray.runs[f"{job_id}-1"]["status"] = "SUCCEEDED"
    reconciler.round()
    clock.now += 0.4
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
        assert httpx.get(url, timeout=30).status_code == 401
        value = parse(httpx.get(url, headers=headers, timeout=30).text)
        assert value("dale_reconciler_last_round_timestamp_seconds") == 1234
        assert value("dale_jobs", state="QUEUED") is None, "those are told by the API, once"
        assert httpx.get(url.replace("metrics", "v1/jobs"), headers=headers, timeout=30).status_code == 404
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
