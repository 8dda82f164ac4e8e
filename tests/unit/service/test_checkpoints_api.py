"""Versions with validation samples, jobs that compare epochs on them, and which weights of a model can be had."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

import pytest
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from tests.compared_jobs import BEST, DICE, HELD_OUT, LAST, TRAINED, VALIDATED, finish_compared


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def dataset(add_dataset: Callable[..., str]) -> str:
    return add_dataset(TRAINED + VALIDATED + HELD_OUT, held_out=HELD_OUT, validation=VALIDATED)


@pytest.mark.parametrize("deliver", ["last", "best"])
def test_both_weights_can_be_had(
    client: TestClient, context: Context, scripted: ModuleType, dataset: str, deliver: str
) -> None:
    job_id = finish_compared(context, scripted, dataset, deliver)  # type: ignore[arg-type]
    model = client.get(f"/v1/models/{job_id}").json()
    last, best = model["checkpoints"]
    assert (last["kind"], last["epoch"], last["validation_dice"]) == ("last", 3, 0.7)
    assert (best["kind"], best["epoch"], best["validation_dice"]) == ("best", 1, 0.8)
    assert [one["kind"] for one in (last, best) if one["delivered"]] == [deliver]
    assert [one["file"] for one in (last, best) if one["delivered"]] == ["model.safetensors"]
    for one, content in ((last, LAST), (best, BEST)):
        answer = client.get(one["url"])
        assert (answer.content, answer.headers["etag"]) == (content, f'"{one["sha256"]}"')
    assert client.get("/v1/models").json()["models"][0]["checkpoints"] == model["checkpoints"]
    epochs = client.get(f"/v1/jobs/{job_id}/epochs").json()["epochs"]
    assert [one["metrics"]["validation_dice"] for one in epochs] == DICE
    card = client.get(model["card"]).text
    told = re.search(r"\| *Weights *\| *(.*?) *\|", card)
    assert told is not None
    assert "of epoch 2" in told[1] and "0.800" in told[1] and "0.700" in told[1] and "flatters" in told[1]
    assert told[1].startswith("of epoch 2" if deliver == "best" else "those at the end of training")
    data = client.get(model["lineage"]).json()["data"]
    assert (data["train"], data["validation"], data["test"]) == (TRAINED, VALIDATED, HELD_OUT)
    page = client.get(f"/v1/jobs/{job_id}/held-out").json()
    assert (page["total"], [row["sample"] for row in page["samples"]]) == (HELD_OUT, ["case_007", "case_008"])


def test_a_model_from_before_has_the_weights_at_the_end(
    client: TestClient, context: Context, scripted: ModuleType, dataset: str
) -> None:
    from service.db import jobs

    job_id = finish_compared(context, scripted, dataset)
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        job.checkpoints = None
        job.spec = {name: value for name, value in job.spec.items() if name != "deliver"}
    (only,) = client.get(f"/v1/models/{job_id}").json()["checkpoints"]
    assert (only["kind"], only["epoch"], only["validation_dice"]) == ("last", 3, None)
    assert (only["delivered"], only["file"]) == (True, "model.safetensors")


@pytest.mark.parametrize(("field", "value"), [("deliver", "best"), ("validate_every", 2)])
def test_epochs_cannot_be_compared_on_nothing(
    client: TestClient, add_dataset: Callable[..., str], dataset: str, field: str, value: object
) -> None:
    refused = client.post("/v1/jobs", json={"dataset_id": add_dataset(6, held_out=2), field: value})
    assert refused.status_code == 422
    (fault,) = refused.json()["errors"]
    assert (fault["field"], fault["reason"]) == (field, "version 1 has no validation samples")
    assert "validation_share" in fault["hint"]
    assert client.post("/v1/jobs", json={"dataset_id": dataset, field: value}).status_code == 202


def test_a_dry_run_counts_them(client: TestClient, dataset: str) -> None:
    plan = client.post("/v1/jobs?dry_run=true", json={"dataset_id": dataset, "epochs": 1}).json()["dataset"]
    assert (plan["sample_count"], plan["train_count"], plan["validation_count"]) == (9, TRAINED, VALIDATED)


def test_decisions_are_counted_by_split(client: TestClient, dataset: str) -> None:
    url = f"/v1/datasets/{dataset}/versions/1"
    for name in ("case_000", "case_004", "case_005", "case_008"):
        body = {"decision": "accepted"}
        put = client.put(f"{url}/samples/{name}/review", json=body, headers={"If-Match": "*"})
        assert put.status_code == 200, put.text
    expected = {"train": (1, 3), "validation": (2, 1), "test": (1, 1), None: (4, 5)}
    for split, (decided, undecided) in expected.items():
        found = client.get(f"{url}/reviews", params={"split": split} if split else {}).json()
        assert (found["counts"]["accepted"], found["undecided"]) == (decided, undecided)
    listed = client.get(f"{url}/reviews", params={"split": "validation"}).json()["reviews"]
    assert [row["sample"] for row in listed] == ["case_004", "case_005"]
