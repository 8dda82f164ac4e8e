"""The reconciler against a stand-in for Ray's Jobs API; the real one: tests/integration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from service.api.dependencies import Context
from service.db import jobs, projects
from service.db.tables import Attempt, Confidence, Epoch, Event, Job
from service.jobs import ingest
from service.jobs.intake import take_in, view_of
from service.jobs.lag import IngestLag
from service.jobs.lifecycle import MAX_ATTEMPTS, State
from service.jobs.reconciler import Reconciler
from service.jobs.submission import LOG_TAIL_BYTES, RayJobs
from service.metrics import Metrics
from tests.integration.harness import wait_for
from tests.unit.service.fake_ray import SAMPLES, FakeRay
from workers.contract import keys
from workers.contract.request import Failure, JobSpec, TrainRequest


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def read(context: Context) -> Callable[[str], Job]:
    def read(job_id: str) -> Job:
        with context.database.read() as session:
            job = jobs.get_job(session, job_id)
            assert job is not None
            return job

    return read


def test_a_job_is_written_submitted_and_followed_to_its_end(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any, scripted: ModuleType
) -> None:
    job_id = queue(seed=7)
    reconciler.round()
    assert read(job_id).state == State.STARTING
    request = TrainRequest.model_validate_json(context.store.get(keys.request(job_id)))
    assert (request.job_id, request.spec.seed) == (job_id, 7)
    (body,) = ray.submissions
    assert body["submission_id"] == f"{job_id}-1"
    assert body["entrypoint"].startswith("exec ")
    assert body["entrypoint"].endswith(f"--job {job_id} --attempt 1")
    reconciler.round()
    assert (read(job_id).state, bool(read(job_id).waiting_for)) == (State.RUNNING, True)
    scripted.write_progress(context.store, job_id, 1, 0, 2)
    scripted.write_epoch(context.store, job_id, 1, 0, SAMPLES)
    reconciler.round()
    job = read(job_id)
    assert (job.epochs_done, job.waiting_for, job.progress["epochs"]) == (1, "", 2)
    scripted.write_epoch(context.store, job_id, 1, 1, SAMPLES)
    scripted.write_result(context.store, job_id, 1, 2)
    context.store.put(keys.checkpoint(job_id, 1, "training.pt"), b"of no use any more")
    ray.runs[f"{job_id}-1"]["status"] = "SUCCEEDED"
    reconciler.round()
    assert list(context.store.list(keys.checkpoints(job_id))) == []
    job = read(job_id)
    assert (job.state, job.epochs_done) == (State.SUCCEEDED, 2)
    with context.database.read() as session:
        attempt = jobs.get_attempt(session, job_id, 1)
        assert attempt is not None
        assert attempt.log == "the end\n"
        assert [file.name for file in jobs.artifacts(session, job_id)] == ["model.bin"]


def test_a_change_through_the_api_is_acted_on_at_once(
    context: Context, ray: FakeRay, reconciler: Reconciler, client: TestClient, add_dataset: Any, read: Any
) -> None:
    context.settings.reconcile_seconds = 60
    dataset_id = add_dataset(SAMPLES)
    stop = threading.Event()
    thread = threading.Thread(target=reconciler.run, args=(stop,))
    thread.start()
    try:
        for _ in range(3):
            job_id = client.post("/v1/jobs", json={"dataset_id": dataset_id}).json()["id"]
            wait_for(lambda job_id=job_id: read(job_id).state != State.QUEUED, seconds=30)
    finally:
        stop.set()
        context.bell.set()
        thread.join()


def test_a_run_gets_no_secret(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DALE_S3_SECRET_KEY", "s3-secret-9f8e7d")
    monkeypatch.setenv("DALE_API_KEY", "api-key-1a2b3c")
    queue()
    reconciler.round()
    sent = json.dumps(ray.submissions)
    assert "s3-secret-9f8e7d" not in sent
    assert "api-key-1a2b3c" not in sent
    assert context.settings.database_url not in sent
    assert ray.submissions[0]["runtime_env"]["env_vars"]["DALE_STORE_URL"] == context.settings.store_url


def test_a_service_that_dies_around_the_submission_starts_the_run_once(
    context: Context, ray: FakeRay, queue: Any, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DiedError(BaseException): ...

    submit = RayJobs.submit

    def die_before(*_: Any) -> None:
        raise DiedError

    def die_after(self: RayJobs, *args: Any) -> None:
        submit(self, *args)
        raise DiedError

    before, after = queue(), None
    with monkeypatch.context() as patch:
        patch.setattr(RayJobs, "submit", die_before)
        with pytest.raises(DiedError):
            Reconciler(context).round()
    assert (read(before).state, ray.submissions) == (State.STARTING, [])
    Reconciler(context).round()
    after = queue()
    with monkeypatch.context() as patch:
        patch.setattr(RayJobs, "submit", die_after)
        with pytest.raises(DiedError):
            Reconciler(context).round()
    for _ in range(3):
        Reconciler(context).round()
    assert [body["submission_id"] for body in ray.submissions] == [f"{before}-1", f"{after}-1"]
    assert (read(before).attempt, read(after).attempt) == (1, 1)
    assert (read(before).state, read(after).state) == (State.RUNNING, State.RUNNING)


def test_a_duplicate_submission_is_no_error(ray: FakeRay) -> None:
    with RayJobs(ray.endpoint) as client:
        client.submit("a-1", "exec true", {})
        client.submit("a-1", "exec true", {})
    assert len(ray.submissions) == 1


def test_two_reconcilers_take_each_epoch_in_once(
    context: Context, ray: FakeRay, queue: Any, scripted: ModuleType
) -> None:
    job_id = queue()
    Reconciler(context).round()
    for epoch in range(8):
        scripted.write_epoch(context.store, job_id, 1, epoch, SAMPLES)
    with context.database.read() as session:
        view = view_of(jobs.unfinished(session)[0])
    barrier = threading.Barrier(4)
    errors: list[BaseException] = []

    def work() -> None:
        barrier.wait()
        try:
            take_in(context, view, IngestLag(Metrics()))
        except Exception as error:  # noqa: BLE001 - told to the test
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    take_in(context, view, IngestLag(Metrics()))
    with context.database.read() as session:
        assert session.scalars(select(Epoch.epoch).order_by(Epoch.epoch)).all() == list(range(8))
        assert session.scalar(select(func.count()).select_from(Confidence)) == 8 * SAMPLES
        assert session.scalar(select(func.count()).select_from(Event).where(Event.kind == "epoch")) == 8


def test_an_epoch_is_taken_in_whole_or_not_at_all(
    context: Context,
    reconciler: Reconciler,
    queue: Any,
    read: Any,
    scripted: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = queue()
    reconciler.round()
    scripted.write_epoch(context.store, job_id, 1, 0, SAMPLES)

    def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "add_event", crash)
        reconciler.round()  # logged, not raised
    with context.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Confidence)) == 0
    assert read(job_id).epochs_done == 0
    reconciler.round()
    assert read(job_id).epochs_done == 1


DIE_BEFORE_COMMIT = """
import os, signal
from service.db import jobs, projects
from service.jobs.intake import take_in, view_of
from service.jobs.lag import IngestLag
from service.main import open_context
from service.metrics import Metrics
from service.settings import Settings

