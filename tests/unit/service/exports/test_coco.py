"""COCO: read by pycocotools pixel by pixel, and what it writes is taken back."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pycocotools import mask as reference
from pycocotools.coco import COCO

from service import rle
from service.api.dependencies import Context
from service.db.tables import DEFAULT_PROJECT, DatasetVersion
from workers.contract import keys

VERSION = "/v1/datasets/ds-out/versions/1"


@pytest.fixture
def job(finish_job: Callable[..., str]) -> str:
    return finish_job("ds-out", "job-out", DEFAULT_PROJECT)


def masks() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = [(1, 1), (7, 5), (48, 64), (300, 1), (500, 700)]
    plain = [np.full(shape, value) for shape in shapes for value in (False, True)]
    disc = np.hypot(*np.mgrid[-300:300, -200:200]) < 150
    return [*plain, disc, *(random.random(shape) < share for shape in shapes for share in (0.02, 0.5))]


@pytest.mark.parametrize("mask", masks())
def test_run_lengths_are_those_of_pycocotools(mask: np.ndarray) -> None:
    theirs = reference.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert rle.encode(mask) == theirs
    assert np.array_equal(rle.decode(theirs, *mask.shape), mask)


@pytest.mark.parametrize("text", ["", "~", "P", "oooooooo0", "0" * 50, "11"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="run"):
        rle.decode(text, 48, 64)


def export(client: TestClient, **query: Any) -> dict[str, Any]:
    answer = client.get("/v1/jobs/job-out/export", params={"format": "coco", **query})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def send(client: TestClient, content: Any) -> httpx.Response:
    return client.post("/v1/jobs/job-out/import", params={"format": "coco"}, content=json.dumps(content))


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def drawn(image: dict[str, Any], **more: Any) -> tuple[dict[str, Any], np.ndarray]:
    mask = np.zeros((image["height"], image["width"]), np.uint8)
    mask[5:30, 7:50] = 1
    runs = reference.encode(np.asfortranarray(mask))
    segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
    return {"id": 900, "image_id": image["id"], "category_id": 255, "segmentation": segmentation, **more}, mask * 255


@pytest.mark.usefixtures("job")
def test_pycocotools_sees_labels_and_predictions(client: TestClient, context: Context, tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text(json.dumps(export(client)))
    coco = COCO(str(tmp_path / "coco.json"))
    assert coco.loadCats(coco.getCatIds()) == [{"id": 255, "name": "class-255"}]
    samples = {row["sample"]: row for row in client.get(f"{VERSION}/samples").json()["samples"]}
    assert len(coco.imgs) == len(samples) == 6 and len(coco.anns) == 12
    for one in coco.anns.values():
        image = coco.imgs[one["image_id"]]
        seen = coco.annToMask(one).astype(bool)
        if one["source"] == "label":
            digest = samples[image["sample"]]["mask_sha256"]
            assert digest == image["mask_sha256"]
            truth = pixels(context.store.get(keys.blob("ds-out", digest)))
        else:
            truth = pixels(context.store.get(keys.prediction("job-out", samples[image["sample"]]["ordinal"])))
        assert np.array_equal(seen, truth > 0)
        assert (
            one["area"] == seen.sum()
            and one["bbox"] == reference.toBbox(reference.encode(np.asfortranarray(seen.astype(np.uint8)))).tolist()
        )
        assert one["score"] == image["confidence"]


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("masks", ["label", "prediction", "both"])
def test_untouched_it_changes_nothing(client: TestClient, masks: str) -> None:
    answer = send(client, export(client, masks=masks))
    assert answer.json() == {"decided": 0, "unchanged": 0, "undecided": 6}, answer.text


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("source", [None, "prediction"])
def test_a_drawn_mask_becomes_a_correction(client: TestClient, source: str | None) -> None:
    content = export(client, masks="prediction")
    image = next(image for image in content["images"] if image["sample"] == "case 1")
    one, mask = drawn(image, **({"source": source} if source else {}))
    content["annotations"] = [old for old in content["annotations"] if old["image_id"] != image["id"]] + [one]
    assert send(client, content).json()["decided"] == 1
    review = client.get(f"{VERSION}/samples/case 1/review").json()
    assert review["decision"] == "corrected"
    assert np.array_equal(pixels(client.get(review["new_mask"]).content), mask)
    assert send(client, content).json()["unchanged"] == 1
    client.put(f"{VERSION}/samples/case 1/review", json={"decision": "flagged"}, headers={"If-Match": "*"})
    assert send(client, content).status_code == 409


@pytest.mark.usefixtures("job")
def test_bad_masks_are_named_and_nothing_is_changed(client: TestClient) -> None:
    content = export(client)
    first, second, third = content["images"][:3]
    good, _ = drawn(first)
    small = drawn(second)[0] | {"segmentation": {"size": [2, 2], "counts": "4"}}
    foreign = drawn(third)[0] | {"category_id": 7}
    answer = send(client, content | {"annotations": [good, small, foreign]})
    assert answer.status_code == 422
    assert [error["file"] for error in answer.json()["errors"]] == ["images[1]", "images[2]"]
    other = [{**first, "mask_sha256": "0" * 64}]
    assert "another sha256" in send(client, content | {"images": other, "annotations": [good]}).text
    polygon = good | {"segmentation": [[1, 1, 5, 1, 5, 5]]}
    assert "annotations[0]" in send(client, content | {"annotations": [polygon]}).text
    for nonsense in ({"sample": "a\0b"}, {"revision": 10**12}):
        assert send(client, content | {"images": [first | nonsense], "annotations": [good]}).status_code == 422
    for nonsense in ([], {}, {"images": [1], "annotations": []}, "x"):
        assert send(client, nonsense).status_code == 422
    assert client.get(f"{VERSION}/reviews").json()["reviews"] == []


@pytest.mark.usefixtures("job")
def test_volumes_are_told_where_to_go(client: TestClient, context: Context) -> None:
    with context.sessions.begin() as session:
        session.get_one(DatasetVersion, ("ds-out", 1)).spatial_dims = 3
    answers = [
        client.get("/v1/jobs/job-out/export", params={"format": "coco"}),
        send(client, {"images": [], "annotations": []}),
    ]
    for answer in answers:
        assert answer.status_code == 422 and "masks" in answer.json()["errors"][0]["hint"]
    assert client.get("/v1/jobs/job-out/export", params={"format": "csv"}).status_code == 200
