"""A real run on a real Ray head, hurt in every way that machines know: its result is that of the undisturbed run,
every epoch is in the database once, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from safetensors.numpy import load as load_safetensors

from tests.integration.harness import Service, alive, wait_for
from workers.contract import keys
from workers.contract.store import ObjectStore, open_store

pytestmark = pytest.mark.timeout(300)
HELD_WORKER = Path(__file__).with_name("held_worker.py")
SAMPLES, EPOCHS, HANG_SECONDS = 14, 5, 12
STEPS = 4  # of an epoch
SPEC = {
    "epochs": EPOCHS,
    "batch_size": 4,
    "image_size": 32,
    "workers": 2,
    "network": {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2]}},
    "method": {"name": "dale", "start": 0.3},
}
Confidences = dict[tuple[int, int], tuple[float, ...]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(
        tmp_path_factory.mktemp("faults") / "data",
        (sys.executable, str(HELD_WORKER)),
        DALE_COLLECTIVE_TIMEOUT_SECONDS=str(HANG_SECONDS),
        OMP_NUM_THREADS="1",
    )
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def dataset_id(service: Service, disc_files: dict[str, bytes]) -> str:
    return service.upload(disc_files)


@pytest.fixture(scope="module")
def store(service: Service) -> ObjectStore:
    return open_store((service.folder / "objects").as_uri())


def confidences(service: Service, job_id: str) -> Confidences:
    """All that the database holds of a job, which must be every sample in every epoch, once."""
    epochs = [row[0] for row in service.rows("SELECT epoch FROM epochs WHERE job_id = ? ORDER BY epoch", job_id)]
    assert epochs == list(range(EPOCHS))
    query = "SELECT ordinal, epoch, confidence, score, dice, expected_dice FROM confidences WHERE job_id = ?"
    rows = service.rows(query, job_id)
    assert len(rows) == SAMPLES * EPOCHS
    return {(ordinal, epoch): values for ordinal, epoch, *values in rows}


def weights(store: ObjectStore, job_id: str) -> dict[str, np.ndarray]:
    return load_safetensors(store.get(keys.result(job_id, "model.safetensors")))


@pytest.fixture(scope="module")
def undisturbed(service: Service, dataset_id: str, store: ObjectStore) -> str:
    job_id = service.post(dataset_id, **SPEC)
    job = service.wait(job_id, "SUCCEEDED", "FAILED", seconds=180)
    assert (job["state"], job["attempt"]) == ("SUCCEEDED", 1), job
    return job_id


@pytest.fixture
def equal(service: Service, store: ObjectStore, undisturbed: str) -> Callable[[str], None]:
    """Check that a job ended as the undisturbed one did, and that nothing of it is left."""

    def check(job_id: str) -> None:
        expected, found = confidences(service, undisturbed), confidences(service, job_id)
        assert found.keys() == expected.keys()
        for place, values in expected.items():
            assert found[place] == pytest.approx(values, abs=1e-5), place
        assert min(values[0] for values in expected.values()) < 0.99, "the confidences never moved"
        mine = weights(store, job_id)
        for name, values in weights(store, undisturbed).items():
            np.testing.assert_allclose(mine[name], values, atol=1e-5, err_msg=name)
        nothing_left(service, store, job_id)

    return check


def nothing_left(service: Service, store: ObjectStore, job_id: str) -> None:
    """No process, placement group, temporary file or checkpoint of a job that is over."""
    head = service.head()
    headers = {"Authorization": f"Bearer {head.token}"}

    def states(what: str) -> set[str]:
        answer = httpx.get(f"{head.url}/api/v0/{what}", params={"limit": 1000, "detail": False}, headers=headers)
        return {entry["state"] for entry in answer.json()["data"]["result"]["result"]}

    wait_for(lambda: states("placement_groups") <= {"REMOVED"}, tell=lambda: states("placement_groups"))
    wait_for(lambda: not processes_of(job_id), tell=lambda: processes_of(job_id))
    for key in store.list(f"{keys.job(job_id)}held/"):
        assert not alive(int(key.rsplit("-", 1)[1]))
    # Empty folders go with the head; the socket is one of its own processes'.
    assert [path for path in (Path(head.folder) / "tmp").rglob("*") if not path.is_dir() and not path.is_socket()] == []
    if service.job(job_id)["state"] == "SUCCEEDED":  # any other may be tried again
        wait_for(lambda: not list(store.list(keys.checkpoints(job_id))))


def processes_of(job_id: str) -> list[psutil.Process]:
    """The drivers of a job."""
    return [p for p in psutil.process_iter(["cmdline"]) if job_id in (p.info["cmdline"] or [])]


def hold(
    service: Service, store: ObjectStore, dataset_id: str, epoch: int = 2, **spec: object
) -> tuple[str, list[int]]:
    """Post a job, wait until its ranks are in the middle of an epoch, and say which processes they are, by rank."""
    job_id = service.post(dataset_id, **{**SPEC, "name": f"hold={epoch}", **spec})
    return job_id, held(service, store, job_id, epoch)


def held(service: Service, store: ObjectStore, job_id: str, epoch: int) -> list[int]:
    prefix = f"{keys.job(job_id)}held/{epoch}/"
    wait_for(lambda: len(list(store.list(prefix))) == 2, 120, lambda: service.job(job_id))
    return [int(key.rsplit("-", 1)[1]) for key in sorted(store.list(prefix))]


def go(store: ObjectStore, job_id: str, epoch: int = 2) -> None:
    store.put(f"{keys.job(job_id)}go-{epoch}", b"")


def done(service: Service, job_id: str, attempt: int) -> None:
    job = service.wait(job_id, "SUCCEEDED", "FAILED", seconds=180)
    assert (job["state"], job["attempt"]) == ("SUCCEEDED", attempt), job


Fault = Callable[[Service, str, list[int]], None]


def kill_a_worker(service: Service, job_id: str, pids: list[int]) -> None:
    os.kill(pids[1], signal.SIGKILL)


def kill_all_workers(service: Service, job_id: str, pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def kill_the_driver(service: Service, job_id: str, pids: list[int]) -> None:
    for process in processes_of(job_id):
        process.kill()


def kill_the_head(service: Service, job_id: str, pids: list[int]) -> None:
    head = psutil.Process(service.head().pid)
    for process in [head, *head.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # some end with the head
            process.kill()


def kill_the_service(service: Service, job_id: str, pids: list[int]) -> None:
    service.kill()
    service.start()


def kill_service_and_head(service: Service, job_id: str, pids: list[int]) -> None:
    service.kill()
    kill_the_head(service, job_id, pids)
    service.start()


def hang_a_worker(service: Service, job_id: str, pids: list[int]) -> None:
    """It stays in the middle of its step; the others wait for it in the next collective."""
    os.kill(pids[1], signal.SIGSTOP)


def real(*case: object) -> object:
    """A case of the slower tests; the others stand for them in the quick ones."""
    return pytest.param(*case, marks=pytest.mark.real)


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        (kill_a_worker, 1),
        real(kill_all_workers, 1),
        real(kill_the_driver, 2),
        real(kill_the_head, 2),
        real(kill_the_service, 1),
        real(kill_service_and_head, 2),
        real(hang_a_worker, 1),
    ],
)
def test_a_run_that_loses_a_part_ends_as_if_it_had_not(
    service: Service,
    store: ObjectStore,
    dataset_id: str,
    equal: Callable[[str], None],
    fault: Fault,
    attempts: int,
) -> None:
    job_id, pids = hold(service, store, dataset_id)
    wait_for(lambda: service.job(job_id)["epochs_done"] == 2)
    fault(service, job_id, pids)
    go(store, job_id)
    done(service, job_id, attempts)
    equal(job_id)


@pytest.mark.real
def test_a_checkpoint_half_written_is_not_used(
    service: Service, store: ObjectStore, dataset_id: str, equal: Callable[[str], None]
) -> None:
    job_id = service.post(dataset_id, **{**SPEC, "name": f"half={2 * STEPS + 1}"})
    done(service, job_id, 1)
    equal(job_id)


@pytest.mark.real
def test_a_shard_that_did_not_arrive_is_written_by_another_attempt(
    service: Service, store: ObjectStore, dataset_id: str, equal: Callable[[str], None]
) -> None:
    job_id = service.post(dataset_id, **{**SPEC, "name": "lose=2"})
    done(service, job_id, 2)
    equal(job_id)


@pytest.mark.real
@pytest.mark.parametrize("end", ["CANCELLED", "FAILED"], ids=["cancel", "timeout"])
def test_a_run_that_is_stopped_leaves_nothing(service: Service, store: ObjectStore, dataset_id: str, end: str) -> None:
    job_id, pids = hold(service, store, dataset_id, timeout_seconds=3600)
    if end == "CANCELLED":
        service.http.post(f"/v1/jobs/{job_id}:cancel")
    else:
        service.rows("UPDATE jobs SET created_at = datetime(created_at, '-2 hours') WHERE id = ?", job_id)
    job = service.wait(job_id, "CANCELLED", "FAILED")
    assert job["state"] == end
    assert end == "CANCELLED" or job["failure"]["kind"] == "timeout"
    wait_for(lambda: not any(map(alive, pids)))
    nothing_left(service, store, job_id)


@pytest.mark.real
def test_memory_that_is_not_there_is_named(service: Service, store: ObjectStore, dataset_id: str) -> None:
    job_id = service.post(dataset_id, **{**SPEC, "name": "allocate"})
    job = service.wait(job_id, "SUCCEEDED", "FAILED", seconds=180)
    assert job["failure"]["kind"] == "out_of_memory"
    assert "batch_size 4" in job["failure"]["cause"]
    assert "batch_size 2" in job["failure"]["hint"]
    nothing_left(service, store, job_id)