context = open_context(Settings())
jobs.add_event = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # the last act of the transaction
with context.database.read() as session:
    view = view_of(jobs.unfinished(session)[0])
take_in(context, view, IngestLag(Metrics()))
"""


def test_a_reconciler_killed_between_ingesting_and_committing_doubles_nothing(
    context: Context, reconciler: Reconciler, queue: Any, read: Any, scripted: ModuleType
) -> None:
    job_id = queue()
    reconciler.round()
    scripted.write_epoch(context.store, job_id, 1, 0, SAMPLES)
    settings = context.settings
    environment = {"DALE_DATABASE_URL": settings.database_url, "DALE_DATA_DIR": str(settings.data_dir)}
    killed = subprocess.run([sys.executable, "-c", DIE_BEFORE_COMMIT], env=os.environ | environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    with context.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Confidence)) == 0
    for _ in range(2):
        reconciler.round()
    with context.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Confidence)) == SAMPLES
        assert session.scalars(select(Epoch.epoch)).all() == [0]
    assert read(job_id).epochs_done == 1


def shard(job_id: str) -> str:
    return keys.confidence_shard(job_id, 0, 0, 2)


def test_a_damaged_shard_is_not_believed(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any, scripted: ModuleType
) -> None:
    job_id = queue()
    reconciler.round()
    scripted.write_epoch(context.store, job_id, 1, 0, SAMPLES)
    good = context.store.get(shard(job_id))
    scripted.write_epoch(context.store, "job-other", 1, 1, SAMPLES)
    other = context.store.get(keys.confidence_shard("job-other", 1, 0, 2))  # in order, but not what was committed
    context.store.put(shard(job_id), other)
    reconciler.round()
    reconciler.round()
    assert (read(job_id).state, read(job_id).epochs_done) == (State.RUNNING, 0)
    context.store.put(shard(job_id), good)  # as when a resumed attempt writes it anew
    reconciler.round()
    assert read(job_id).epochs_done == 1


def finish(ray: FakeRay, run: str, status: str = "SUCCEEDED", exit_code: int | None = 0) -> None:
    ray.runs[run] |= {"status": status, "driver_exit_code": exit_code}


@pytest.mark.parametrize("harm", ["shard missing", "shard truncated", "manifest missing", "result unreadable"])
def test_what_is_damaged_is_done_again(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any, scripted: ModuleType, harm: str
) -> None:
    job_id = queue()
    reconciler.round()
    for epoch in range(2):
        scripted.write_epoch(context.store, job_id, 1, epoch, SAMPLES)
    scripted.write_result(context.store, job_id, 1, 2)
    first = keys.epoch_manifest(job_id, 0)
    if harm == "shard missing":
        context.store.delete(shard(job_id))
    elif harm == "shard truncated":
        context.store.put(shard(job_id), context.store.get(shard(job_id))[:-1])
    elif harm == "manifest missing":
        context.store.delete(first)
    else:
        context.store.put(keys.result_manifest(job_id), b"{")
    finish(ray, f"{job_id}-1")
    reconciler.round()
    assert (read(job_id).state, read(job_id).attempt) == (State.STARTING, 2)
    assert ray.submissions[-1]["submission_id"] == f"{job_id}-2"
    # The run sees which epoch is missing, and that it is not complete; what is whole stays.
    assert context.store.exists(first) == (harm == "result unreadable")
    assert not context.store.exists(keys.result_manifest(job_id))
    assert context.store.exists(keys.epoch_manifest(job_id, 1))
    scripted.write_epoch(context.store, job_id, 2, 0, SAMPLES)
    scripted.write_result(context.store, job_id, 2, 2)
    finish(ray, f"{job_id}-2")
    reconciler.round()
    assert (read(job_id).state, read(job_id).epochs_done) == (State.SUCCEEDED, 2)


def test_a_shard_that_is_damaged_again_and_again_fails_the_job_in_words(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any, scripted: ModuleType
) -> None:
    job_id = queue()
    reconciler.round()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        scripted.write_epoch(context.store, job_id, attempt, 0, SAMPLES)
        scripted.write_result(context.store, job_id, attempt, 1)
        context.store.delete(shard(job_id))
        finish(ray, f"{job_id}-{attempt}")
        reconciler.round()
    job = read(job_id)
    assert (job.state, job.failure["kind"]) == (State.FAILED, "store")
    assert shard(job_id) in job.failure["cause"]


def test_a_run_whose_epoch_stays_damaged_is_not_left_to_go_on(
    context: Context,
    ray: FakeRay,
    reconciler: Reconciler,
    queue: Any,
    read: Any,
    scripted: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = queue()
    reconciler.round()
    scripted.write_epoch(context.store, job_id, 1, 0, SAMPLES)
    context.store.delete(shard(job_id))
    reconciler.round()
    assert ray.stops == []
    monkeypatch.setattr("service.jobs.reconciler.DAMAGE_SECONDS", 0.0)
    reconciler.round()
    assert ray.stops == [f"{job_id}-1"]
    reconciler.round()
    assert (read(job_id).state, read(job_id).attempt) == (State.STARTING, 2)


def test_a_run_that_was_killed_starts_again_and_at_last_fails_in_words(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any
) -> None:
    job_id = queue()
    reconciler.round()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert (read(job_id).state, read(job_id).attempt) == (State.STARTING, attempt)
        finish(ray, f"{job_id}-{attempt}", "FAILED", -9)
        reconciler.round()
    job = read(job_id)
    assert (job.state, job.failure["kind"]) == (State.FAILED, "out_of_memory")
    assert "batch_size" in job.failure["hint"]
    with context.database.read() as session:
        logs = [attempt.log for attempt in session.scalars(select(Attempt).where(Attempt.job_id == job_id))]
    assert logs == ["the end\n"] * MAX_ATTEMPTS


def test_a_run_that_says_why_it_failed_is_not_tried_again(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any
) -> None:
    job_id = queue()
    reconciler.round()
    failure = Failure(kind="data", cause="image 7 cannot be read")
    context.store.put(keys.failure(job_id, 1), failure.model_dump_json().encode())
    finish(ray, f"{job_id}-1", "FAILED", -9)
    reconciler.round()
    assert (read(job_id).state, read(job_id).failure["cause"]) == (State.FAILED, "image 7 cannot be read")


@pytest.mark.parametrize("kind", ["worker_lost", "store"])
def test_a_run_that_lost_what_can_come_back_is_tried_again(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any, kind: str
) -> None:
    job_id = queue()
    reconciler.round()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert read(job_id).attempt == attempt
        failure = Failure(kind=kind, cause=f"the {attempt}. time")
        context.store.put(keys.failure(job_id, attempt), failure.model_dump_json().encode())
        finish(ray, f"{job_id}-{attempt}", "FAILED", 1)
        reconciler.round()
    assert (read(job_id).state, read(job_id).failure["cause"]) == (State.FAILED, f"the {MAX_ATTEMPTS}. time")


@pytest.mark.parametrize("when", ["queued", "starting", "running"])
def test_a_job_that_takes_too_long_is_stopped(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any, when: str
) -> None:
    if when == "queued":
        ray.cpus = 1
        queue()  # holds the only CPU
    job_id = queue(timeout_seconds=3600)
    for _ in range({"queued": 1, "starting": 1, "running": 2}[when]):
        reconciler.round()
    assert read(job_id).state == when.upper()
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        job.created_at -= timedelta(hours=2)
    reconciler.round()
    reconciler.round()
    job = read(job_id)
    assert (job.state, job.failure["kind"]) == (State.FAILED, "timeout")
    assert "3600 s" in job.failure["cause"]
    assert ray.stops == ([] if when == "queued" else [f"{job_id}-1"])


def test_a_job_that_accepts_fewer_workers_starts_on_a_smaller_cluster(
    ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any
) -> None:
    ray.cpus = 3
    elastic, next_one, rigid = queue(workers=8, min_workers=2), queue(), queue(workers=8, min_workers=4)
    reconciler.round()
    assert read(elastic).state == State.STARTING
    assert read(next_one).waiting_for == "1 CPU (0 free of 3)"  # all three are the elastic one's
    assert read(rigid).failure["cause"] == "the job needs 4 CPUs, the cluster has 3"


@pytest.mark.parametrize("count", [SAMPLES - 1, SAMPLES + 1])
def test_an_epoch_needs_one_row_for_each_sample(context: Context, scripted: ModuleType, count: int) -> None:
    scripted.write_epoch(context.store, "job-1", 1, 0, count)
    manifest = ingest.read_epoch(context.store, "job-1", 0)
    assert manifest is not None
    with pytest.raises(ingest.DamagedError, match="one row for each"):
        ingest.read_rows(context.store, manifest, SAMPLES)


def test_what_is_written_of_another_shape_is_damaged(context: Context) -> None:
    context.store.put(keys.result_manifest("job-1"), b'{"job_id": "job-1"}')
    with pytest.raises(ingest.DamagedError, match=r"manifest\.json"):
        ingest.read_result(context.store, "job-1")


def test_one_jobs_trouble_does_not_stop_the_others(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any, scripted: ModuleType
) -> None:
    bad, good = queue(), queue()
    reconciler.round()
    ray.runs[f"{bad}-1"] = {"status": "UTTER NONSENSE"}
    scripted.write_epoch(context.store, good, 1, 0, SAMPLES)
    reconciler.round()
    assert (read(good).epochs_done, read(bad).state) == (1, State.STARTING)


def test_nothing_is_concluded_from_a_ray_that_does_not_answer(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any
) -> None:
    job_id = queue()
    reconciler.round()
    reconciler.round()
    ray.broken = True
    for _ in range(5):
        reconciler.round()
    ray.broken = False
    context.cluster.lost("Ray is being started again")
    later = queue()
    reconciler.round()
    assert "Ray is being started again" in read(later).waiting_for
    context.cluster.found(ray.endpoint)
    reconciler.round()
    assert (read(job_id).state, read(job_id).attempt) == (State.RUNNING, 1)
    assert read(later).state == State.STARTING


def test_a_run_that_ray_forgets_again_and_again_ends_in_words(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any
) -> None:
    job_id = queue()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        reconciler.round()
        reconciler.round()
        assert (read(job_id).state, read(job_id).attempt) == (State.RUNNING, attempt)
        ray.runs.clear()
    reconciler.round()
    job = read(job_id)
    assert (job.state, job.failure["kind"]) == (State.FAILED, "worker_lost")
    assert str(MAX_ATTEMPTS) in job.failure["cause"]
    with context.database.read() as session:
        assert len(session.scalars(select(Attempt)).all()) == MAX_ATTEMPTS


def test_a_job_larger_than_the_cluster_is_not_left_waiting(
    ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any
) -> None:
    huge, gpu, small = queue(workers=5), queue(gpus_per_worker=1), queue(workers=4)
    reconciler.round()
    assert read(huge).failure["cause"] == "the job needs 5 CPUs, the cluster has 4"
    assert read(gpu).failure["cause"] == "the job needs 1 GPU, the cluster has 0"
    assert read(small).state == State.STARTING


def test_only_what_fits_is_submitted(ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any) -> None:
    ray.cpus = 2
    first, second, third = queue(workers=2), queue(workers=1), queue(workers=1)
    for _ in range(3):
        reconciler.round()
    assert [read(job).state for job in (first, second, third)] == [State.RUNNING, State.QUEUED, State.QUEUED]
    assert read(second).waiting_for == "1 CPU (0 free of 2)"
    for attempt in range(1, MAX_ATTEMPTS + 1):
        ray.runs[f"{first}-{attempt}"] = {"status": "FAILED", "driver_exit_code": 3}
        reconciler.round()
    reconciler.round()
    assert [read(job).state for job in (first, second, third)] == [State.FAILED, State.STARTING, State.STARTING]
    assert "exit code 3" in read(first).failure["cause"]


def test_the_queue_goes_by_priority_and_by_the_limits_of_projects(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any
) -> None:
    ray.cpus = 2
    running, usual, urgent = queue(), queue(), queue(workers=2)
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, urgent)
        assert job is not None
        job.priority = 3
        projects.lock(session, job.project_id).max_running_jobs = 2
        first = jobs.lock_job(session, running)
        assert first is not None
        first.priority = 4
    reconciler.round()
    assert [read(job).state for job in (running, usual, urgent)] == [State.STARTING, State.QUEUED, State.QUEUED]
    assert read(urgent).waiting_for == "2 CPUs (1 free of 2)"
    assert read(usual).waiting_for == f"its project's limit of 2 running jobs: {running} runs, {urgent} is ahead"
    ray.cpus = 8
    reconciler.round()
    assert (read(urgent).state, read(usual).state) == (State.STARTING, State.QUEUED)
    assert read(usual).waiting_for == f"its project's limit of 2 running jobs: {running} and {urgent} run"
    with context.sessions.begin() as session:
        projects.lock(session, read(usual).project_id).max_running_jobs = None
    reconciler.round()
    assert read(usual).state == State.STARTING


def test_what_an_attempt_ran_in_outlives_the_cluster_and_the_store(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, client: TestClient, scripted: ModuleType
) -> None:
    job_id = queue(seed=7)
    url = f"/v1/jobs/{job_id}/environment"
    reconciler.round()
    assert client.get(url).status_code == 404
    spec = JobSpec(dataset_id="ds-1", seed=7)
    context.store.put(keys.environment(job_id, 1), b"{")
    reconciler.round()  # what cannot be read stops nothing
    scripted.write_environment(context.store, job_id, 1, spec)
    reconciler.round()
    assert client.get(url).json()["packages"]["torch"] == "2.9.0"
    # The workers were started again, on another machine, before the attempt ended.
    scripted.write_environment(context.store, job_id, 1, spec, packages={"torch": "2.9.1"})
    finish(ray, f"{job_id}-1", "FAILED", -9)
    reconciler.round()
    context.store.delete(keys.environment(job_id, 1))
    ray.runs.clear()
    assert client.get(url).json()["packages"] == {"torch": "2.9.1"}  # of the newest that has said it
    assert client.get(url, params={"attempt": 1}).json()["attempt"] == 1
    assert client.get(url, params={"attempt": 2}).status_code == 404
    scripted.write_environment(context.store, job_id, 2, spec)
    reconciler.round()
    assert client.get(url).json()["attempt"] == 2
    assert client.get(url, params={"attempt": 3}).json()["detail"] == f"Job {job_id} has no attempt 3."


def test_cancelling_before_and_while_it_runs(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any
) -> None:
    job_id = queue()
    reconciler.round()
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.set_state(session, job, State.CANCELLING)
    reconciler.round()
    assert ray.stops == [f"{job_id}-1"]
    reconciler.round()
    assert (read(job_id).state, read(job_id).failure) == (State.CANCELLED, None)


def retry(context: Context, job_id: str) -> None:
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.retry(session, job)


def test_a_retry_goes_on_from_the_checkpoints_of_a_job_that_was_cancelled(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any, scripted: ModuleType
) -> None:
    job_id = queue()
    reconciler.round()
    scripted.write_epoch(context.store, job_id, 1, 0, SAMPLES)
    context.store.put(keys.checkpoint(job_id, 1, "training.pt"), b"weights")
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.set_state(session, job, State.CANCELLING)
    reconciler.round()
    reconciler.round()
    assert read(job_id).state == State.CANCELLED
    later = queue(workers=4)
    retry(context, job_id)
    reconciler.round()
    assert (read(later).state, read(job_id).state) == (State.STARTING, State.QUEUED)  # it has to queue up
    finish(ray, f"{later}-1", "FAILED", 1)
    context.store.put(keys.failure(later, 1), Failure(cause="bad").model_dump_json().encode())
    reconciler.round()
    reconciler.round()
    reconciler.round()
    job = read(job_id)
    assert (job.state, job.attempt, job.epochs_done) == (State.RUNNING, 2, 1)  # not ended by the stop of the first
    assert context.store.exists(keys.checkpoint(job_id, 1, "training.pt"))
    assert ray.submissions[-1]["submission_id"] == f"{job_id}-2"
    scripted.write_epoch(context.store, job_id, 2, 1, SAMPLES)
    scripted.write_result(context.store, job_id, 2, 2)
    finish(ray, f"{job_id}-2")
    reconciler.round()
    assert (read(job_id).state, read(job_id).epochs_done) == (State.SUCCEEDED, 2)


def test_attempts_and_time_count_anew_from_a_retry(
    context: Context, ray: FakeRay, reconciler: Reconciler, queue: Any, read: Any
) -> None:
    job_id = queue(timeout_seconds=3600)
    reconciler.round()
    failure = Failure(kind="data", cause="image 7 cannot be read")
    context.store.put(keys.failure(job_id, 1), failure.model_dump_json().encode())
    finish(ray, f"{job_id}-1", "FAILED", 1)
    reconciler.round()
    assert read(job_id).state == State.FAILED
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        job.created_at -= timedelta(hours=2)
    retry(context, job_id)
    assert (read(job_id).failure, read(job_id).finished_at) == (None, None)
    for attempt in range(2, MAX_ATTEMPTS + 2):
        reconciler.round()
        assert (read(job_id).state, read(job_id).attempt) == (State.STARTING, attempt)
        finish(ray, f"{job_id}-{attempt}", "FAILED", -9)
    reconciler.round()
    assert (read(job_id).state, read(job_id).failure["kind"]) == (State.FAILED, "out_of_memory")


@pytest.mark.parametrize("unit", ["x" * 99 + "\n", 'quote " and \\ and \\n\n', "bar 10%\r", "naïve ✓ 𝄞\n"])
def test_only_the_end_of_a_long_log_is_kept(ray: FakeRay, unit: str) -> None:
    ray.runs["a-1"] = {"status": "RUNNING"}
    ray.log = unit * (3 * 2**20 // len(unit)) + "last line\n"
    with RayJobs(ray.endpoint) as client:
        tail = client.log_tail("a-1")
        assert client.log_tail("unknown") == ""
    assert ray.log.endswith(tail)
    assert LOG_TAIL_BYTES - 8 <= len(tail.encode()) <= LOG_TAIL_BYTES
