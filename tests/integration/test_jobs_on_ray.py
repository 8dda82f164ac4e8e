"""Jobs from POST to result on a real Ray head, through the real service in a process of its own; only the training
is a script. Killed at the worst moments, the service loses nothing and doubles nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import psutil
import pytest

from service.api.dependencies import Context
from tests.integration.harness import SERVE, Service, wait_for
from workers.contract import keys

SAMPLES = 6


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, scripted_command: tuple[str, ...]) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service") / "data"
    service = Service(folder, scripted_command)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def settings(service: Service, settings: object) -> object:
    """The settings of the service under test, so that `add_dataset` writes to its database."""
    return type(settings)(data_dir=service.folder, network_check=False)


@pytest.fixture
def dataset_id(add_dataset: Callable[..., str]) -> str:
    return add_dataset(SAMPLES)


@pytest.fixture
def started(context: Context) -> Callable[[str], list[str]]:
    """Which processes ever began to work on a job, as `attempt-pid`."""

    def started(job_id: str) -> list[str]:
        prefix = f"{keys.job(job_id)}started/"
        return [key.removeprefix(prefix) for key in context.store.list(prefix)]

    return started


def check_complete(service: Service, job_id: str, scripted: ModuleType, epochs: int = 4) -> None:
    """Every epoch and every confidence is there exactly once, and is what the run wrote."""
    assert [row[0] for row in service.rows("SELECT epoch FROM epochs WHERE job_id = ? ORDER BY epoch", job_id)] == list(
        range(epochs)
    )
    found = service.rows("SELECT ordinal, epoch, confidence FROM confidences WHERE job_id = ?", job_id)
    expected = {(o, e): scripted.confidence(o, e) for o in range(SAMPLES) for e in range(epochs)}
    assert len(found) == len(expected)
    assert {(o, e): c for o, e, c in found} == pytest.approx(expected, abs=1e-7)
    newest = service.rows("SELECT ordinal, epoch FROM job_samples WHERE job_id = ? ORDER BY ordinal", job_id)
    assert newest == [(ordinal, epochs - 1) for ordinal in range(SAMPLES)]
    events = [json.loads(str(row[0])) for row in service.rows("SELECT data FROM events WHERE job_id = ?", job_id)]
    assert [event["epoch"] for event in events if "epoch" in event] == list(range(epochs))
    assert len([event for event in events if event.get("state") == "SUCCEEDED"]) == 1


def test_a_job_from_post_to_model(service: Service, dataset_id: str, scripted: ModuleType, context: Context) -> None:
    job_id = service.post(dataset_id, name="hold=1", workers=2, batch_size=2)
    seen = []
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:  # ends when the job is over
        for line in stream.iter_lines():
            if line.startswith("event: "):
                seen.append(line.removeprefix("event: "))
            if seen and seen[-1] == "progress":  # the run waits until it was seen at work, however fast it is
                context.store.put(f"{keys.job(job_id)}go", b"")
    assert seen.count("epoch") == 4
    assert "progress" in seen
    job = service.job(job_id)
    assert (job["state"], job["attempt"], job["epochs_done"]) == ("SUCCEEDED", 1, 4)
    assert job["started_at"] and job["finished_at"]
    check_complete(service, job_id, scripted)
    assert "attempt 1 in process" in service.http.get(f"/v1/jobs/{job_id}/logs").text
    (file,) = service.http.get(f"/v1/models/{job_id}").json()["files"]
    assert len(service.http.get(file["url"]).content) == file["size"]


def test_what_does_not_fit_waits_and_what_never_fits_is_refused(
    service: Service, dataset_id: str, context: Context
) -> None:
    first = service.post(dataset_id, name="hold=0", workers=2, batch_size=2)
    service.wait(first, "RUNNING")
    second = service.post(dataset_id, workers=1)
    wait_for(lambda: "1 CPU" in str(service.job(second)["waiting_for"]), tell=lambda: service.job(second))
    assert service.job(second)["state"] == "QUEUED"
    refused = service.http.post("/v1/jobs", json={"dataset_id": dataset_id, "workers": 3})
    assert refused.status_code == 422
    assert "3 CPUs, the cluster has 2" in refused.json()["errors"][0]["reason"]
    gpu = service.http.post("/v1/jobs", json={"dataset_id": dataset_id, "gpus_per_worker": 1})
    if not service.rows("SELECT 1 FROM jobs WHERE id = ?", gpu.json().get("id", "")):
        assert "GPU" in gpu.json()["errors"][0]["reason"]
    context.store.put(f"{keys.job(first)}go", b"")
    service.wait(first, "SUCCEEDED")
    service.wait(second, "SUCCEEDED")


@pytest.mark.parametrize("script", ["hold=0", "hold=0 ignore-term"])
def test_cancel_ends_the_processes_within_seconds(
    service: Service, dataset_id: str, started: Callable[[str], list[str]], script: str
) -> None:
    job_id = service.post(dataset_id, name=script)
    service.wait(job_id, "RUNNING")
    wait_for(lambda: service.job(job_id)["epochs_done"] == 1)
    (run,) = started(job_id)
    pid = int(run.split("-")[1])
    assert psutil.pid_exists(pid)
    assert service.http.post(f"/v1/jobs/{job_id}:cancel").json()["state"] == "CANCELLING"
    job = service.wait(job_id, "CANCELLED", "FAILED", seconds=20)
    assert (job["state"], job["failure"]) == ("CANCELLED", None)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert "attempt 1" in service.http.get(f"/v1/jobs/{job_id}/logs").text


def test_a_failure_says_what_to_do(service: Service, dataset_id: str) -> None:
    reported = service.post(dataset_id, name="fail=0")
    killed = service.post(dataset_id, name="die=1 always")
    job = service.wait(reported, "FAILED")
    assert job["failure"]["cause"] == "image 7 cannot be read"
    assert job["failure"]["hint"] == "remove it"
    job = service.wait(killed, "FAILED")
    assert "killed (signal 9" in job["failure"]["cause"]
    assert "batch_size" in job["failure"]["hint"]
    assert "attempt 3 in process" in job["failure"]["detail"]
    assert (job["attempt"], job["epochs_done"]) == (3, 2)  # what it had committed is kept
    assert "attempt 3 in process" in service.http.get(f"/v1/jobs/{killed}/logs").text


def test_killing_the_service_loses_nothing_and_doubles_nothing(
    service: Service,
    dataset_id: str,
    context: Context,
    started: Callable[[str], list[str]],
    scripted: ModuleType,
) -> None:
    job_id = service.post(dataset_id, name="hold=1")
    wait_for(lambda: service.job(job_id)["epochs_done"] == 2, tell=lambda: service.job(job_id))
    head = service.head()
    service.kill()
    context.store.put(f"{keys.job(job_id)}go", b"")  # the run goes on, and ends, while nobody watches
    wait_for(lambda: context.store.exists(keys.result_manifest(job_id)))
    service.start()
    job = service.wait(job_id, "SUCCEEDED", "FAILED")
    assert (job["state"], job["attempt"]) == ("SUCCEEDED", 1)
    assert service.head() == head  # adopted, not started anew
    assert len(started(job_id)) == 1
    check_complete(service, job_id, scripted)


def test_losing_service_and_ray_at_once_resumes_the_job(
    service: Service,
    dataset_id: str,
    context: Context,
    started: Callable[[str], list[str]],
    scripted: ModuleType,
) -> None:
    job_id = service.post(dataset_id, name="hold=1")
    wait_for(lambda: service.job(job_id)["epochs_done"] == 2, tell=lambda: service.job(job_id))
    (run,) = started(job_id)
    head = service.head()
    service.kill()
    psutil.Process(head.pid).kill()  # its workers and agents live on
    service.start()
    context.store.put(f"{keys.job(job_id)}go", b"")
    job = service.wait(job_id, "SUCCEEDED", "FAILED")
    assert (job["state"], job["attempt"]) == ("SUCCEEDED", 2)
    assert service.head().pid != head.pid
    assert [entry.split("-")[0] for entry in started(job_id)] == ["1", "2"]
    old = int(run.split("-")[1])
    assert not psutil.pid_exists(old) or psutil.Process(old).status() == psutil.STATUS_ZOMBIE
    check_complete(service, job_id, scripted)


def test_a_stop_leaves_no_process_and_the_job_goes_on_at_the_next_start(
    service: Service, dataset_id: str, context: Context, scripted: ModuleType
) -> None:
    job_id = service.post(dataset_id, name="hold=1")
    wait_for(lambda: service.job(job_id)["epochs_done"] == 2)
    head = psutil.Process(service.head().pid)
    pids = [head, *head.children(recursive=True)]
    service.stop()
    left = [process for process in pids if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert left == []
    assert not (service.folder / "service.json").exists()
    context.store.put(f"{keys.job(job_id)}go", b"")
    service.start()
    job = service.wait(job_id, "SUCCEEDED", "FAILED")
    assert job["state"] == "SUCCEEDED"
    check_complete(service, job_id, scripted)


def test_two_services_cannot_share_a_folder(service: Service) -> None:
    other = Service(service.folder, ("true",))
    done = subprocess.run(
        [sys.executable, "-c", SERVE],
        env=other.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Another service is using" in done.stderr
