"""Mask values that are replaced at the upload: what is stored, what is offered, what is refused."""

import gzip
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import ValidationError

from service.datasets import remap
from service.datasets.formats.nifti import open_volume
from service.datasets.options import ImportOptions
from service.datasets.replacing import replaced, write_label
from tests.volumes import PIL, nifti, nnunet_files

IMAGE = np.random.default_rng(0).normal(100, 30, (7, 8, 9)).astype(np.float32)


def labelled(*values: int, dtype: Any = np.uint8) -> np.ndarray:
    """A label of 0 with one plane of each value."""
    label = np.zeros(IMAGE.shape, dtype)
    for place, value in enumerate(values):
        label[place + 1] = value
    return label


def graded(upload: Any, *values: int) -> bytes:
    mask = np.zeros((20, 30), np.uint8)
    for place, value in enumerate(values):
        mask[place] = value
    data: bytes = upload.encode(mask)
    return data


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("3", "'3' is not VALUE=VALUE"),
        ("3=0,", "'' is not VALUE=VALUE"),
        ("3=x", "'3=x' is not VALUE=VALUE"),
        ("3=0,3=1", "the value 3 is replaced twice"),
        ("3=256", "out of range"),
        ("70000=1", "out of range"),
        ("", "is not VALUE=VALUE"),
    ],
)
def test_what_is_written_otherwise_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ImportOptions(remap=text)


def test_remap_and_threshold_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match="does not go together with mask_threshold"):
        ImportOptions(remap="3=0", mask_threshold=128)
    assert ImportOptions(remap=" 255=1, -1=0").mapping == {255: 1, -1: 0}
    assert ImportOptions().mapping == {}


def test_values_are_replaced_all_at_once() -> None:
    for dtype in (np.uint8, np.int8, np.int16, np.uint16, np.float32, np.uint32):
        values = np.array([[0, 1, 2], [3, 2, 1]], dtype)
        found, met = replaced(values, {1: 2, 2: 1, 3: 255, 9: 0, -5: 7})
        np.testing.assert_array_equal(found, [[0, 2, 1], [255, 1, 2]])
        assert met == {1, 2, 3}
        np.testing.assert_array_equal(values, [[0, 1, 2], [3, 2, 1]])


def test_masks_of_images_are_written_anew(client: TestClient, upload: Any) -> None:
    members = {f"images/{name}.png": upload.photo(number) for number, name in enumerate("abc")}
    members |= {
        "masks/a.png": graded(upload, 255, 3),
        "masks/b.png": graded(upload, 255),
        "masks/c.png": graded(upload),
    }
    wide = np.zeros((20, 30), np.uint16)
    wide[4] = 300
    members |= {"images/d.png": upload.photo(4), "masks/d.png": upload.encode(wide)}
    given = {"name": "x", "remap": "255=1,3=0,300=1,9=1"}
    answer = client.post("/v1/datasets", data=given, files={"file": ("x.zip", upload.zip(members))})
    assert answer.status_code == 201, answer.text
    newest = answer.json()["newest"]
    assert newest["mask_values"] == [0, 1]
    assert [warning["reason"] for warning in newest["warnings"] if warning.get("field") == "remap"] == [
        "replaces the value 9, which no mask has"
    ]
    rows = {row["sample"]: row for row in client.get(newest["samples"]).json()["samples"]}
    assert rows["a"]["foreground"] == pytest.approx(1 / 20)
    stored = {name: np.asarray(Image.open(BytesIO(client.get(row["mask"]).content))) for name, row in rows.items()}
    assert stored["a"].dtype == np.uint8
    assert [set(np.unique(stored[name])) for name in "abcd"] == [{0, 1}, {0, 1}, {0}, {0, 1}]
    np.testing.assert_array_equal(np.flatnonzero(stored["a"].any(1)), [0])
    assert client.get(rows["c"]["mask"]).content == members["masks/c.png"], "without such values it stays as it came"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_labels_of_volumes_are_written_in_their_place(client: TestClient, upload: Any, dtype: Any) -> None:
    given = labelled(1, 3, 255, dtype=dtype)
    members = {"images/a.nii.gz": nifti(IMAGE), "masks/a.nii": nifti(given, compressed=False)}
    members |= {"images/b.nii.gz": nifti(IMAGE + 1), "masks/b.nii.gz": nifti(labelled(1))}
    data = {"name": "x", "remap": "255=2,3=0"}
    answer = client.post("/v1/datasets", data=data, files={"file": ("x.zip", upload.zip(members))})
    assert answer.status_code == 201, answer.text
    newest = answer.json()["newest"]
    assert newest["mask_values"] == [0, 1, 2]
    rows = client.get(newest["samples"]).json()["samples"]
    stored = nib.Nifti1Image.from_bytes(gzip.decompress(client.get(rows[0]["mask"]).content))
    assert stored.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(stored.affine, PIL)
    np.testing.assert_array_equal(np.asarray(stored.dataobj), np.where(given == 255, 2, np.where(given == 3, 0, given)))
    assert client.get(rows[1]["mask"]).content == members["masks/b.nii.gz"]


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_headers_of_every_kind_are_kept(tmp_path: Path, kind: Any, endianness: str) -> None:
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(np.int16)
    header["descrip"] = b"by hand"
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a long remark " * 9))
    given = labelled(1, 3, dtype=np.int16)
    (tmp_path / "given.nii").write_bytes(kind(given, PIL, header).to_bytes())
    write_label(open_volume(tmp_path / "given.nii", 10**6), {3: 300 % 256}, tmp_path / "stored.nii.gz")
    stored = nib.load(tmp_path / "stored.nii.gz")
    assert type(stored) is kind
    assert bytes(stored.header["descrip"]).startswith(b"by hand")
    assert (stored.get_data_dtype(), tuple(stored.shape)) == (np.uint8, IMAGE.shape)
    np.testing.assert_array_equal(stored.affine, PIL)
    np.testing.assert_array_equal(np.asarray(stored.dataobj), np.where(given == 3, 44, given))


