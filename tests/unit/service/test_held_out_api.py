"""Held-out samples over HTTP: in versions, in what is taken in of a run, and with the Dice of the delivered network."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.api.dependencies import Context
from service.db import jobs
from service.db.tables import HeldOutSample, Job, JobSample
from service.jobs import ingest
from service.jobs.lifecycle import State
from service.jobs.reconciler import Reconciler
from tests.unit.service.fake_ray import FakeRay
from workers.contract import keys
from workers.contract.request import JobSpec, ResultManifest

NAMES = ["b", "c", "e", "f", "a", "d", "g"]
HELD_OUT = {4: 0.75, 5: 0.25, 6: 0.5}


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def job_id(context: Context, add_dataset: Callable[..., str]) -> str:
    with context.sessions.begin() as session:
        return jobs.add_job(session, "job-1", JobSpec(dataset_id=add_dataset(NAMES, held_out=3), epochs=2)).id


@pytest.fixture
def finish(
    context: Context, reconciler: Reconciler, ray: FakeRay, scripted: ModuleType, job_id: str
) -> Callable[..., Job]:
    """Let the run leave its epochs and a result, and take them in: `finish(scores) -> job`."""

    def finish(scores: dict[int, float]) -> Job:
        for _ in range(3):
            reconciler.round()
        for epoch in range(2):
            scripted.write_epoch(context.store, job_id, 1, epoch, 4)
        scripted.write_result(context.store, job_id, 1, 2, held_out=scores)
        ray.runs[f"{job_id}-1"]["status"] = "SUCCEEDED"
        reconciler.round()
        with context.database.read() as session:
            job = jobs.get_job(session, job_id)
            assert job is not None
            return job

    return finish


def test_a_run_over_part_of_a_version_is_taken_in_whole(
    client: TestClient, context: Context, finish: Callable[..., Job], job_id: str
) -> None:
    empty = client.get(f"/v1/jobs/{job_id}/held-out").json()
    assert empty == {"samples": [], "total": 3, "next_page_token": None}
    job = finish(HELD_OUT)
    assert (job.state, job.epochs_done) == (State.SUCCEEDED, 2)
    assert job.metrics == {"dice": 0.9, "test_dice": 0.5}
    with context.database.read() as session:
        assert list(session.scalars(select(JobSample.name).order_by(JobSample.ordinal))) == NAMES[:4]
    listed = client.get(f"/v1/jobs/{job_id}/samples").json()
    assert (listed["total"], {row["rank"] for row in listed["samples"]}) == (4, {1, 2, 3, 4})
    assert client.get(f"/v1/jobs/{job_id}/samples/a").status_code == 404

    found, token = [], None
    for _ in range(2):
        page = client.get(f"/v1/jobs/{job_id}/held-out", params={"page_size": 2, "page_token": token or ""}).json()
        found, token = found + page["samples"], page["next_page_token"]
    assert token is None
    assert [(row["sample"], row["ordinal"], row["dice"]) for row in found] == [
        ("d", 5, 0.25),
        ("g", 6, 0.5),
        ("a", 4, 0.75),
    ]
    assert found[0]["overlay"] == f"/v1/jobs/{job_id}/samples/d/overlay"
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    with context.database.read() as session:
        assert not list(session.scalars(select(HeldOutSample)))


@pytest.mark.parametrize("scores", [{}, {4: 0.1, 5: 0.2}, {3: 0.1, 4: 0.2, 5: 0.3}, {4: 0.1, 5: float("nan"), 6: 0.3}])
def test_scores_that_are_not_those_of_the_held_out_samples(
    context: Context, finish: Callable[..., Job], job_id: str, scores: dict[int, float]
) -> None:
    job = finish(scores)
    assert job.state != State.SUCCEEDED
    with context.database.read() as session:
        assert not list(session.scalars(select(HeldOutSample)))


def test_a_damaged_shard_is_named(context: Context, scripted: ModuleType) -> None:
    scripted.write_result(context.store, "job-2", 1, 2, held_out=HELD_OUT)
    manifest = ResultManifest.model_validate_json(context.store.get(keys.result_manifest("job-2")))
    assert ingest.read_scores(context.store, manifest, 4, 7)["dice"].to_pylist() == [0.75, 0.25, 0.5]
    context.store.put(manifest.test[1].key, b"cut")
    with pytest.raises(ingest.DamagedError, match="another sha256"):
        ingest.read_scores(context.store, manifest, 4, 7)
