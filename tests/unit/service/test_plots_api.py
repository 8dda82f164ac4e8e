"""Metrics as SVG files: read back by an XML parser, and compared with the numbers that they draw."""

from __future__ import annotations

from types import ModuleType
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from service.db import jobs
from service.web.plots import drawing
from tests.folded import add_patients, finish_fold, values_of
from workers.contract.evaluation import Evaluation
from workers.contract.request import JobSpec

SVG = "{http://www.w3.org/2000/svg}"


def test_every_sample_and_number_of_a_job_is_drawn(client: TestClient, context: Context, scripted: ModuleType) -> None:
    with context.sessions.begin() as session:
        dataset_id = add_patients(context, [f"P{number}" for number in range(9)], held_out=5)
        job = jobs.add_job(session, "job-1", JobSpec(dataset_id=dataset_id, epochs=1, name="a < b & \x07"))
    assert client.get("/v1/jobs/job-1/metrics.svg").status_code == 404
    finish_fold(context, scripted, job.id)
    answer = client.get("/v1/jobs/job-1/metrics.svg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    root = ElementTree.fromstring(answer.text)  # noqa: S314 - it is our own
    assert not [one for one in root.iter() if one.tag == f"{SVG}script"]
    assert root.findtext(f"{SVG}title") == "a < b & \N{REPLACEMENT CHARACTER}"
    texts = ["".join(one.itertext()) for one in root.iter(f"{SVG}text")]
    evaluation = Evaluation.model_validate(client.get("/v1/jobs/job-1/metrics").json()["evaluation"])
    for title, metric, number in (
        ("Dice, mean of classes", "dice", None),
        ("Dice, class 1", "dice", 1),
        ("Dice, class 2", "dice", 2),
        ("HD95 (px), mean of classes", "hd95", None),
    ):
        (one,) = [s for s in evaluation.metrics if (s.metric, s.label_class) == (metric, number)]
        assert texts[texts.index(title) + 1].startswith(f"mean {one.mean:.3f} ({one.low:.3f} to {one.high:.3f})")
    assert "IoU, class 1" not in texts
    assert "Calibration, class 1" in texts
    dots = [one for one in root.iter(f"{SVG}circle") if one.get("class") == "dot"]
    said = {title.text: float(one.get("cx") or -1) for one in dots for title in one.iter(f"{SVG}title")}
    for name in (f"case {place:03}" for place in range(4, 9)):
        value = values_of(name)["dice"][0]
        assert said[f"{name}: {value:.3f}"] == pytest.approx(600 * (value or 0), abs=0.06)


def test_hostile_names_stay_text(client: TestClient, context: Context, scripted: ModuleType) -> None:
    with context.sessions.begin() as session:
        dataset_id = add_patients(context, [f"P{number}" for number in range(4)], held_out=2)
        jobs.add_job(session, "job-1", JobSpec(dataset_id=dataset_id, epochs=1))
    finish_fold(context, scripted, "job-1")
    evaluation = Evaluation.model_validate(client.get("/v1/jobs/job-1/metrics").json()["evaluation"])
    hostile = '</title><script>alert(1)</script>"&\x00'
    text = drawing(hostile, evaluation, [(hostile, values_of("a"))])
    root = ElementTree.fromstring(text)  # noqa: S314 - it is our own
    assert not [one for one in root.iter() if one.tag == f"{SVG}script"]
    assert hostile.replace("\x00", "\N{REPLACEMENT CHARACTER}") == root.findtext(f"{SVG}title")


def test_all_folds_together_are_drawn(client: TestClient, context: Context, scripted: ModuleType) -> None:
    dataset_id = add_patients(context, [f"P{number}" for number in range(6)])
    body = {"job": {"dataset_id": dataset_id, "epochs": 1}, "folds": 2}
    made = client.post("/v1/cross-validations", json=body).json()
    path = f"/v1/cross-validations/{made['id']}/metrics.svg"
    assert client.get(path).status_code == 404
    finish_fold(context, scripted, made["folds"][0]["job_id"])
    root = ElementTree.fromstring(client.get(path).text)  # noqa: S314 - it is our own
    assert root.findtext(f"{SVG}title") == "lesions, 1 of 2 folds"
    said = [one.text or "" for dot in root.iter(f"{SVG}circle") for one in dot.iter(f"{SVG}title")]
    scored = client.get(path.replace("metrics.svg", "samples")).json()["samples"]
    assert {text.partition(": ")[0] for text in said if text.startswith("case")} == {one["sample"] for one in scored}
    assert len(scored) == 3
