"""Label Studio: its SDK takes interface and tasks and sees every mask; what it writes is taken back."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service import brush
from tests import consumers
from tests.unit.service.exports.drawn_jobs import (
    LARGE,
    NAMES,
    export,
    label,
    new_mask,
    prediction,
    reviews,
    samples,
    send,
    shape,
)

SEEN = """
import numpy as np
from label_studio_sdk.converter import brush
from label_studio_sdk.label_interface import LabelInterface

interface = LabelInterface((folder / "config.xml").read_text())
interface.validate()
tasks = json.loads((folder / "tasks.json").read_text())
answer = {"errors": [], "tags": sorted(control.tag for control in interface.controls)}
for task in tasks:
    assert interface.validate_task({"data": task["data"]})
    for one in task["predictions"]:
        answer["errors"] += interface.validate_prediction(one, return_errors=True)
        size = given["sizes"][task["data"]["sample"]]
        mask = np.zeros(size, np.uint8)
        for result in one["result"]:
            drawn = brush.decode_rle(result["value"]["rle"]).reshape(-1, 4)[:, 3] > 127
            mask[drawn] = int(result["value"]["brushlabels"][0].removeprefix("class-"))
        which = "label" if one["model_version"] == "label" else "prediction"
        np.save(folder / f"{task['data']['rank']}-{which}.npy", mask)
"""
# What the tool's export has of what a person did.
DONE = """
import numpy as np
from label_studio_sdk.converter import brush
from label_studio_sdk.label_interface import LabelInterface

interface = LabelInterface((folder / "config.xml").read_text())
tasks = json.loads((folder / "tasks.json").read_text())
answer = []
for number, task in enumerate(tasks):
    name = task["data"]["sample"]
    results = []
    if name in given["draw"]:
        mask = np.load(folder / given["draw"][name])
        for value in np.unique(mask[mask > 0]).tolist():
            results.append({
                "id": f"r{value}", "type": "brushlabels", "from_name": "mask", "to_name": "image", "origin": "manual",
                "original_width": mask.shape[1], "original_height": mask.shape[0], "image_rotation": 0,
                "value": {"format": "rle", "rle": brush.mask2rle((mask == value).astype(np.uint8) * 255),
                          "brushlabels": [f"class-{value}"]},
            })
    if name in given["choose"]:
        results.append({"id": "c", "type": "choices", "from_name": "decision", "to_name": "image",
                        "value": {"choices": [given["choose"][name]]}})
        results.append({"id": "n", "type": "textarea", "from_name": "note", "to_name": "image",
                        "value": {"text": ["seen in Label Studio"]}})
    annotations = [{"id": number, "completed_by": 1, "was_cancelled": False, "result": results}] if results else []
    assert all(interface.validate_annotation(one) for one in annotations), name
    answer.append({"id": number, "annotations": annotations, "data": task["data"], "predictions": [], "project": 1})
