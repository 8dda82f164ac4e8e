"""CVAT: its SDK reads every mask pixel by pixel, and what it writes is taken back."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
import pytest
from cvat_sdk import masks as reference
from cvat_sdk import models
from fastapi.testclient import TestClient
from PIL import Image

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

IMPORTED = """
import numpy as np
from datumaro import AnnotationType, Dataset

dataset = Dataset.import_from(str(folder), "cvat")
names = [label.name for label in dataset.categories()[AnnotationType.label]]
answer = {}
for number, item in enumerate(dataset):
    tags = [one for one in item.annotations if one.type == AnnotationType.label]
    masks = [one for one in item.annotations if one.type == AnnotationType.mask]
    for ending in ("", " prediction"):
        drawn = np.zeros(item.media.size, np.uint8)
        for one in masks:
            if names[one.label].endswith(" prediction") == bool(ending):
                drawn[one.image > 0] = int(names[one.label].removesuffix(ending).removeprefix("class-"))
        np.save(folder / f"{number}{ending}.npy", drawn)
    answer[tags[0].attributes["sample"]] = [number, names[tags[0].label], tags[0].attributes["mask_sha256"]]
"""


def parsed(content: bytes) -> ElementTree.Element:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return ElementTree.fromstring(archive.read("annotations.xml"))  # noqa: S314 - our own


def as_sent(root: ElementTree.Element, *, packed: bool = True) -> bytes:
    content = ElementTree.tostring(root, encoding="utf-8")
    if not packed:
        return content
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("annotations.xml", content)
    return sink.getvalue()


def image_of(root: ElementTree.Element, sample: str) -> ElementTree.Element:
    return next(one for one in root.iter("image") if facts(one)["sample"] == sample)


def facts(image: ElementTree.Element) -> dict[str, str]:
    tag = image.find("tag")
    assert tag is not None
    return {str(one.get("name")): one.text or "" for one in tag}


def say(image: ElementTree.Element, name: str, text: str) -> None:
    attribute = image.find(f"tag/attribute[@name='{name}']")
    assert attribute is not None
    attribute.text = text


def decoded(image: ElementTree.Element, ending: str) -> np.ndarray:
    """The mask that CVAT would show: its import makes such points of the element, its SDK pixels of these."""
    height, width = int(str(image.get("height"))), int(str(image.get("width")))
    mask = np.zeros((height, width), np.uint8)
    for one in image.iter("mask"):
        name = str(one.get("label"))
        if name.endswith(" prediction") != bool(ending):
            continue
        left, top, across, down = (int(str(one.get(key))) for key in ("left", "top", "width", "height"))
        points = [*map(int, str(one.get("rle")).split(",")), left, top, left + across - 1, top + down - 1]
        where = reference.decode_mask(points, image_width=width, image_height=height)
        assert reference.encode_mask(where) == points
        mask[where] = int(name.removesuffix(ending).removeprefix("class-"))
    return mask


def draw(image: ElementTree.Element, name: str, where: np.ndarray) -> None:
    """What CVAT's export has of a mask."""
    *runs, left, top, right, bottom = map(int, reference.encode_mask(where))
    box = {"left": left, "top": top, "width": right - left + 1, "height": bottom - top + 1}
    about = {"label": name, "source": "manual", "occluded": "0", "rle": ", ".join(map(str, runs)), "z_order": "0"}
    ElementTree.SubElement(image, "mask", about | {key: str(value) for key, value in box.items()})


def square(number: int) -> np.ndarray:
    where = np.zeros(shape(number), bool)
    where[5:20, 9:30] = True
    return where


@pytest.mark.usefixtures("tools")
def test_cvat_sees_labels_and_predictions(client: TestClient, tools: str) -> None:
    root = parsed(export(client, "cvat"))
    hashes = {row["sample"]: row["mask_sha256"] for row in samples(client, tools)}
    order = [row["sample"] for row in client.get("/v1/jobs/job-tools/samples").json()["samples"]]
    assert [facts(image)["sample"] for image in root.iter("image")] == order
    for number, name in enumerate(NAMES):
        image = image_of(root, name)
        assert (image.get("height"), image.get("width")) == tuple(map(str, shape(number)))
        assert facts(image)["mask_sha256"] == hashes[name] and facts(image)["decision"] == "undecided"
        assert np.array_equal(decoded(image, ""), label(number)), name
        assert np.array_equal(decoded(image, " prediction"), prediction(number)), name


@pytest.mark.usefixtures("tools")
def test_labels_and_images_are_those_that_a_task_takes(client: TestClient) -> None:
    content = export(client, "cvat")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        given = json.loads(archive.read("labels.json"))
        names = {PurePosixPath(name).name for name in archive.namelist() if name.startswith("images/")}
        kinds = {}
        for number, name in enumerate(NAMES):
            member = f"images/{name}.{'jpg' if number == 0 else 'png'}"
            with Image.open(io.BytesIO(archive.read(member))) as image:
                kinds[name] = (image.format, image.mode)
                assert image.size == shape(number)[::-1]
    assert names == {str(image.get("name")) for image in parsed(content).iter("image")}
    assert kinds[NAMES[0]] == ("JPEG", "RGB") and kinds[NAMES[1]] == ("PNG", "RGB")
    labels = [models.PatchedLabelRequest(**one) for one in given]  # refuses what CVAT's API does not know
    expected = ["class-1", "class-1 prediction", "class-2", "class-2 prediction", "sample"]
    assert [one["name"] for one in labels] == expected
    assert len({one["color"] for one in given}) == len(given)
    for attribute in given[-1]["attributes"]:
        models.AttributeRequest(**attribute)