def test_a_fault_offers_the_option_that_mends_it(upload: Any) -> None:
    members = {f"images/{number}.png": upload.photo(number) for number in range(4)}
    members |= {f"masks/{number}.png": graded(upload, 1) for number in range(3)} | {"masks/3.png": graded(upload, 1, 3)}
    faults = upload.faults(members)
    assert "to make 3 background: remap=3=0" in faults["masks/3.png"].hint
    assert "to number the classes from 0 on: remap=3=2" in faults[None].hint
    assert upload.check(members, remap="3=0").mask_values == [0, 1]
    assert upload.check(members, remap="3=2").mask_values == [0, 1, 2]

    volumes = nnunet_files(3, 10)
    volumes["labelsTr/case_001.nii.gz"] = nifti(np.full((10,) * 3, 7, np.int16))
    volumes["labelsTr/case_002.nii.gz"] = nifti(np.full((10,) * 3, -1, np.int16))
    fault = upload.faults(volumes, remap="-1=4")["labelsTr/case_001.nii.gz"]
    assert fault.hint == "dataset.json declares 0, 1; to make 7 background: remap=-1=4,7=0"
    assert upload.check(volumes, remap="-1=0,7=0").mask_values == [0, 1]


def test_the_only_class_under_another_value_is_offered_as_that_class(upload: Any) -> None:
    volumes = nnunet_files(2, 10)
    for name in [name for name in volumes if name.startswith("labelsTr")]:
        volumes[name] = nifti(np.eye(10, dtype=np.uint8)[None].repeat(10, 0) * np.uint8(255))
    hint = upload.faults(volumes)["labelsTr/case_000.nii.gz"].hint
    assert "to make 255 class 1: remap=255=1; to make it background: remap=255=0" in hint
    assert upload.check(volumes, remap="255=1").mask_values == [0, 1]


def test_labels_that_are_stored_with_a_scale_keep_their_values(tmp_path: Path) -> None:
    given = bytearray(nifti(labelled(1, 2), compressed=False))
    given[112:116] = struct.pack("<f", 2)  # scl_slope: 2 and 4 are meant
    (tmp_path / "given.nii").write_bytes(given)
    write_label(open_volume(tmp_path / "given.nii", 10**6), {4: 1}, tmp_path / "stored.nii.gz")
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "stored.nii.gz").dataobj), labelled(2, 1))


def test_an_offer_goes_on_from_what_was_asked_for() -> None:
    assert remap.composed({5: 3, 255: 1}, {3: 0}) == "remap=3=0,5=0,255=1"


def test_masks_of_many_greys_are_offered_a_threshold_alone(upload: Any) -> None:
    members = upload.good(3)
    members["masks/case 0.png"] = upload.encode(np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8))
    hint = upload.faults(members)["masks/case 0.png"].hint
    assert "mask_threshold" in hint and "remap" not in hint


def test_the_option_comes_with_uploads_in_parts_as_well(client: TestClient) -> None:
    body = {"name": "x", "size": 10, "remap": "3=0,3=1"}
    answer = client.post("/v1/uploads", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "remap"
    assert client.post("/v1/uploads", json={**body, "remap": "3=0"}).status_code == 201
