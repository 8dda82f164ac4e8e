"""Cards and lineage: read back by a YAML and a Markdown parser, and against what is in the database."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from markdown_it import MarkdownIt
from sqlalchemy import insert, update

from service.api.dependencies import Context
from service.db import jobs
from service.db.tables import DatasetVersion, HeldOutSample, Job, JobSample, Sample
from service.jobs.ingest import read_result
from service.jobs.lifecycle import State
from service.models.markdown import plain
from workers.contract.evaluation import METRICS, Evaluation, MetricSummary
from workers.contract.request import JobSpec

HOSTILE = "1. <script>alert(1)</script> | `x` [a](javascript:b) *c* --- # {{ d }}"


def split(card: str) -> tuple[dict[str, Any], str]:
    """The head and the rest."""
    _, head, body = card.split("---\n", 2)
    return yaml.safe_load(head), body


def seen(markdown: str) -> tuple[list[str], list[list[str]], str]:
    """Headings, rows of tables, and all text, as a reader of the drawn card sees them."""
    headings, rows, text = [], [], []
    kinds = ["", ""]
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        assert token.type not in {"html_block"}
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            assert not {"html_inline", "link_open", "em_open", "code_inline"} & {c.type for c in token.children or []}
            words = "".join(child.content for child in token.children or [])
            text.append(words)
            if kinds[-1] == "heading_open":
                headings.append(words)
            elif kinds[-1] in {"td_open", "th_open"}:
                rows[-1].append(words)
        kinds.append(token.type)
    return headings, rows, "\n".join(text)


@pytest.fixture
def tested(client: TestClient, context: Context, scripted: ModuleType, finished_job: str) -> TestClient:
    """The finished job has files, metrics and reasons, and was tested on its last two samples."""
    scripted.write_result(context.store, finished_job, 1, 3)
    result = read_result(context.store, finished_job)
    assert result is not None
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, finished_job)
        assert job is not None
        jobs.add_result(session, job, result)
        job.metrics = {"dice": 0.9, "test_dice": 0.5, "test_dice_std": 0.25, "test_samples": 2.0, "test_hd95": 7.25}
        version = session.get_one(DatasetVersion, ("ds-pages", 1))
        version.train_count = 4
        scores = [{"job_id": job.id, "ordinal": 4 + n, "name": f"case {3 + n}", "dice": 0.25 + n / 2} for n in range(2)]
        session.execute(insert(HeldOutSample), scores)
        session.execute(update(JobSample).values(reason_kind="none"))
        session.execute(update(JobSample).where(JobSample.ordinal == 0).values(reason_kind="wrong_class"))
        session.execute(update(Sample).values(annotator="Ada"))
    return client


def test_the_card_says_what_is_known(tested: TestClient, context: Context, finished_job: str) -> None:
    answer = tested.get(f"/v1/models/{finished_job}/card")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    head, body = split(answer.text)
    assert head["library_name"] == "monai"
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "dice", "name": "Dice", "value": 0.5}]
    assert result["dataset"]["revision"] == "1"
    headings, rows, text = seen(body)
    name = "<script>alert(1)</script>"  # the dataset's, as the job has none
    assert headings == [
        f"{name}, version 1",
        "Intended use",
        "Model",
        "Data",
        "Metrics",
        "Noise found in the labels",
        "Limits",
        "Loading it",
        "Files",
    ]
    assert "Nobody has stated what this model is for" in text
    assert "Mean Dice 0.500 on 2 held-out samples, ± 0.250 over the samples; 95 % bootstrap interval" in text
    assert "of the mean 0.250 to 0.750" in text
    with context.database.read() as session:
        doubted = session.query(JobSample).where(JobSample.confidence < 0.5).count()
    assert doubted and f"{doubted} of 6 labels ({doubted / 6:.1%}) have a confidence below 0.5" in text
    assert "2 samples are few" in text and "Groups, such as patients, are not known" in text
    for row in (
        ["Dataset", f"{name}, version 1 (ds-pages)"],
        ["Trained on", "4 samples"],
        ["Held out", "2 samples"],
        ["Sizes", "64 x 48"],
        ["Annotators", "1"],
        ["Code", "dale-service 0.1.0, commit c0ffee"],
        ["test_hd95", "7.25"],
        ["doubted because", "wrong class", "1"],
        ["doubted because", "none", "5"],
    ):
        assert row in rows
    (file,) = tested.get(f"/v1/models/{finished_job}").json()["files"]
    assert [file["name"], f"{file['size']} bytes", file["sha256"]] in rows


def test_intervals_of_a_job_that_says_them_are_those_over_groups(
    tested: TestClient, context: Context, finished_job: str
) -> None:
    metrics = [
        MetricSummary(
            metric=metric, label_class=1, samples=2, undefined=1, mean=0.5, median=0.5, std=0.25, low=0.125, high=0.875
        )
        for metric in METRICS
    ]
    evaluation = Evaluation(
        samples=2, groups=1, level=0.95, resamples=2000, hd95_unit="px", metrics=metrics, calibration=[]
    )
    with context.sessions.begin() as session:
        session.get_one(Job, finished_job).evaluation = evaluation.model_dump(mode="json")
        derived = {"version": 1, "fold": 2, "folds": 5, "cross_validation": "cv-1"}
        session.get_one(DatasetVersion, ("ds-pages", 1)).derived = derived
    _, rows, text = seen(split(tested.get(f"/v1/models/{finished_job}/card").text)[1])
    assert "95 % bootstrap interval of the mean 0.125 to 0.875" in text
    assert "On 2 held-out samples of 1 groups. Intervals are those of the mean, at 95%" in text
    assert ["HD95 (px)", "1", "0.500", "0.125 to 0.875", "0.500", "0.250", "2", "1"] in rows
    assert ["Dataset", "<script>alert(1)</script>, version 1 without fold 2 of 5, which is held out (ds-pages)"] in rows


def test_what_people_say_is_text_and_nothing_else(tested: TestClient, finished_job: str) -> None:
    said = {"intended_use": f"{HOSTILE}\n\n- second\n# part", "tags": {"site": "Graz: 'a'\n---"}}
    answer = tested.patch(f"/v1/models/{finished_job}", json=said, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    head, body = split(tested.get(f"/v1/models/{finished_job}/card").text)
    assert head["tags"][2:] == ["site:Graz: 'a'\n---"]
    headings, _, text = seen(body)
    assert len(headings) == 9
    assert HOSTILE in text.split("\n") and "- second # part" in text.split("\n")


@pytest.mark.parametrize(
    "text", [HOSTILE, "- a", "+ a", "12) a", "===", "a\\", "&lt;", "~~a~~", "![a](b)", "a_b", "> a"]
)
def test_markdown_shows_text_as_it_is(text: str) -> None:
    assert seen(plain(text))[2] == text


def test_what_was_decided_is_told(tested: TestClient, finished_job: str) -> None:
    url = "/v1/datasets/ds-pages/versions/1/samples/case%20{}/review"
    for number, decision in ((0, "flagged"), (1, "accepted"), (4, "accepted")):  # the last is held out
        body = {"decision": decision}
        assert tested.put(url.format(number), json=body, headers={"If-Match": "*"}).status_code == 200
    _, rows, text = seen(split(tested.get(f"/v1/models/{finished_job}/card").text)[1])
    assert ["decided", "flagged", "1"] in rows
    assert "Of 1 held-out labels nobody here has said" in text


def test_the_lineage_of_a_model(tested: TestClient, context: Context, finished_job: str) -> None:
    def start_from(job_id: str, before: str) -> str:
        with context.sessions.begin() as session:
            job = jobs.add_job(session, job_id, JobSpec(dataset_id="ds-pages", name="second", warm_start=before))
            for state in (State.STARTING, State.RUNNING, State.SUCCEEDED):
                jobs.set_state(session, job, state)
        return job_id

    found = tested.get(f"/v1/models/{finished_job}/lineage").json()
    assert found["code"] == {"version": "0.1.0", "commit": "c0ffee"}
    assert found["data"]["sha256"] == "1" * 64 == found["environment"]["dataset_sha256"]
    assert (found["data"]["train"], found["data"]["test"], found["attempt"]) == (4, 2, 1)
    assert found["config"] == tested.get(f"/v1/jobs/{finished_job}").json()["spec"]
    assert found["warm_start"] == []
    third = start_from("job-3", start_from("job-2", finished_job))
    found = tested.get(f"/v1/models/{third}/lineage").json()
    assert [(one["id"], one["version"], one["deleted"]) for one in found["warm_start"]] == [
        ("job-2", 1, False),
        (finished_job, 1, False),
    ]
    assert found["code"] is None and found["environment"] is None
    assert tested.delete(f"/v1/jobs/{finished_job}").status_code == 204
    found = tested.get(f"/v1/models/{third}/lineage").json()
    assert [(one["id"], one["deleted"]) for one in found["warm_start"]] == [("job-2", False), (finished_job, True)]
    assert "job-2" in tested.get(f"/v1/models/{third}/card").text


def test_a_model_that_was_tested_on_nothing(client: TestClient, context: Context, finished_job: str) -> None:
    with context.sessions.begin() as session:
        session.execute(update(Job).values(metrics=None))
    head, body = split(client.get(f"/v1/models/{finished_job}/card").text)
    text = seen(body)[2]
    assert "model-index" not in head
    assert "No samples were held out" in text and "It was tested on nothing." in text and "There are none." in text