@pytest.mark.usefixtures("tools")
def test_untouched_it_changes_nothing(client: TestClient) -> None:
    for masks in ("label", "prediction", "both"):
        answer = send(client, "cvat", export(client, "cvat", masks=masks))
        assert answer.json() == {"decided": 0, "unchanged": 0, "undecided": len(NAMES)}, answer.text


def test_what_was_drawn_and_decided_comes_back(client: TestClient, tools: str) -> None:
    root = parsed(export(client, "cvat"))
    redrawn, large, seen, empty = (image_of(root, NAMES[number]) for number in (1, 4, 2, 0))
    draw(redrawn, "class-1", square(1))  # above what is there
    for one in list(large.iter("mask")):
        large.remove(one)
    draw(large, "class-2", np.indices(LARGE).sum(axis=0) % 97 < 40)
    say(seen, "decision", "flagged")
    say(seen, "note", 'odd <border> & "so"\nsecond line')
    say(empty, "decision", "empty")
    for one in [one for one in empty.iter("mask") if "prediction" not in str(one.get("label"))]:
        empty.remove(one)
    content = as_sent(root)
    assert send(client, "cvat", content).json() == {"decided": 4, "unchanged": 0, "undecided": 2}
    assert reviews(client, tools) == {
        NAMES[0]: "corrected",
        NAMES[1]: "corrected",
        NAMES[2]: "flagged",
        NAMES[4]: "corrected",
    }
    assert np.array_equal(new_mask(client, tools, NAMES[1]), np.where(square(1), 1, label(1)))
    wanted = np.where(np.indices(LARGE).sum(axis=0) % 97 < 40, 2, 0)
    assert np.array_equal(new_mask(client, tools, NAMES[4]), wanted)
    assert not new_mask(client, tools, NAMES[0]).any()
    assert send(client, "cvat", as_sent(root, packed=False)).json()["unchanged"] == 4
    again = parsed(export(client, "cvat"))
    assert facts(image_of(again, NAMES[2]))["note"] == 'odd <border> & "so"\nsecond line'
    assert send(client, "cvat", as_sent(again)).json() == {"decided": 0, "unchanged": 1, "undecided": 5}


@pytest.mark.usefixtures("tools")
def test_a_prediction_given_the_labels_name_takes_its_place(client: TestClient, tools: str) -> None:
    root = parsed(export(client, "cvat"))
    image = image_of(root, NAMES[0])
    for one in list(image.iter("mask")):
        if str(one.get("label")).endswith(" prediction"):
            one.set("label", str(one.get("label")).removesuffix(" prediction"))
        else:
            image.remove(one)
    assert send(client, "cvat", as_sent(root)).json()["decided"] == 1
    assert np.array_equal(new_mask(client, tools, NAMES[0]), prediction(0))


def test_every_image_that_cannot_be_used_is_named(client: TestClient, tools: str) -> None:
    root = parsed(export(client, "cvat"))
    for name in NAMES:
        image = image_of(root, name)
        mask = next(image.iter("mask"))
        if name == NAMES[0]:
            mask.set("rle", "1, 2, 3")
        elif name == NAMES[1]:
            mask.set("left", "99999")
        elif name == NAMES[2]:
            mask.set("rle", "one, two")
        elif name == NAMES[3]:
            draw(image, "class-8", square(3))
        elif name == NAMES[4]:
            draw(image, "class-2", square(4))
            say(image, "decision", "excluded")
        else:
            draw(image, "class-2", square(5))
            draw(image, "class-1 prediction", square(5))
    answer = send(client, "cvat", as_sent(root))
    assert answer.status_code == 422, answer.text
    found = {error["file"]: error["reason"] for error in answer.json()["errors"]}
    assert len(found) == len(NAMES), found
    assert "excluded" in " ".join(found.values()) and "more than one new mask" in " ".join(found.values())
    assert reviews(client, tools) == {}


@pytest.mark.usefixtures("tools")
def test_what_is_no_such_file_is_refused(client: TestClient) -> None:
    root = parsed(export(client, "cvat", limit=1))
    image = next(root.iter("image"))
    tag = image.find("tag")
    assert tag is not None
    image.append(tag)
    twice = as_sent(root)
    image.remove(tag)
    image.remove(tag)
    none = as_sent(root)
    ElementTree.SubElement(root, "track", {"label": "class-2"})
    bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "' + b"x" * 99 + b'">]><annotations>&b;</annotations>'
    outside = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotations>&b;</annotations>'
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    for content in (twice, none, as_sent(root), bomb, outside, b"<a/>", b"<annotations>", b"", empty.getvalue(), b"PK"):
        answer = send(client, "cvat", content)
        assert answer.status_code == 422 and answer.json()["errors"], content[:100]
        assert "x" * 99 not in answer.text


@pytest.mark.real
@pytest.mark.timeout(1200)  # the first one makes the environment of the tools
def test_datumaro_imports_it(client: TestClient, tools: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(export(client, "cvat"))) as archive:
        archive.extractall(tmp_path)
    found = consumers.run(IMPORTED, tmp_path)
    hashes = {row["sample"]: row["mask_sha256"] for row in samples(client, tools)}
    assert {name: (tag, digest) for name, (_, tag, digest) in found.items()} == {
        name: ("sample", digest) for name, digest in hashes.items()
    }
    for number, name in enumerate(NAMES):
        place = found[name][0]
        assert np.array_equal(np.load(tmp_path / f"{place}.npy"), label(number)), name
        assert np.array_equal(np.load(tmp_path / f"{place} prediction.npy"), prediction(number)), name
