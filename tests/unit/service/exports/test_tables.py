"""Tables of samples: read by pandas and pyarrow as the API shows them, and taken back whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from service.db.tables import DEFAULT_PROJECT

FORMATS = ("csv", "jsonl", "parquet")
VERSION = "/v1/datasets/ds-out/versions/1"
NOTES = ["=1+1", "'quoted", "+x\nsecond line", 'Läsion; "wide", really', "-", "plain"]


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def job(finish_job: Callable[..., str]) -> str:
    return finish_job("ds-out", "job-out", DEFAULT_PROJECT)


def export(client: TestClient, job: str, kind: str, **query: Any) -> bytes:
    answer = client.get(f"/v1/jobs/{job}/export", params={"format": kind, **query})
    assert answer.status_code == 200, answer.text
    return answer.content


def send(client: TestClient, job: str, kind: str, content: bytes, **query: Any) -> httpx.Response:
    return client.post(f"/v1/jobs/{job}/import", params={"format": kind, **query}, content=content)


def frame(kind: str, content: bytes) -> pd.DataFrame:
    if kind == "csv":
        return pd.read_csv(io.BytesIO(content), keep_default_na=False)
    return pd.read_json(io.BytesIO(content), lines=True) if kind == "jsonl" else pd.read_parquet(io.BytesIO(content))


def written(kind: str, rows: list[dict[str, Any]]) -> bytes:
    table = pd.DataFrame(rows)
    if kind == "csv":
        return table.to_csv(index=False).encode()
    if kind == "jsonl":
        return table.to_json(orient="records", lines=True).encode()
    sink = io.BytesIO()
    table.to_parquet(sink)
    return sink.getvalue()


def labels(client: TestClient, job: str) -> list[dict[str, Any]]:
    """The samples as the API lists them, with the hash of their label."""
    hashes = {row["sample"]: row for row in client.get(f"{VERSION}/samples").json()["samples"]}
    found = client.get(f"/v1/jobs/{job}/samples").json()["samples"]
    return [{**row, "mask_sha256": hashes[row["sample"]]["mask_sha256"]} for row in found]


def decide(client: TestClient, sample: str, decision: str, note: str = "") -> None:
    url = client.get(f"{VERSION}/samples").request.url.copy_with(path=f"{VERSION}/samples/{sample}/review")
    answer = client.put(str(url), json={"decision": decision, "note": note}, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text


def decisions(client: TestClient) -> dict[str, tuple[str, str, int]]:
    listed = client.get(f"{VERSION}/reviews").json()["reviews"]
    return {row["sample"]: (row["decision"], row["note"], row["revision"]) for row in listed}


@pytest.mark.parametrize("kind", FORMATS)
def test_others_read_what_the_api_shows(client: TestClient, job: str, kind: str) -> None:
    decide(client, "case 1", "flagged", "too wide")
    seen, table = labels(client, job), frame(kind, export(client, job, kind))
    assert table["sample"].tolist() == [row["sample"] for row in seen]
    for name in ("mask_sha256", "rank", "confidence", "score", "dice", "expected_dice"):
        assert table[name].tolist() == pytest.approx([row[name] for row in seen]), name
    flagged = table[table["decision"] == "flagged"].iloc[0]
    review = client.get(f"{VERSION}/samples/case 1/review").json()
    assert (flagged["sample"], flagged["note"], flagged["by"], flagged["revision"]) == (
        "case 1",
        "too wide",
        "tests",
        1,
    )
    assert pd.Timestamp(flagged["at"]) == pd.Timestamp(review["at"])


def test_pyarrow_reads_the_same_from_csv_and_parquet(client: TestClient, job: str) -> None:
    decide(client, "case 2", "accepted", "fine")
    one = pq.read_table(io.BytesIO(export(client, job, "parquet")))
    other = pa.csv.read_csv(io.BytesIO(export(client, job, "csv")))
    names = ["sample", "mask_sha256", "image_sha256", "rank", "score", "revision"]
    assert one.select(names).to_pylist() == other.select(names).to_pylist()
    assert one.schema.field("at").type == pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize("kind", FORMATS)
def test_filters_and_batches(client: TestClient, job: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.exports.BATCH", 2)
    seen = labels(client, job)
    decide(client, "case 1", "flagged")
    assert frame(kind, export(client, job, kind))["sample"].tolist() == [row["sample"] for row in seen]
    assert frame(kind, export(client, job, kind, decision="flagged"))["sample"].tolist() == ["case 1"]
    assert frame(kind, export(client, job, kind, limit=3))["sample"].tolist() == [row["sample"] for row in seen[:3]]
    assert len(frame(kind, export(client, job, kind, score_max=seen[1]["score"]))) == 2


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_exported_comes_back_unchanged(client: TestClient, job: str, kind: str) -> None:
    for row, note in zip(labels(client, job), NOTES, strict=True):
        decide(client, row["sample"], "flagged", note)
    before = decisions(client)
    content = export(client, job, kind)
    if kind == "csv":
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in frame(kind, content)["note"])
    answer = send(client, job, kind, content)
    assert answer.json() == {"decided": 0, "unchanged": 6, "undecided": 0}, answer.text
    for row in labels(client, job):
        decide(client, row["sample"], "excluded", "since then")
    assert send(client, job, kind, content, force=True).json()["decided"] == 6
    assert {name: seen[:2] for name, seen in decisions(client).items()} == {
        name: seen[:2] for name, seen in before.items()
    }


@pytest.mark.parametrize("kind", FORMATS)
def test_a_filled_in_file_decides_in_any_order(client: TestClient, job: str, kind: str) -> None:
    rows = [
        {key: row[key] for key in ("sample", "mask_sha256")} | {"decision": choice, "note": f"n{at}", "revision": 0}
        for at, (row, choice) in enumerate(zip(labels(client, job), ["flagged", "excluded", "accepted"], strict=False))
    ]
    answer = send(client, job, kind, written(kind, rows[::-1]))
    assert answer.json() == {"decided": 3, "unchanged": 0, "undecided": 0}, answer.text
    assert decisions(client) == {row["sample"]: (row["decision"], row["note"], 1) for row in rows}
    entries = client.get("/v1/audit", params={"action": "review.decide"}).json()["entries"]
    assert {(entry["details"]["sample"], entry["details"]["import"]) for entry in entries} == {
        (row["sample"], kind) for row in rows
    }


def test_what_does_not_match_is_named_and_nothing_is_changed(client: TestClient, job: str) -> None:
    first, second, third, fourth = labels(client, job)[:4]
    lines = [
        {**first, "decision": "flagged", "revision": 0},
        {**second, "decision": "flagged", "revision": 0, "mask_sha256": "0" * 64},
        {**third, "sample": "nobody", "decision": "flagged", "revision": 0},
        {**fourth, "decision": "flagged", "revision": 0},
        {**fourth, "decision": "accepted", "revision": 0},
    ]
    answer = send(client, job, "jsonl", "\n".join(map(json.dumps, lines)).encode())
    assert answer.status_code == 422
    assert sorted(error["file"] for error in answer.json()["errors"]) == ["line 2", "line 3", "line 5"]
    assert decisions(client) == {}
    correction = send(client, job, "jsonl", json.dumps({**first, "decision": "corrected", "revision": 0}).encode())
    assert correction.status_code == 422 and "needs a mask" in correction.text


def test_what_was_decided_since_is_a_conflict(client: TestClient, job: str) -> None:
    first, second = labels(client, job)[:2]
    lines = [{**row, "decision": "accepted", "revision": 0} for row in (first, second)]
    content = "\n".join(map(json.dumps, lines)).encode()
    decide(client, second["sample"], "flagged", "mine")
    answer = send(client, job, "jsonl", content)
    assert answer.status_code == 409, answer.text
    assert [error["file"] for error in answer.json()["errors"]] == ["line 2"]
    assert decisions(client) == {second["sample"]: ("flagged", "mine", 1)}
    del lines[0]["revision"]
    assert send(client, job, "jsonl", json.dumps(lines[0]).encode()).status_code == 409
    assert send(client, job, "jsonl", content, force=True).json()["decided"] == 2
    assert decisions(client)[second["sample"]] == ("accepted", "mine", 2)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("content", [b"\xff\xfe nonsense", b"a,b\n1,2\n", b"[[[["])
def test_nonsense_is_refused(client: TestClient, job: str, kind: str, content: bytes) -> None:
    answer = send(client, job, kind, content)
    assert answer.status_code == 422 and answer.json()["errors"], answer.text


def test_values_are_checked_line_by_line(client: TestClient, job: str) -> None:
    row = labels(client, job)[0]
    text = f"sample;mask_sha256;decision;revision\n{row['sample']};x;maybe;-1\n"
    errors = send(client, job, "csv", text.encode()).json()["errors"]
    assert [error["file"] for error in errors] == ["line 2"] * 3


def test_a_job_without_an_epoch_has_nothing_to_export(client: TestClient, add_dataset: Any, context: Any) -> None:
    from service.db import jobs
    from workers.contract.request import JobSpec

    with context.sessions.begin() as session:
        jobs.add_job(session, "job-new", JobSpec(dataset_id=add_dataset()))
    assert client.get("/v1/jobs/job-new/export", params={"format": "csv"}).status_code == 409
