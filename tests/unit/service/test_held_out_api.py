"""Held-out samples over HTTP: in versions, in what is taken in of a run, and with the Dice of the delivered network."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

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
from workers.contract.evaluation import Calibration, Evaluation, MetricSummary, ReliabilityBin
from workers.contract.request import JobSpec, ResultManifest

NAMES = ["b", "c", "e", "f", "a", "d", "g"]
HELD_OUT = {4: 0.75, 5: 0.25, 6: 0.5}
# Two foreground classes; "d" lacks the second, and of "g" nothing is predicted.
CLASSES: dict[int, dict[str, list[float | None]]] = {
    4: {"dice": [0.5, 1], "iou": [0.25, 1], "hd95": [4, 2], "precision": [0.5, 0.75], "recall": [0.5, 1]},
    5: {"dice": [0.5, 0], "iou": [0.25, 0], "hd95": [8, None], "precision": [0.5, 0], "recall": [0.5, None]},
    6: {"dice": [0, 1], "iou": [0, 1], "hd95": [None, None], "precision": [None, None], "recall": [0, None]},
}
EVALUATION = Evaluation(
    samples=3,
    groups=2,
    level=0.95,
    resamples=2000,
    hd95_unit="px",
    metrics=[
        MetricSummary(metric="hd95", label_class=1, samples=2, undefined=1, mean=6, median=6, std=2, low=4, high=8)
    ],
    calibration=[
        Calibration(
            label_class=1,
            pixels=10,
            ece=0.125,
            brier=0.25,
            bins=[ReliabilityBin(pixels=10, probability=0.25, frequency=0.5)],
        )
    ],
)


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

    def finish(scores: dict[int, float], **more: Any) -> Job:
        for _ in range(3):
            reconciler.round()
        for epoch in range(2):
            scripted.write_epoch(context.store, job_id, 1, epoch, 4)
        scripted.write_result(context.store, job_id, 1, 2, held_out=scores, **more)
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


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("dice", [("d", 0.25), ("g", 0.5), ("a", 0.75)]),
        ("iou", [("d", 0.125), ("g", 0.5), ("a", 0.625)]),
        ("hd95", [("d", 8), ("a", 3), ("g", None)]),
        ("precision", [("d", 0.25), ("a", 0.625), ("g", None)]),
        ("recall", [("g", 0), ("d", 0.5), ("a", 0.75)]),
    ],
)
def test_samples_come_in_the_order_of_any_metric(
    client: TestClient, finish: Callable[..., Job], job_id: str, metric: str, expected: list[tuple[str, float | None]]
) -> None:
    finish(HELD_OUT, classes=CLASSES)
    found, token = [], ""
    for _ in range(3):
        asked = {"order_by": metric, "page_size": 1, "page_token": token}
        page = client.get(f"/v1/jobs/{job_id}/held-out", params=asked).json()
        found, token = found + page["samples"], page["next_page_token"]
    assert token is None
    assert [(row["sample"], row[metric]) for row in found] == expected
    assert {row["sample"]: row["classes"] for row in found} == {NAMES[one]: CLASSES[one] for one in CLASSES}
    asked = {"order_by": "dice" if metric != "dice" else "iou", "page_size": 1, "page_token": "W10"}
    assert client.get(f"/v1/jobs/{job_id}/held-out", params=asked).status_code == 400
    refused = client.get(f"/v1/jobs/{job_id}/held-out", params={"order_by": "name"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "order_by")


def test_the_evaluation_is_kept_and_shown(client: TestClient, finish: Callable[..., Job], job_id: str) -> None:
    assert client.get(f"/v1/jobs/{job_id}/metrics").json() == {"state": "not-yet", "evaluation": None}
    finish(HELD_OUT, classes=CLASSES, evaluation=EVALUATION)
    links = client.get(f"/v1/jobs/{job_id}").json()["links"]
    found = client.get(links["metrics"]).json()
    assert (found["state"], found["evaluation"]) == ("known", EVALUATION.model_dump(mode="json"))


def test_an_older_run_says_only_the_dice(client: TestClient, finish: Callable[..., Job], job_id: str) -> None:
    assert finish(HELD_OUT).state == State.SUCCEEDED
    assert client.get(f"/v1/jobs/{job_id}/metrics").json() == {"state": "none", "evaluation": None}
    row = client.get(f"/v1/jobs/{job_id}/held-out", params={"order_by": "iou"}).json()["samples"][0]
    assert (row["sample"], row["dice"], row["iou"], row["classes"]) == ("a", 0.75, None, None)


def test_class_values_that_are_no_numbers_are_refused(
    context: Context, finish: Callable[..., Job], job_id: str
) -> None:
    job = finish(HELD_OUT, classes=CLASSES | {5: CLASSES[5] | {"hd95": [float("inf"), None]}})
    assert job.state != State.SUCCEEDED
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
