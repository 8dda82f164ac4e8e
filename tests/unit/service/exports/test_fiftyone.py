"""FiftyOne: its own loader reads samples and masks, and what it writes is taken back.

Its database, MongoDB, is not needed for that: the loader gives samples before they are put into one.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests import consumers
from tests.unit.service.exports.drawn_jobs import (
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

LOADED = """
import numpy as np
import fiftyone as fo
import fiftyone.utils.data as foud

importer, _ = foud.build_dataset_importer(fo.types.FiftyOneDataset, dataset_dir=str(folder))
importer = foud.importers._handle_legacy_formats(importer) if hasattr(
    foud.importers, "_handle_legacy_formats") else importer
answer = []
with importer:
    for sample in importer:
        shown = {name: sample[name] for name in given["fields"]}
        for name in ("label", "prediction"):
            assert isinstance(sample[name], fo.Segmentation)
            np.save(folder / f"{sample['rank']}-{name}.npy", sample[name].get_mask())
        answer.append(shown | {"tags": sample.tags, "there": pathlib.Path(sample.filepath).is_file()})
"""
# What its export has after somebody drew and tagged: masks in the database's own form.
DONE = """
import numpy as np
import fiftyone as fo
from bson import json_util

samples = []
for entry in json.loads((folder / "samples.json").read_text())["samples"]:
    name = entry["sample"]
    sample = fo.Sample.from_dict(dict(entry))
    if name in given["draw"]:
        sample[given["draw"][name][0]] = fo.Segmentation(mask=np.load(folder / given["draw"][name][1]))
    if name in given["tag"]:
        sample.tags.append(given["tag"][name])
    samples.append(sample.to_mongo_dict(include_id=False))
answer = json.loads(json_util.dumps({"samples": samples}))
"""


def unpacked(content: bytes, folder: Path) -> list[dict[str, Any]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    found: list[dict[str, Any]] = json.loads((folder / "samples.json").read_text())["samples"]
    return found


def packed(folder: Path, content: Any, top: str = "") -> bytes:
    """The folder as a zip, with other samples."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(f"{top}samples.json", json.dumps(content))
        for path in folder.glob("fields/**/*.png"):
            archive.write(path, f"{top}{path.relative_to(folder)}")
    return sink.getvalue()


def square(number: int) -> np.ndarray:
    mask = np.zeros(shape(number), np.uint8)
    mask[5:20, 9:30] = 2
    mask[6:9, 9:15] = 1
    return mask


@pytest.mark.real
@pytest.mark.timeout(1200)  # the first one makes the environment of the tools
def test_its_loader_sees_all_and_what_it_writes_comes_back(client: TestClient, tools: str, tmp_path: Path) -> None:
    unpacked(export(client, "fiftyone"), tmp_path)
    fields = ["sample", "mask_sha256", "revision", "rank", "score", "confidence", "reason", "note"]
    loaded = consumers.run(LOADED, tmp_path, fields=fields)
    hashes = {row["sample"]: row["mask_sha256"] for row in samples(client, tools)}
    seen = client.get("/v1/jobs/job-tools/samples").json()["samples"]
    assert [one["sample"] for one in loaded] == [row["sample"] for row in seen]
    for one, row in zip(loaded, seen, strict=True):
        number = NAMES.index(one["sample"])
        assert one["there"] and one["tags"] == [] and one["mask_sha256"] == hashes[one["sample"]]
        assert (one["score"], one["confidence"]) == pytest.approx((row["score"], row["confidence"]))
        for which, truth in (("label", label(number)), ("prediction", prediction(number))):
            assert np.array_equal(np.load(tmp_path / f"{one['rank']}-{which}.npy"), truth), (which, one)
    np.save(tmp_path / "a.npy", square(1))
    np.save(tmp_path / "b.npy", square(2))
    np.save(tmp_path / "c.npy", np.zeros(shape(3), bool))
    draw = {NAMES[1]: ("correction", "a.npy"), NAMES[2]: ("label", "b.npy"), NAMES[3]: ("label", "c.npy")}
    content = consumers.run(DONE, tmp_path, draw=draw, tag={NAMES[0]: "flagged", NAMES[4]: "mine"})
    assert send(client, "fiftyone", packed(tmp_path, content)).json() == {
        "decided": 4,
        "unchanged": 0,
        "undecided": 2,
    }
    assert reviews(client, tools) == {NAMES[0]: "flagged", **dict.fromkeys(NAMES[1:4], "corrected")}
    for number in (1, 2):
        assert np.array_equal(new_mask(client, tools, NAMES[number]), square(number))
    assert not new_mask(client, tools, NAMES[3]).any()
    tagged = unpacked(export(client, "fiftyone", decision="flagged"), tmp_path / "again")
    assert [(one["sample"], one["tags"], one["revision"]) for one in tagged] == [(NAMES[0], ["flagged"], 1)]


def test_files_of_the_zip_are_masks(client: TestClient, tools: str, tmp_path: Path) -> None:
    content = export(client, "fiftyone")
    untouched = send(client, "fiftyone", content)
    assert untouched.json() == {"decided": 0, "unchanged": 0, "undecided": len(NAMES)}, untouched.text
    entries = unpacked(content, tmp_path)
    Image.fromarray(square(1)).save(tmp_path / "fields" / "label" / f"{NAMES[1]}.png")
    answer = send(client, "fiftyone", packed(tmp_path, {"samples": entries}, "exported/"))
    assert answer.json() == {"decided": 1, "unchanged": 0, "undecided": 5}, answer.text
    assert np.array_equal(new_mask(client, tools, NAMES[1]), square(1))


def test_every_sample_that_cannot_be_used_is_named(client: TestClient, tools: str, tmp_path: Path) -> None:
    entries = {one["sample"]: one for one in unpacked(export(client, "fiftyone"), tmp_path)}
    folder = tmp_path / "fields" / "label"
    Image.fromarray(square(0)).save(folder / f"{NAMES[1]}.png")  # of another size
    Image.fromarray(np.full(shape(2), 9, np.uint8)).save(folder / f"{NAMES[2]}.png")
    (folder / f"{NAMES[3]}.png").write_bytes(b"no picture")
    entries[NAMES[0]]["label"] = {"_cls": "Segmentation", "mask_path": "../../etc/hostname"}
    entries[NAMES[5]]["label"] = {"_cls": "Segmentation", "mask": {"$binary": {"base64": "eJwrzs8r"}}}
    entries[NAMES[4]]["correction"] = {"_cls": "Segmentation", "mask": "not base64!"}
    answer = send(client, "fiftyone", packed(tmp_path, {"samples": list(entries.values())}))
    assert answer.status_code == 422, answer.text
    assert {error["file"] for error in answer.json()["errors"]} == {f"samples[{at}]" for at in range(6)}
    plain = json.dumps({"samples": list(entries.values())}).encode()  # its masks are in no zip
    assert send(client, "fiftyone", plain).status_code == 422
    two = [entries[NAMES[1]] | {"tags": ["accepted", "excluded"]}, 5, {"tags": 1}, {"label": 1}, {}]
    answer = send(client, "fiftyone", json.dumps({"samples": two}).encode())
    assert {error["file"] for error in answer.json()["errors"]} == {f"samples[{at}]" for at in range(5)}, answer.text
    for nonsense in (b"[]", b"{", b"", b"PK", b'{"samples": 1}'):
        assert send(client, "fiftyone", nonsense).status_code == 422
    assert reviews(client, tools) == {}
