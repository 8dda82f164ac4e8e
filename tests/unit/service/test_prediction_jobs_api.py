"""Predicting a dataset as a job: posted, followed, taken in; and everything that thinks that a job trained says no."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.api.dependencies import Context
from service.db import jobs, models, projects, tables
from service.db.tables import DEFAULT_PROJECT
from service.jobs.lifecycle import State
from service.jobs.reconciler import Reconciler
from service.models.stages import Stage
from tests.given_models import put_model
from tests.served_models import exported, serve
from tests.unit.service.fake_ray import FakeRay
from workers.contract import keys
from workers.contract.prediction import PredictRequest
from workers.contract.request import JobSpec

COUNT = 5


@pytest.fixture
def model(finish_job: Callable[..., str]) -> str:
    """The job of a model in the default project, called after its dataset."""
    return finish_job("ds-trained", "job-model", DEFAULT_PROJECT)


@pytest.fixture
def post(client: TestClient, model: str, add_dataset: Callable[..., str]) -> Callable[..., dict[str, Any]]:
    """Post a prediction of a dataset of `COUNT` samples by that model."""
    dataset_id = add_dataset(COUNT)

    def post(**spec: object) -> dict[str, Any]:
        answer = client.post("/v1/jobs:predict", json={"model": model, "dataset_id": dataset_id, **spec})
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
        found: dict[str, Any] = answer.json()
        return found

    return post


@pytest.fixture
def finish(context: Context, ray: FakeRay, reconciler: Reconciler, scripted: ModuleType) -> Callable[..., None]:
    """Let the only unfinished job run and succeed, as far as the service can tell."""

    def finish(job_id: str, **left: object) -> None:
        reconciler.round()
        reconciler.round()
        scripted.write_prediction(context.store, job_id, 1, COUNT, **left)
        ray.runs[f"{job_id}-1"]["status"] = "SUCCEEDED"
        reconciler.round()

    return finish


def faults(answer: Any) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    found: dict[str, str] = {}
    for one in answer.json()["errors"]:
        found[one["field"]] = f"{found.get(one['field'], '')} {one['reason']}".strip()
    return found


def test_a_prediction_is_a_job_like_any_other_until_its_end(
    client: TestClient,
    context: Context,
    post: Callable[..., dict[str, Any]],
    finish: Callable[..., None],
    ray: FakeRay,
) -> None:
    job = post(outputs=["mask", "uncertainty"], workers=2, name="all of them", priority=3)
    assert (job["task"], job["state"], job["priority"], job["name"]) == ("predict", "QUEUED", 3, "all of them")
    assert (job["spec"]["model_id"], job["spec"]["workers"]) == ("job-model", 2)
    assert job["links"]["model"] == "/v1/models/job-model"
    assert (job["links"]["samples"], job["links"]["files"]) == (None, None)
    assert client.get(f"/v1/jobs/{job['id']}/files").json()["files"] == []
    early = client.get(f"/v1/jobs/{job['id']}/predictions")
    assert (early.status_code, "QUEUED" in early.json()["detail"]) == (409, True)

    finish(job["id"], metrics={"dice": 0.25, "predicted_samples": 5.0})
    request = PredictRequest.model_validate_json(context.store.get(keys.request(job["id"])))
    assert (request.job_id, request.spec.model_id) == (job["id"], "job-model")
    done = client.get(f"/v1/jobs/{job['id']}").json()
    assert (done["state"], done["metrics"]["dice"], done["epochs_done"]) == ("SUCCEEDED", 0.25, 0)
    listed = client.get(done["links"]["files"], params={"page_size": 3}).json()
    assert [file["name"] for file in listed["files"]] == ["masks-000000.zip", "masks-000001.zip", "samples.csv"]
    rest = client.get(done["links"]["files"], params={"page_token": listed["next_page_token"], "page_size": 3}).json()
    assert [file["name"] for file in rest["files"]] == ["samples.parquet"]
    file = client.get(listed["files"][2]["url"], headers={"Range": "bytes=0-6"})
    assert (file.status_code, file.text, file.headers["etag"]) == (206, "ordinal", f'"{listed["files"][2]["sha256"]}"')
    assert client.get(f"/v1/jobs/{job['id']}/files/none").status_code == 404
    whole = client.get(f"/v1/jobs/{job['id']}/predictions")
    assert whole.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["masks/a.png", "masks/b.png", "samples.csv", "samples.parquet"]
        assert archive.read("masks/b.png") == b"b"
    missing = client.get(f"/v1/jobs/{job['id']}/predictions", params={"output": "probabilities"})
    assert (missing.status_code, "without" in missing.json()["detail"]) == (404, True)
    events = client.get("/v1/audit", params={"action": "job.create"}).json()["entries"]
    assert events[0]["details"]["model"] == "job-model"


def test_the_service_restarts_and_fails_it_as_it_does_trainings(
    client: TestClient,
    context: Context,
    post: Callable[..., dict[str, Any]],
    ray: FakeRay,
    reconciler: Reconciler,
    scripted: ModuleType,
) -> None:
    job = post(timeout_seconds=3600)["id"]
    reconciler.round()
    ray.runs[f"{job}-1"] = {"status": "FAILED", "message": "killed", "driver_exit_code": -9}
    reconciler.round()
    assert [body["submission_id"] for body in ray.submissions] == [f"{job}-1", f"{job}-2"]
    scripted.write_prediction(context.store, job, 2, COUNT - 1)  # not of all
    ray.runs[f"{job}-2"]["status"] = "SUCCEEDED"
    reconciler.round()
    assert not context.store.exists(keys.result_manifest(job))
    assert ray.submissions[-1]["submission_id"] == f"{job}-3"
    assert client.post(f"/v1/jobs/{job}:cancel").json()["state"] == "CANCELLING"
    reconciler.round()
    reconciler.round()
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "CANCELLED"
    assert client.post(f"/v1/jobs/{job}:retry").json()["state"] == "QUEUED"


def test_one_list_of_jobs_shows_either_task(client: TestClient, post: Callable[..., dict[str, Any]]) -> None:
    job = post()["id"]
    tasks = {
        task: [one["id"] for one in client.get("/v1/jobs", params=asked).json()["jobs"]]
        for task, asked in {"both": {}, "train": {"task": "train"}, "predict": {"task": "predict"}}.items()
    }
    assert tasks == {"both": [job, "job-model"], "train": ["job-model"], "predict": [job]}


def test_models_are_named_by_number_and_stage(
    client: TestClient, context: Context, post: Callable[..., dict[str, Any]], finish_job: Callable[..., str]
) -> None:
    name = "<script>alert(1)</script>"
    with context.sessions.begin() as session:
        session.get_one(tables.TrainedModel, "job-model").stage = Stage.PRODUCTION
    finish_job("ds-second", "job-second", DEFAULT_PROJECT)  # the same name, of another dataset
    assert [post(model=f"{name}:{which}")["spec"]["model_id"] for which in (1, 2, "production")] == [
        "job-model",
        "job-second",
        "job-model",
    ]


@pytest.mark.parametrize(
    "named", ["job-none", "lesions:1", "<script>alert(1)</script>", ":", "x:production", "1:99999999999"]
)
def test_a_model_that_is_not_there_is_told(named: str, client: TestClient, model: str, add_dataset: Any) -> None:
    answer = client.post("/v1/jobs:predict", json={"model": named, "dataset_id": add_dataset()})
    assert faults(answer) == {"model": f"the project of the dataset has no model {named!r}"}


def test_what_does_not_go_together_is_refused(
    client: TestClient,
    context: Context,
    model: str,
    add_dataset: Callable[..., str],
    finish_job: Callable[..., str],
    ray: FakeRay,
) -> None:
    def post(dataset_id: str, **spec: object) -> Any:
        return client.post("/v1/jobs:predict", json={"model": model, "dataset_id": dataset_id, **spec})

    def changed(**values: object) -> str:
        dataset_id = add_dataset()
        with context.sessions.begin() as session:
            version = session.get_one(tables.DatasetVersion, (dataset_id, 1))
            for name, value in values.items():
                setattr(version, name, value)
        return dataset_id

    assert "it has 3 dimensions, the model's data had 2" in faults(post(changed(spatial_dims=3)))["dataset_id"]
    assert "3 classes" in faults(post(changed(mask_values=[0, 1, 2])))["dataset_id"]
    assert "2 channels" in faults(post(changed(channels=["T1", "T2"])))["dataset_id"]
    assert "others in each place" in faults(post(changed(channels=["blue", "green", "red"])))["dataset_id"]
    two_files = add_dataset()
    with context.sessions.begin() as session:
        for ordinal in range(6):
            session.get_one(tables.Sample, (two_files, 1, ordinal)).channels = ["2" * 64]
    assert "2 files of a sample" in faults(post(two_files))["dataset_id"]
    assert faults(post(add_dataset(), workers=5)).keys() == {"workers"}  # the cluster has four CPUs
    assert faults(post("ds-none")).keys() == {"dataset_id"}
    assert faults(post(add_dataset(), dataset_version=2)).keys() == {"dataset_version"}
    assert faults(post(add_dataset(), epochs=3)).keys() == {"epochs"}
    assert (
        "twice"
        in client.post("/v1/jobs:predict", json={"model": model, "dataset_id": "x", "outputs": ["mask", "mask"]}).text
    )
    with context.sessions.begin() as session:
        other = projects.add(session, "other").id
    assert faults(post(add_dataset(project_id=other))).keys() == {"model"}
    assert client.get("/v1/jobs", params={"task": "predict"}).json()["jobs"] == []


def test_what_nobody_has_labelled_is_predicted_and_not_trained_on(
    client: TestClient, context: Context, model: str, add_dataset: Callable[..., str]
) -> None:
    dataset_id = add_dataset(4, held_out=1)
    with context.sessions.begin() as session:
        for ordinal in range(3):
            session.get_one(tables.Sample, (dataset_id, 1, ordinal)).foreground = 0
    refused = client.post("/v1/jobs", json={"dataset_id": dataset_id})
    assert "nothing to learn" in faults(refused)["dataset_id"]
    assert client.post("/v1/jobs:predict", json={"model": model, "dataset_id": dataset_id}).status_code == 202


def test_posted_twice_under_one_key_it_starts_once(
    client: TestClient, model: str, add_dataset: Callable[..., str]
) -> None:
    body, headers = {"model": model, "dataset_id": add_dataset()}, {"Idempotency-Key": "once"}
    first, second = (client.post("/v1/jobs:predict", json=body, headers=headers) for _ in range(2))
    assert (first.json()["id"], second.headers["Idempotency-Replayed"]) == (second.json()["id"], "true")


def test_a_model_stays_while_a_job_predicts_by_it(
    client: TestClient, context: Context, model: str, post: Callable[..., dict[str, Any]]
) -> None:
    job = post()["id"]
    kept = client.delete(f"/v1/jobs/{model}")
    assert (kept.status_code, job in kept.json()["detail"]) == (409, True)
    assert client.post(f"/v1/jobs/{job}:cancel").json()["state"] == "CANCELLED"
    assert client.delete(f"/v1/jobs/{model}").status_code == 204
    gone = client.post(f"/v1/jobs/{job}:retry")
    assert faults(gone) == {"model": f"job {model} has no model any more"}
    assert client.delete(f"/v1/jobs/{job}").status_code == 204


OF_TRAININGS = [
    "epochs",
    "histogram",
    "samples",
    "samples:order",
    "samples:cards?ordinal=0",
    "samples:facets",
    "held-out",
    "metrics",
    "export?format=csv",
    "samples/case_001",
    "samples/case_001/history",
    "samples/case_001/overlay",
    "samples/case_001/map",
    "samples/case_001/neighbours",
    "samples/case_001/jobs",
    "samples/case_001/masks/label",
]


def test_what_only_a_training_has_is_not_there(
    client: TestClient,
    context: Context,
    model: str,
    post: Callable[..., dict[str, Any]],
    finish: Callable[..., None],
    add_dataset: Callable[..., str],
) -> None:
    job = post()["id"]
    finish(job)
    for path in OF_TRAININGS:
        answer = client.get(f"/v1/jobs/{job}/{path}")
        assert (answer.status_code, "predicts" in answer.json()["detail"]) == (404, True), path
    for path in (f"/v1/models/{job}", f"/v1/models/{job}/card", f"/v1/models/{job}/files/masks-000000.zip"):
        answer = client.get(path)
        assert (answer.status_code, "it predicts" in answer.json()["detail"]) == (404, True), path
    assert [one["id"] for one in client.get("/v1/models").json()["models"]] == [model]
    decided = client.post(f"/v1/jobs/{job}/reviews:decide", json={"decision": "fine", "labels": [{"ordinal": 1}]})
    assert decided.status_code in {404, 422}
    assert client.post(f"/v1/jobs/{job}/import?format=csv", content="sample,mask_sha256,decision").status_code == 404
    body = {"dataset_id": add_dataset()}
    assert faults(client.post("/v1/jobs", json=body | {"warm_start": job})) == {
        "warm_start": f"job {job} has no model: it predicts"
    }
    assert faults(client.post("/v1/jobs", json=body | {"reproduces": job})).keys() == {"reproduces"}
    assert faults(client.post("/v1/jobs:predict", json=body | {"model": job})).keys() == {"model"}
    # And the other way round: what only a prediction has.
    for path in ("files", "files/samples.csv", "predictions"):
        answer = client.get(f"/v1/jobs/{model}/{path}")
        assert (answer.status_code, f"/v1/models/{model}" in answer.json()["detail"]) == (404, True)
    with context.database.read() as session:
        assert models.get(session, job) is None


def test_before_and_after_looks_for_trainings(context: Context, model: str) -> None:
    """A prediction over an earlier version of the dataset is no earlier training."""
    with context.sessions.begin() as session:
        found = jobs.get_job(session, model)
        assert found is not None
        session.add(
            tables.DatasetVersion(
                dataset_id=found.dataset_id, number=2, sample_count=6, mask_values=[0, 255], warnings=[]
            )
        )
        session.flush()
        later = jobs.add_job(session, "job-later", JobSpec(dataset_id=found.dataset_id, dataset_version=2))
        before = jobs.earlier_job(session, later)
        assert before is not None and before.id == model
        found.task = "predict"
        assert jobs.earlier_job(session, later) is None


def test_the_masks_are_those_that_predicting_one_by_one_gives(
    client: TestClient,
    context: Context,
    finish_job: Callable[..., str],
    reconciler: Reconciler,
    ray: FakeRay,
    tmp_path: Path,
) -> None:
    from torch import device

    from workers.predicting.finish import write_result
    from workers.predicting.loop import predict_share

    workplace = exported(tmp_path, "images")
    model = serve(context, finish_job, workplace)
    put_model(context.store, workplace, model)
    random, images, sink = np.random.default_rng(0), {}, io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for number in range(12):
            size = tuple(random.integers(20, 90, 2))
            picture = Image.fromarray(random.integers(0, 256, (6, 5, 3), dtype=np.uint8)).resize(size)
            files = io.BytesIO(), io.BytesIO()
            picture.save(files[0], "PNG")
            Image.fromarray(random.integers(0, 2, size[::-1], dtype=np.uint8) * np.uint8(255)).save(files[1], "PNG")
            images[f"case {number}"] = files[0].getvalue()
            for folder, file in zip(("images", "masks"), files, strict=True):
                archive.writestr(f"{folder}/case {number}.png", file.getvalue())
    uploaded = client.post("/v1/datasets", data={"name": "x"}, files={"file": ("x.zip", sink.getvalue())})
    assert uploaded.status_code == 201, uploaded.text
    body = {"model": model, "dataset_id": uploaded.json()["id"], "workers": 2, "outputs": ["mask", "uncertainty"]}
    job = client.post("/v1/jobs:predict", json=body).json()["id"]
    reconciler.round()
    request = PredictRequest.model_validate_json(context.store.get(keys.request(job)))
    for rank in (1, 0):
        predict_share(request, 1, context.store, rank, 2, device("cpu"))
    write_result(request, 1, context.store)
    ray.runs[f"{job}-1"]["status"] = "SUCCEEDED"
    reconciler.round()
    assert client.get(f"/v1/jobs/{job}").json()["state"] == State.SUCCEEDED
    for output, folder in (("mask", "masks"), ("uncertainty", "uncertainty")):
        whole = client.get(f"/v1/jobs/{job}/predictions", params={"output": output})
        with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
            for name, image in images.items():
                one = client.post(
                    f"/v1/models/{model}:predict?output={output}", content=image, headers={"Content-Type": "image/png"}
                )
                assert archive.read(f"{folder}/{name}.png") == one.content
    assert json.loads(client.get(f"/v1/jobs/{job}").text)["metrics"]["predicted_samples"] == 12
