"""Cross-validations over HTTP: folds as versions, jobs over them, and what all folds together say."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from service.api.dependencies import Context
from service.db import access, datasets
from service.db.base import Base
from service.db.tables import DatasetVersion, Job
from service.jobs import pooled
from service.jobs.lifecycle import State
from service.roles import Role
from tests.folded import add_patients, calibration_from, fail_fold, finish_fold, values_of
from workers.contract import keys, tables
from workers.contract.evaluation import METRICS
from workers.contract.summaries import interval

PATIENTS = [f"P{number // 3}" for number in range(30)]  # ten patients with three samples each
ROUTE = "/v1/cross-validations"


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def dataset_id(context: Context) -> str:
    """Thirty samples of ten patients, and behind them four that are held out."""
    return add_patients(context, [*PATIENTS, *(f"Q{number}" for number in range(4))], held_out=4)


def post(client: TestClient, dataset_id: str, **more: Any) -> dict[str, Any]:
    body = {"job": {"dataset_id": dataset_id, "epochs": 1, "name": "try"}, "folds": 3, "seed": 1} | more
    answer = client.post(ROUTE, json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"{ROUTE}/{answer.json()['id']}"
    return answer.json()


def samples_of(client: TestClient, dataset_id: str, number: int) -> list[dict[str, Any]]:
    path = f"/v1/datasets/{dataset_id}/versions/{number}/samples"
    return client.get(path, params={"page_size": 500}).json()["samples"]


def count(context: Context) -> dict[str, int]:
    with context.database.read() as session:
        return {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
            if table.name not in {"audit", "idempotency_keys"}
        }


def test_each_fold_is_a_version_in_which_it_is_held_out(client: TestClient, context: Context, dataset_id: str) -> None:
    made = post(client, dataset_id)
    assert (made["state"], made["name"], made["dataset_version"], made["left_out"]) == ("RUNNING", "try", 1, 4)
    assert made["spec"]["exports"] == []
    assert [one["samples"] for one in made["folds"]] == [12, 9, 9]
    assert [one["groups"] for one in made["folds"]] == [4, 3, 3]
    tested = []
    for one in made["folds"]:
        job = client.get(f"/v1/jobs/{one['job_id']}").json()
        assert (job["state"], job["spec"]["dataset_version"]) == ("QUEUED", one["dataset_version"])
        assert job["name"] == f"try, fold {one['fold']} of 3"
        listed = samples_of(client, dataset_id, one["dataset_version"])
        held_out = {row["sample"]: row["group"] for row in listed if row["split"] == "test"}
        trained_on = {row["group"] for row in listed if row["split"] == "train"}
        assert len(held_out) == one["samples"]
        assert trained_on | set(held_out.values()) == set(PATIENTS)  # what was held out is not here
        assert not trained_on & set(held_out.values())
        tested += held_out
        table = tables.from_parquet(context.store.get(keys.version(dataset_id, one["dataset_version"])), tables.SAMPLES)
        assert table["name"].to_pylist() == [row["sample"] for row in listed]
        assert table["split"].to_pylist() == ["train"] * (30 - one["samples"]) + ["test"] * one["samples"]
    assert sorted(tested) == [f"case {place:03}" for place in range(30)]  # each once
    assert client.get(f"{ROUTE}/{made['id']}").json() == made
    actions = [row["action"] for row in client.get("/v1/audit", params={"page_size": 4}).json()["entries"]]
    assert sorted(actions) == ["cross_validation.create", *["job.create"] * 3]


def test_derived_versions_are_hidden_and_never_the_newest(client: TestClient, dataset_id: str) -> None:
    made = post(client, dataset_id)
    path = f"/v1/datasets/{dataset_id}"
    assert [one["number"] for one in client.get(f"{path}/versions").json()["versions"]] == [1]
    derived = client.get(f"{path}/versions", params={"derived": True}).json()["versions"]
    assert [one["derived"] for one in derived] == [
        {"version": 1, "fold": fold, "folds": 3, "cross_validation": made["id"]} for fold in (3, 2, 1)
    ] + [None]
    assert client.get(path).json()["newest"]["number"] == 1
    changes = json.dumps({"base": made["folds"][1]["dataset_version"], "exclude": ["case 000"]})
    corrected = client.post(f"{path}/versions", files={"changes": (None, changes)}).json()
    assert (corrected["number"], corrected["derived"]) == (2, None)  # of what the fold was derived from
    assert corrected["splits"] == {"train": 29, "validation": 0, "test": 4}
    job = client.get(f"/v1/jobs/{made['folds'][0]['job_id']}").json()
    assert job["cross_validation"] == {"id": made["id"], "fold": 1, "path": f"{ROUTE}/{made['id']}"}


def test_the_same_key_makes_it_once(client: TestClient, context: Context, dataset_id: str) -> None:
    body = {"job": {"dataset_id": dataset_id}, "folds": 2}
    first, again = (client.post(ROUTE, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()) == (202, 202, first.json())
    assert count(context)["cross_validations"] == 1
    assert client.post(ROUTE, json=body | {"folds": 3}, headers={"Idempotency-Key": "k"}).status_code == 422


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"folds": 1}, "folds"),
    ({"folds": 21}, "folds"),
    ({"folds": 11}, "folds"),  # ten patients
    ({"seed": -1}, "seed"),
    ({"job": {"dataset_id": "ds-none"}}, "dataset_id"),
    ({"job": {"dataset_id": "DATASET", "epochs": 0}}, "job.epochs"),
    ({"job": {"dataset_id": "DATASET", "patch_size": 64}}, "patch_size"),
    ({"fold": 3}, "fold"),
]


def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    client: TestClient, context: Context, dataset_id: str
) -> None:
    before = count(context)
    for change, field in REFUSED:
        body = json.dumps({"job": {"dataset_id": "DATASET"}} | change).replace("DATASET", dataset_id)
        answer = client.post(ROUTE, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, [field])
    assert count(context) == before
    assert list(context.store.list(keys.dataset(dataset_id))) == []


def test_a_database_that_fails_leaves_nothing(
    client: TestClient, context: Context, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = count(context), datasets.add_version

    def add_version(session: Any, version: DatasetVersion, rows: Any) -> DatasetVersion:
        if version.derived and version.derived["fold"] == 2:
            raise RuntimeError("power cut")
        return real(session, version, rows)

    monkeypatch.setattr(datasets, "add_version", add_version)
    assert client.post(ROUTE, json={"job": {"dataset_id": dataset_id}}).status_code == 500
    assert count(context) == before
    assert list(context.store.list(keys.dataset(dataset_id))) == []


def test_a_fold_is_not_cut_again_and_no_start_knows_the_samples(
    client: TestClient, context: Context, scripted: ModuleType, dataset_id: str
) -> None:
    made = post(client, dataset_id)
    spec = {"dataset_id": dataset_id, "dataset_version": made["folds"][0]["dataset_version"]}
    (error,) = client.post(ROUTE, json={"job": spec}).json()["errors"]
    assert (error["field"], error["reason"]) == ("job.dataset_version", "is a fold of version 1")
    before = made["folds"][0]["job_id"]
    finish_fold(context, scripted, before)
    answer = client.post(ROUTE, json={"job": {"dataset_id": dataset_id, "warm_start": before}})
    assert [one["field"] for one in answer.json()["errors"]] == ["job.warm_start"]
    elsewhere = add_patients(context, [*PATIENTS, "Q"], held_out=1)
    posted = client.post("/v1/jobs", json={"dataset_id": elsewhere, "epochs": 1, "warm_start": before}).json()
    finish_fold(context, scripted, posted["id"])
    answer = client.post(ROUTE, json={"job": {"dataset_id": dataset_id, "warm_start": posted["id"]}})
    assert f"{before} was trained on this dataset" in answer.json()["errors"][0]["reason"]  # by way of the other
    other = add_patients(context, PATIENTS)
    started = client.post(ROUTE, json={"job": {"dataset_id": other, "warm_start": posted["id"]}})
    assert started.status_code == 202


def test_all_folds_together_say_what_a_direct_computation_says(
    client: TestClient, context: Context, scripted: ModuleType, dataset_id: str
) -> None:
    made = post(client, dataset_id)
    path = f"{ROUTE}/{made['id']}"
    nothing = client.get(f"{path}/metrics").json()
    assert (nothing["state"], nothing["counted"], nothing["evaluation"], nothing["spread"]) == ("RUNNING", [], None, [])
    assert [one["reason"] for one in nothing["missing"]] == ["its job is not over"] * 3
    for one in made["folds"]:
        finish_fold(context, scripted, one["job_id"])
    found = client.get(f"{path}/metrics").json()
    assert (found["state"], found["counted"], found["missing"]) == ("SUCCEEDED", [1, 2, 3], [])
    evaluation = found["evaluation"]
    assert (evaluation["samples"], evaluation["groups"], evaluation["hd95_unit"]) == (30, 10, "px")
    names = [f"case {place:03}" for place in range(30)]
    fold_of = {}
    for one in made["folds"]:
        listed = samples_of(client, dataset_id, one["dataset_version"])
        fold_of |= {row["sample"]: one["fold"] for row in listed if row["split"] == "test"}
    summaries = {(one["metric"], one["label_class"]): one for one in evaluation["metrics"]}
    assert summaries.keys() == {(metric, number) for metric in METRICS for number in (None, 1, 2)}
    for (metric, number), one in summaries.items():
        column = {
            name: values_of(name)[metric] if number is None else [values_of(name)[metric][number - 1]] for name in names
        }
        means = {name: np.mean([v for v in of if v is not None]) for name, of in column.items() if of != [None]}
        defined = np.array(list(means.values()))
        assert (one["samples"], one["undefined"]) == (len(defined), 30 - len(defined))
        assert one["mean"] == pytest.approx(defined.mean())
        assert one["median"] == pytest.approx(np.median(defined))
        groups = [PATIENTS[names.index(name)] for name in means]
        low, high = interval(defined, groups, made["seed"])
        assert (one["low"], one["high"]) == pytest.approx((low, high), abs=0.02)  # groups in another order
        (spread,) = [s for s in found["spread"] if (s["metric"], s["label_class"]) == (metric, number)]
        by_fold = [np.mean([v for name, v in means.items() if fold_of[name] == fold]) for fold in (1, 2, 3)]
        assert spread["folds"] == pytest.approx(by_fold)
        assert (spread["mean"], spread["std"]) == pytest.approx((np.mean(by_fold), np.std(by_fold, ddof=1)))
    with context.sessions.begin() as session:  # a deletion that broke off
        session.get_one(Job, made["folds"][0]["job_id"]).state = State.DELETING
    found = client.get(f"{path}/metrics").json()
    assert (found["counted"], found["evaluation"]["samples"]) == ([2, 3], 18)
    assert [(one["fold"], one["reason"]) for one in found["missing"]] == [(1, "its job was deleted")]


def test_calibration_is_that_of_all_pixels_together() -> None:
    found = [calibration_from(number) for number in (1, 2, 3)]
    (one,) = pooled.pooled_calibration(found)
    pixels = [(b.pixels, b.probability or 0, b.frequency or 0) for (each,) in found for b in each.bins]
    assert one.pixels == sum(n for n, _, _ in pixels)
    gaps = []
    for place, bin_ in enumerate(one.bins):
        same = pixels[place::10]
        total = sum(n for n, _, _ in same)
        said, true = sum(n * p for n, p, _ in same), sum(n * f for n, _, f in same)
        assert (bin_.pixels, bin_.frequency) == (total, pytest.approx(true / total))
        gaps.append(abs(said - true))
    assert one.ece == pytest.approx(sum(gaps) / one.pixels)
    brier = sum(each.brier * each.pixels for (each,) in found) / one.pixels
    assert one.brier == pytest.approx(brier)


def test_folds_that_failed_are_named_and_not_counted(
    client: TestClient, context: Context, scripted: ModuleType, dataset_id: str
) -> None:
    made = post(client, dataset_id)
    first, second, third = (one["job_id"] for one in made["folds"])
    finish_fold(context, scripted, first)
    fail_fold(context, second, "image 7 cannot be read")
    assert client.post(f"/v1/jobs/{third}:cancel").status_code == 202
    found = client.get(f"{ROUTE}/{made['id']}/metrics").json()
    assert (found["state"], found["folds"], found["counted"]) == ("PARTIAL", 3, [1])
    assert [(one["fold"], one["state"], one["reason"]) for one in found["missing"]] == [
        (2, "FAILED", "image 7 cannot be read"),
        (3, "CANCELLED", "its job was cancelled"),
    ]
    assert found["evaluation"]["samples"] == 12
    assert client.delete(f"/v1/jobs/{third}").status_code == 204
    assert client.get(f"{ROUTE}/{made['id']}/metrics").json()["missing"][1]["reason"] == "its job was deleted"
    assert client.get(f"{ROUTE}/{made['id']}").json()["folds"][2]["job_id"] is None
    assert client.post(f"/v1/jobs/{second}:retry").status_code == 202
    assert client.get(f"{ROUTE}/{made['id']}").json()["state"] == "RUNNING"
    finish_fold(context, scripted, second)
    found = client.get(f"{ROUTE}/{made['id']}").json()
    assert (found["state"], found["folds"][1]["cause"]) == ("PARTIAL", None)


def test_samples_of_all_folds_come_in_the_order_of_any_metric(
    client: TestClient, context: Context, scripted: ModuleType, dataset_id: str
) -> None:
    made = post(client, dataset_id)
    for one in made["folds"][:2]:
        finish_fold(context, scripted, one["job_id"])
    path = f"{ROUTE}/{made['id']}/samples"
    found: list[dict[str, Any]] = []
    for metric in METRICS:
        found, token = [], ""
        while token is not None:
            page = client.get(path, params={"order_by": metric, "page_size": 4, "page_token": token}).json()
            found, token = found + page["samples"], page["next_page_token"]
            assert page["total"] == 21
        values = [(one[metric] is None, one[metric] or 0, one["sample"]) for one in found]
        sign = -1 if metric == "hd95" else 1
        assert values == sorted(values, key=lambda v, sign=sign: (v[0], sign * v[1], v[2]))
        assert len({one["sample"] for one in found}) == 21
    for one in found:
        assert one["classes"] == values_of(one["sample"])
        assert one["group"] == PATIENTS[int(one["sample"][-3:])]
        assert one["job_id"] == made["folds"][one["fold"] - 1]["job_id"]
    second = client.get(path, params={"fold": 2}).json()
    assert (second["total"], {one["fold"] for one in second["samples"]}) == (9, {2})
    named = client.get(path, params={"name": found[0]["sample"]}).json()
    assert [one["sample"] for one in named["samples"]] == [found[0]["sample"]]
    assert client.get(path, params={"name": "%"}).json()["total"] == 0
    assert client.get(path, params={"page_token": "W10"}).status_code == 400


def test_it_is_listed_cancelled_and_deleted_whole(
    client: TestClient, context: Context, scripted: ModuleType, dataset_id: str
) -> None:
    before = count(context)
    first, second = post(client, dataset_id), post(client, dataset_id, seed=2)
    page = client.get(ROUTE, params={"page_size": 1}).json()
    assert [one["id"] for one in page["cross_validations"]] == [second["id"]]
    rest = client.get(ROUTE, params={"page_size": 1, "page_token": page["next_page_token"]}).json()
    assert ([one["id"] for one in rest["cross_validations"]], rest["next_page_token"]) == ([first["id"]], None)
    assert client.get(ROUTE, params={"dataset": "ds-none"}).json()["cross_validations"] == []
    finish_fold(context, scripted, first["folds"][0]["job_id"])
    path = f"{ROUTE}/{first['id']}"
    refused = client.delete(path)
    assert refused.status_code == 409
    for _ in range(2):  # asking twice does no harm
        ended = client.post(f"{path}:cancel")
        assert (ended.status_code, ended.json()["state"]) == (202, "PARTIAL")
    assert client.post(f"{ROUTE}/{second['id']}:cancel").json()["state"] == "CANCELLED"
    spec = {"dataset_id": dataset_id, "dataset_version": first["folds"][0]["dataset_version"]}
    other = client.post("/v1/jobs", json=spec).json()["id"]
    assert other in client.delete(path).json()["detail"]
    assert client.get(path).json()["state"] == "PARTIAL"  # nothing is gone
    assert client.post(f"/v1/jobs/{other}:cancel").status_code == 202
    assert client.delete(f"/v1/jobs/{other}").status_code == 204
    for one in (first, second):
        assert client.delete(f"{ROUTE}/{one['id']}").status_code == 204
    after = count(context)
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {"model_series": 1}
    assert list(context.store.list(keys.dataset(dataset_id))) == []
    assert list(context.store.list("jobs/")) == []
    assert client.get(path).status_code == 404
    actions = [row["action"] for row in client.get("/v1/audit", params={"page_size": 500}).json()["entries"]]
    assert actions.count("cross_validation.cancel") == actions.count("cross_validation.delete") == 2
    assert client.delete(f"/v1/datasets/{dataset_id}").status_code == 204


def test_a_dataset_whose_folds_lost_their_jobs_can_go(client: TestClient, context: Context, dataset_id: str) -> None:
    made = post(client, dataset_id, folds=2)
    assert client.delete(f"/v1/datasets/{dataset_id}").status_code == 409
    for one in made["folds"]:
        client.post(f"/v1/jobs/{one['job_id']}:cancel")
        assert client.delete(f"/v1/jobs/{one['job_id']}").status_code == 204
    assert client.get(f"{ROUTE}/{made['id']}").json()["state"] == "FAILED"
    assert client.delete(f"/v1/datasets/{dataset_id}").status_code == 204
    assert (count(context)["cross_validations"], count(context)["samples"]) == (0, 0)


def test_a_priority_above_0_is_for_admins(client: TestClient, context: Context, dataset_id: str) -> None:
    key = access.new_key()
    with context.sessions.begin() as session:
        project = datasets.get(session, dataset_id, None).project_id
        access.add_key(session, key, name="t", role=Role.TRAIN, project_id=project, created_by="tests")
    body = {"job": {"dataset_id": dataset_id}, "priority": 1}
    refused = client.post(ROUTE, json=body, headers={"Authorization": f"Bearer {key}"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (403, "priority")
    made = client.post(ROUTE, json=body).json()
    with context.database.read() as session:
        assert set(session.scalars(select(Job.priority))) == {1}
        assert {job.cross_validation_id for job in session.scalars(select(Job))} == {made["id"]}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("QUEUED SUCCEEDED FAILED", "RUNNING"),
        ("CANCELLING SUCCEEDED SUCCEEDED", "RUNNING"),
        ("SUCCEEDED SUCCEEDED SUCCEEDED", "SUCCEEDED"),
        ("SUCCEEDED SUCCEEDED", "PARTIAL"),  # one was deleted
        ("SUCCEEDED FAILED CANCELLED", "PARTIAL"),
        ("FAILED CANCELLED CANCELLED", "FAILED"),
        ("CANCELLED CANCELLED CANCELLED", "CANCELLED"),
        ("", "FAILED"),
    ],
)
def test_states(states: str, expected: str) -> None:
    assert pooled.state_of(3, [State(state) for state in states.split()]) == expected
