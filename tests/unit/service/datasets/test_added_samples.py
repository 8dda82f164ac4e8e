"""New samples come with a version: checked as at an upload, named among the others, seen as added."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.api.dependencies import Context
from service.db.tables import AuditEntry
from tests.volumes import nifti, nnunet_files, other_channel
from workers.contract import keys, tables
from workers.data import Samples
from workers.volumes import Volumes

Create = Callable[[dict[str, bytes]], str]
Correct = Callable[..., httpx.Response]
EDGE = 10


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def create(client: TestClient, upload: Any) -> Create:
    def create(members: dict[str, bytes]) -> str:
        answer = client.post("/v1/datasets", files={"file": ("x.zip", upload.zip(members))}, data={"name": "lesions"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    return create


@pytest.fixture
def correct(client: TestClient, upload: Any) -> Correct:
    def correct(dataset: str, files: dict[str, bytes] | None, **changes: Any) -> httpx.Response:
        parts: dict[str, Any] = {"changes": (None, json.dumps(changes), "application/json")}
        if files is not None:
            parts["file"] = ("files.zip", upload.zip(files), "application/zip")
        return client.post(f"/v1/datasets/{dataset}/versions", files=parts)

    return correct


def faults(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    assert all(error["hint"] for error in answer.json()["errors"] if error.get("file"))
    return {error.get("file") or error["field"]: error["reason"] for error in answer.json()["errors"]}


def rows_of(client: TestClient, made: httpx.Response) -> list[dict[str, Any]]:
    assert made.status_code == 201, made.text
    found: list[dict[str, Any]] = client.get(made.json()["samples"]).json()["samples"]
    return found


def test_new_samples_take_their_place_among_the_others(
    create: Create, correct: Correct, client: TestClient, context: Context, upload: Any
) -> None:
    dataset = create(upload.good(3))
    colours = upload.encode(np.stack([upload.disc()] * 3, axis=-1))  # is written anew
    files = {"more/images/case 1b.png": upload.photo(7), "more/masks/case 1b.png": colours}
    files |= {"more/images/a.jpg": upload.photo(8, kind="JPEG"), "more/masks/a.png": upload.encode(upload.disc())}
    files |= {"more/masks/case 2.png": upload.encode(upload.disc()[::-1].copy())}
    made = correct(dataset, files, exclude=["case 0"])
    rows = rows_of(client, made)
    assert [(row["sample"], row["ordinal"]) for row in rows] == [("a", 0), ("case 1", 1), ("case 1b", 2), ("case 2", 3)]
    assert client.get(rows[0]["image"]).content == files["more/images/a.jpg"]
    assert client.get(rows[2]["image"]).content == files["more/images/case 1b.png"]
    assert client.get(rows[2]["mask"]).content != colours
    assert client.get(rows[3]["mask"]).content == files["more/masks/case 2.png"]

    samples = Samples(context.store, dataset, 2, 16)
    assert samples.table["name"].to_pylist() == [row["sample"] for row in rows]
    assert samples.batch(torch.arange(4))[1].amax((1, 2)).tolist() == [1, 1, 1, 1]

    difference = client.get(f"/v1/datasets/{dataset}/versions/1/diff/2").json()
    assert {entry["sample"]: entry["changes"] for entry in difference["samples"]} == {
        "a": ["added"],
        "case 0": ["removed"],
        "case 1b": ["added"],
        "case 2": ["relabelled"],
    }
    with context.database.read() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "version.create")).one()
    assert entry.details == {"number": 2, "base": 1, "samples": 4, "excluded": 1, "relabelled": 1, "added": 2}


def test_every_fault_of_a_new_sample_is_named_and_nothing_stored(
    create: Create, correct: Correct, context: Context, upload: Any
) -> None:
    dataset = create(upload.good(3))
    before = list(context.store.list(""))
    disc = upload.encode(upload.disc())
    files = {
        "images/case 1.png": upload.photo(9),  # there already
        "images/lonely.png": upload.photo(1),
        "masks/lost.png": disc,
        "images/foreign.png": upload.photo(2),
        "masks/foreign.png": upload.encode(upload.disc(7)),
        "images/small.png": upload.photo(3),
        "masks/small.png": upload.encode(upload.disc(size=(8, 8))),
        "images/broken.png": b"no image",
        "masks/broken.png": disc,
        "images/volume.nii.gz": b"",
    }
    assert faults(correct(dataset, files)) == {
        "images/case 1.png": "is of the sample 'case 1', which is there already",
        "images/lonely.png": "has no mask",
        "masks/lost.png": "is of no sample: the version has none named 'lost'",
        "masks/foreign.png": "has the values 7",
        "masks/small.png": "is 8 x 8, its image 30 x 20 pixels",
        "images/broken.png": "is not a PNG, JPEG or TIFF image",
        "images/volume.nii.gz": "is not PNG, JPEG or TIFF by its name (.nii.gz)",
    }
    assert list(context.store.list("")) == before


def test_new_volumes_bring_every_channel(
    create: Create, correct: Correct, client: TestClient, context: Context
) -> None:
    members = nnunet_files(4, EDGE, channels=["T1", "T2"])
    held = {name: members.pop(name) for name in [*members] if "case_003" in name}
    dataset = create(members)
    image, label = held["imagesTr/case_003_0000.nii.gz"], held["labelsTr/case_003.nii.gz"]
    alone = {"images/new_0000.nii.gz": image, "masks/new.nii.gz": label}
    unnumbered = {"images/other.nii.gz": image, "images/third_0002.nii.gz": image}
    assert faults(correct(dataset, alone | unnumbered)) == {
        "images/new_0000.nii.gz": "case 'new' has no channel 1 (T2)",
        "images/other.nii.gz": "names none of the channels 0 to 1 (T1, T2)",
        "images/third_0002.nii.gz": "names none of the channels 0 to 1 (T1, T2)",
    }
    elsewhere = nifti(other_channel(np.ones((EDGE,) * 3)), np.eye(4))
    assert faults(correct(dataset, alone | {"images/new_0001.nii.gz": elsewhere})).keys() == {"images/new_0001.nii.gz"}
    whole = alone | {"images/new_0001.nii.gz": held["imagesTr/case_003_0001.nii.gz"]}
    rows = rows_of(client, correct(dataset, whole))
    assert [row["sample"] for row in rows] == ["case_000", "case_001", "case_002", "new"]
    assert client.get(rows[3]["image"], params={"channel": 1}).content == whole["images/new_0001.nii.gz"]
    assert Volumes(context.store, dataset, 2, 8).volume(3)[0].shape == (2, EDGE, EDGE, EDGE)
    table = tables.from_parquet(context.store.get(keys.version(dataset, 2)), tables.VOLUMES)
    assert [len(channels) for channels in table["channels"].to_pylist()] == [1, 1, 1, 1]


def test_images_do_not_come_among_volumes(create: Create, correct: Correct, upload: Any) -> None:
    dataset = create(nnunet_files(2, EDGE))
    files = {"images/a.png": upload.photo(), "masks/a.png": upload.encode(upload.disc(1))}
    found = faults(correct(dataset, files))
    assert found == dict.fromkeys(files, "is not NIfTI (.nii or .nii.gz) or MetaImage (.mha) by its name (.png)")


def test_another_image_of_a_name_comes_in_two_versions(
    create: Create, correct: Correct, client: TestClient, upload: Any
) -> None:
    dataset = create(upload.good(2))
    assert correct(dataset, None, exclude=["case 1"]).status_code == 201
    files = {"images/case 1.png": upload.photo(9), "masks/case 1.png": upload.good(2)["masks/case 1.png"]}
    assert correct(dataset, files).status_code == 201
    difference = client.get(f"/v1/datasets/{dataset}/versions/1/diff/3").json()
    assert difference["samples"] == [{"sample": "case 1", "changes": ["changed_image"]}]
