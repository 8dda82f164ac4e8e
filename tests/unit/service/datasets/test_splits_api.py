"""Uploads with groups and splits over HTTP, and what corrections make of them."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from workers.contract import keys, tables


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


def test_an_upload_with_a_split_and_what_becomes_of_it(client: TestClient, context: Context, upload: Any) -> None:
    members = upload.good(6)
    about = "name,split,group,verified\ncase 0,test,P0,true\ncase 3,val,,\n"
    files = {"file": ("x.zip", upload.zip(members | {"samples.csv": about.encode()}))}
    answer = client.post("/v1/datasets", files=files, data={"name": "x", "group_pattern": "(case [45])"})
    assert answer.status_code == 201, answer.text
    dataset, version = answer.json()["id"], answer.json()["newest"]
    assert (version["sample_count"], version["splits"]) == (6, {"train": 4, "validation": 1, "test": 1})
    listed, token = [], ""
    while token is not None:
        page = client.get(version["samples"], params={"page_size": 4, "page_token": token}).json()
        listed, token = listed + page["samples"], page["next_page_token"]
    assert [(row["sample"], row["split"], row["group"], row["verified"]) for row in listed] == [
        ("case 1", "train", None, None),
        ("case 2", "train", None, None),
        ("case 4", "train", "case 4", None),
        ("case 5", "train", "case 5", None),
        ("case 3", "validation", None, None),
        ("case 0", "test", "P0", True),
    ]
    plan = client.post("/v1/jobs?dry_run=true", json={"dataset_id": dataset, "epochs": 1}).json()
    assert (plan["dataset"]["sample_count"], plan["dataset"]["train_count"]) == (6, 4)

    mask = upload.encode(upload.disc()[::-1].copy())
    parts = {
        "changes": (None, '{"exclude": ["case 2"]}', "application/json"),
        "file": ("masks.zip", upload.zip({"masks/case 0.png": mask, "masks/case 4.png": mask})),
    }
    made = client.post(f"/v1/datasets/{dataset}/versions", files=parts).json()
    assert made["splits"] == {"train": 3, "validation": 1, "test": 1}
    rows = client.get(made["samples"]).json()["samples"]
    assert [(row["sample"], row["ordinal"], row["split"], row["group"]) for row in rows] == [
        ("case 1", 0, "train", None),
        ("case 4", 1, "train", "case 4"),
        ("case 5", 2, "train", "case 5"),
        ("case 3", 3, "validation", None),
        ("case 0", 4, "test", "P0"),
    ]
    table = tables.from_parquet(context.store.get(keys.version(dataset, 2)), tables.SAMPLES)
    assert tables.split_counts(table) == (3, 1, 1)
    assert table["verified"].to_pylist() == [None] * 5  # case 0 was, but has another label now

    parts = {"changes": (None, '{"exclude": ["case 1", "case 4", "case 5"]}', "application/json")}
    refused = client.post(f"/v1/datasets/{dataset}/versions", files=parts)
    assert refused.json()["errors"][0]["reason"] == "leaves no sample to train on: the others are held out"


def test_a_draw_is_refused_by_the_field(client: TestClient, upload: Any) -> None:
    data = {"name": "x", "test_share": "1.5", "group_pattern": "(", "split_seed": "-1"}
    answer = client.post("/v1/datasets", files={"file": ("x.zip", upload.zip(upload.good()))}, data=data)
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"test_share", "group_pattern", "split_seed"}