"""


def unpacked(content: bytes, folder: Path) -> list[dict[str, Any]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    tasks: list[dict[str, Any]] = json.loads((folder / "tasks.json").read_text())
    return tasks


def square(number: int) -> np.ndarray:
    mask = np.zeros(shape(number), np.uint8)
    mask[5:20, 9:30] = 2
    mask[6:9, 9:15] = 1
    return mask


def annotated(task: dict[str, Any], *results: dict[str, Any]) -> dict[str, Any]:
    return {"id": 1, "data": task["data"], "annotations": [{"was_cancelled": False, "result": list(results)}]}


def stroke(where: np.ndarray, name: str = "class-2", **more: Any) -> dict[str, Any]:
    value = {"format": "rle", "rle": brush.encode(where), "brushlabels": [name]}
    size = {"original_width": where.shape[1], "original_height": where.shape[0], "image_rotation": 0}
    return {"type": "brushlabels", "from_name": "mask", "to_name": "image", "value": value, **size, **more}


@pytest.mark.real
@pytest.mark.timeout(1200)  # the first one makes the environment of the tools
def test_its_sdk_sees_all_and_its_export_comes_back(client: TestClient, tools: str, tmp_path: Path) -> None:
    tasks = unpacked(export(client, "label-studio"), tmp_path)
    sizes = {name: shape(number)[0] * shape(number)[1] for number, name in enumerate(NAMES)}
    seen = consumers.run(SEEN, tmp_path, sizes=sizes)
    assert seen == {"errors": [], "tags": ["BrushLabels", "Choices", "TextArea"]}
    hashes = {row["sample"]: row["mask_sha256"] for row in samples(client, tools)}
    for task in tasks:
        data = task["data"]
        number = NAMES.index(data["sample"])
        assert data["mask_sha256"] == hashes[data["sample"]]
        for which, truth in (("label", label(number)), ("prediction", prediction(number))):
            found = np.load(tmp_path / f"{data['rank']}-{which}.npy")
            assert np.array_equal(found, truth.ravel()), (which, data)
    large = np.where(np.indices(LARGE).sum(axis=0) % 97 < 40, 1, 0).astype(np.uint8)
    draw = {NAMES[1]: square(1), NAMES[4]: large, NAMES[2]: prediction(2), NAMES[3]: label(3)}
    for number, mask in enumerate(draw.values()):
        np.save(tmp_path / f"{number}.npy", mask)
    chosen = {NAMES[0]: "excluded", NAMES[5]: "empty"}
    files = {name: f"{number}.npy" for number, name in enumerate(draw)}
    content = json.dumps(consumers.run(DONE, tmp_path, draw=files, choose=chosen)).encode()
    assert send(client, "label-studio", content).json() == {"decided": 5, "unchanged": 0, "undecided": 1}
    corrected = dict.fromkeys((NAMES[1], NAMES[2], NAMES[4], NAMES[5]), "corrected")
    assert reviews(client, tools) == {NAMES[0]: "excluded", **corrected}
    for name in (NAMES[1], NAMES[2], NAMES[4]):
        assert np.array_equal(new_mask(client, tools, name), draw[name]), name
    assert not new_mask(client, tools, NAMES[5]).any()
    assert send(client, "label-studio", content).json()["unchanged"] == 5


@pytest.mark.usefixtures("tools")
def test_images_are_where_the_tasks_say(client: TestClient, tmp_path: Path) -> None:
    for task in unpacked(export(client, "label-studio"), tmp_path):
        root, _, path = task["data"]["image"].partition("?d=job-tools/")
        assert root == "/data/local-files/" and (tmp_path / unquote(path)).is_file()
    own = unpacked(export(client, "label-studio", image_root="https://pictures.example/x/", masks="label"), tmp_path)
    assert {len(task["predictions"]) for task in own} == {1}
    assert all(task["data"]["image"].startswith("https://pictures.example/x/") for task in own)
    for root in ("javascript:alert(1)", "https://x y/"):
        query = {"format": "label-studio", "image_root": root}
        assert client.get("/v1/jobs/job-tools/export", params=query).status_code == 422
    query = {"format": "cvat", "image_root": "https://x/"}
    assert client.get("/v1/jobs/job-tools/export", params=query).status_code == 422


def test_every_task_that_cannot_be_used_is_named(client: TestClient, tools: str, tmp_path: Path) -> None:
    tasks = unpacked(export(client, "label-studio"), tmp_path)
    good = {NAMES.index(task["data"]["sample"]): task for task in tasks}
    first = square(0) > 0
    short = stroke(first)
    short["value"]["rle"] = short["value"]["rle"][:12]
    numbers = stroke(first)
    numbers["value"]["rle"] = [1000, -1]
    choice = {"type": "choices", "from_name": "decision", "value": {"choices": ["excluded"]}}
    wrong: list[Any] = [
        annotated(good[0], short),
        annotated(good[1], stroke(first)),  # of the size of another
        annotated(good[2], stroke(square(2) > 0, image_rotation=90)),
        annotated(good[3], stroke(square(3) > 0, "class-9")),
        annotated(good[5], stroke(square(5) > 0), choice),
        annotated(good[4], numbers),
    ]
    answer = send(client, "label-studio", json.dumps(wrong).encode())
    assert answer.status_code == 422, answer.text
    assert {error["file"] for error in answer.json()["errors"]} == {f"tasks[{at}]" for at in range(6)}
    several = annotated(good[0], choice)
    several["annotations"] *= 2
    polygon = annotated(good[1], {"type": "polygonlabels", "from_name": "mask", "value": {"points": []}})
    unknown = annotated(good[2], choice | {"value": {"choices": ["nonsense"]}})
    other = annotated({"data": good[3]["data"] | {"mask_sha256": "x"}}, choice)
    answer = send(client, "label-studio", json.dumps([several, polygon, unknown, other, 5, {"data": {}}]).encode())
    assert {error["file"] for error in answer.json()["errors"]} == {f"tasks[{at}]" for at in range(6)}, answer.text
    for nonsense in (b"{}", b"[", b"", b"PK", b"[" * 100_000):
        assert send(client, "label-studio", nonsense).status_code == 422
    assert reviews(client, tools) == {}


@pytest.mark.usefixtures("tools")
def test_what_nobody_submitted_says_nothing(client: TestClient, tmp_path: Path) -> None:
    tasks = unpacked(export(client, "label-studio"), tmp_path)
    skipped = annotated(tasks[0], stroke(square(0) > 0))
    skipped["annotations"][0]["was_cancelled"] = True
    content = json.dumps([skipped, annotated(tasks[1]), tasks[2] | {"annotations": []}]).encode()
    assert send(client, "label-studio", content).json() == {"decided": 0, "unchanged": 0, "undecided": 1}


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (48, 64), (300, 1), (200, 300)])
def test_strokes_survive(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 1):
        mask = random.random(size) < share
        assert np.array_equal(brush.decode(brush.encode(mask), *size), mask)
