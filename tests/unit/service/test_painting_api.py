"""Slices of masks through the API, there and back: what is painted is what nibabel reads, whatever the file's axes."""

from __future__ import annotations

import base64
import gzip
import io
import itertools
from types import ModuleType
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.api.dependencies import Context
from service.axes import Axis
from service.db import jobs
from service.slices import Place, cut, extent, paste
from tests.records import succeed
from tests.volume_jobs import zipped
from tests.volumes import PIL as AFFINE_PIL
from tests.volumes import nifti
from workers.contract import keys
from workers.contract.request import JobSpec

JOB = "job-painted"
SHAPE = (5, 6, 7)
VALUES = [0, 300]
OBLIQUE = np.array([[0.1, -0.9, 0.1, 3], [0.8, 0.2, 0.3, -4], [-0.3, 0.1, 1.9, 5], [0, 0, 0, 1]])
# By the name of the sample: the affine, and the type of the label's voxels.
FILES = {
    "ras": (np.diag([1.0, 2, 3, 1]), np.dtype(np.uint8)),
    "lps": (np.diag([-1.0, -1, 2, 1]), np.dtype(np.int16)),
    "pil": (AFFINE_PIL, np.dtype(np.float32)),
    "oblique": (OBLIQUE, np.dtype(">i2")),
}


def labelled(name: str) -> np.ndarray:
    """The label of a sample, in the order of the file's axes; that of 8 bits cannot hold 300, so it is empty."""
    classes = np.random.default_rng(len(name)).integers(0, 1 if name == "ras" else 2, SHAPE)
    return np.array(VALUES)[classes]


def volume(name: str, values: np.ndarray) -> bytes:
    affine, kind = FILES[name]
    header = nib.Nifti1Header(endianness=">" if kind.byteorder == ">" else "<")
    header.set_data_dtype(kind)
    header.set_xyzt_units("mm")
    file = nib.Nifti1Image(values.astype(kind), affine, header)
    file.set_sform(affine, code=2)
    content: bytes = file.to_bytes()
    return content


@pytest.fixture
def version(client: TestClient, context: Context, scripted: ModuleType) -> str:
    """Path of a version with these files, over which `JOB` has succeeded: it predicts something in one corner."""
    members = {}
    for name in FILES:
        image = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
        members[f"images/{name}.nii.gz"] = nifti(image, FILES[name][0])
        members[f"masks/{name}.nii"] = volume(name, labelled(name))
    answer = client.post("/v1/datasets", data={"name": "odd"}, files={"file": ("x.zip", zipped(members))})
    assert answer.status_code == 201, answer.text
    assert answer.json()["newest"]["mask_values"] == VALUES
    dataset_id = answer.json()["id"]
    with context.sessions.begin() as session:
        job = jobs.add_job(session, JOB, JobSpec(dataset_id=dataset_id, epochs=1, patch_size=16))
        jobs.begin_attempt(session, job, f"{JOB}-1")
    scripted.write_epoch(context.store, JOB, 1, 0, len(FILES))
    for ordinal, name in enumerate(sorted(FILES)):
        context.store.put(keys.prediction(JOB, ordinal, "nii.gz"), nifti(predicted(), FILES[name][0]))
    succeed(context, JOB)
    return f"/v1/datasets/{dataset_id}/versions/1"


def predicted() -> np.ndarray:
    classes = np.zeros(SHAPE, np.uint8)
    classes[:2, 0, 0] = 1
    return classes


def mask(client: TestClient, sample: str, kind: str, axis: str, number: int) -> np.ndarray:
    answer = client.get(f"/v1/jobs/{JOB}/samples/{sample}/masks/{kind}", params={"axis": axis, "slice": number})
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def png(pixels: np.ndarray) -> str:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return base64.b64encode(sink.getvalue()).decode()


def piece(axis: str, number: int, pixels: np.ndarray) -> dict[str, Any]:
    return {"axis": axis, "slice": number, "png": png(pixels)}


def put(
    client: TestClient, version: str, sample: str, slices: list[dict[str, Any]], seen: int | str = 0, **more: Any
) -> httpx.Response:
    headers = {"If-Match": f'"{seen}"'}
    return client.put(f"{version}/samples/{sample}/review/slices", json={"slices": slices, **more}, headers=headers)


def corrected(client: TestClient, version: str, sample: str) -> nib.Nifti1Image:
    answer = client.get(f"{version}/samples/{sample}/review/mask")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/gzip"
    return nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))


def place_of(affine: np.ndarray, axis: str, number: int, row: int, column: int) -> tuple[int, ...]:
    """The voxel of a pixel by way of the patient: pixels run to the left and down, slices to right, front and head."""
    canonical = nib.as_closest_canonical(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), affine))
    right, front, head = canonical.shape
    voxel = {
        "axial": (right - 1 - column, front - 1 - row, number),
        "coronal": (right - 1 - column, number, head - 1 - row),
        "sagittal": (number, front - 1 - column, head - 1 - row),
    }[axis]
    world = nib.affines.apply_affine(canonical.affine, voxel)
    found = nib.affines.apply_affine(np.linalg.inv(affine), world)
    return tuple(np.round(found).astype(int).tolist())


@pytest.mark.parametrize("sample", FILES)
def test_one_pixel_is_one_voxel_whatever_the_file_s_axes(client: TestClient, version: str, sample: str) -> None:
    given = nib.Nifti1Image.from_bytes(volume(sample, labelled(sample)))
    seen = 0
    for axis in Axis:
        number = 2
        before = mask(client, sample, "label", axis, number)
        row, column = before.shape[0] - 2, 1  # in no middle, so that what is turned shows
        pixels = before.copy()
        pixels[row, column] = 1 - before[row, column]
        answer = put(client, version, sample, [piece(axis, number, pixels)], seen)
        assert answer.status_code == 200, answer.text
        seen = answer.json()["revision"]
        expected = labelled(sample)
        where = place_of(FILES[sample][0], axis, number, row, column)
        assert expected[where] == VALUES[before[row, column]]
        expected[where] = VALUES[pixels[row, column]]
        made = corrected(client, version, sample)
        np.testing.assert_array_equal(np.asanyarray(made.dataobj), expected)
        np.testing.assert_array_equal(made.affine, given.affine)
        assert made.get_data_dtype() == (np.uint16 if sample == "ras" else given.get_data_dtype())
        for field in ("dim", "pixdim", "qform_code", "sform_code", "xyzt_units"):
            np.testing.assert_array_equal(made.header[field], given.header[field])
        # What is shown of it is what was sent.
        np.testing.assert_array_equal(mask(client, sample, "correction", axis, number), pixels)


def test_every_way_that_a_file_can_lie() -> None:
    """All 48 orientations: nibabel's own turning of the file shows the slice that was put in, and no other change."""
    rng = np.random.default_rng(0)
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = np.eye(3)[list(order)] * signs
            voxels = rng.integers(0, 200, SHAPE, dtype=np.uint8)
            for number, axis in enumerate((Axis.SAGITTAL, Axis.CORONAL, Axis.AXIAL)):
                file = nib.Nifti1Image(voxels.copy(order="F"), affine)
                turned = np.asarray(nib.as_closest_canonical(file).dataobj).copy()
                count, height, width = extent(file, axis)
                assert count == turned.shape[number]
                plane = rng.integers(200, 255, (height, width), dtype=np.uint8)
                at = Place(axis, 3, count)
                paste(np.asarray(file.dataobj), affine, at, plane)
                np.testing.assert_array_equal(cut(file, at)[0], plane)
                turned[(slice(None),) * number + (3,)] = plane[::-1, ::-1].T
                np.testing.assert_array_equal(np.asarray(nib.as_closest_canonical(file).dataobj), turned)


def test_slices_that_cross_and_what_they_are_painted_on(client: TestClient, version: str) -> None:
    canonical = nib.as_closest_canonical(nib.Nifti1Image(predicted(), AFFINE_PIL))
    classes = np.asarray(canonical.dataobj).copy()
    right, front, head = classes.shape
    first, second = np.full((front, right), 1, np.uint8), np.full((head, right), 0, np.uint8)
    slices = [piece("axial", 4, first), piece("coronal", 1, second)]
    for base, job, under in (("prediction", JOB, classes), ("nothing", None, np.zeros_like(classes))):
        more = {"base": base} | ({"job_id": job} if job else {})
        answer = put(client, version, "pil", slices, review(client, version, "pil"), **more)
        assert answer.status_code == 200, answer.text
        expected = under.copy()
        expected[..., 4] = 1
        expected[:, 1] = 0  # later, so it is over the other
        got = nib.as_closest_canonical(corrected(client, version, "pil"))
        np.testing.assert_array_equal(np.asarray(got.dataobj), np.array(VALUES)[expected])
    # On the correction that is there now.
    answer = put(
        client, version, "pil", [piece("sagittal", 0, np.full((head, front), 1, np.uint8))], 2, base="correction"
    )
    assert answer.status_code == 200, answer.text
    expected[0] = 1
    got = nib.as_closest_canonical(corrected(client, version, "pil"))
    np.testing.assert_array_equal(np.asarray(got.dataobj), np.array(VALUES)[expected])
    # Undone step by step, and in the audit trail.
    undone = client.post(f"{version}/samples/pil/review:undo", headers={"If-Match": '"3"'}).json()
    assert (undone["decision"], undone["revision"]) == ("corrected", 4)
    entries = client.get("/v1/audit", params={"action": "review.decide"}).json()["entries"]
    assert [entry["details"]["decision"] for entry in entries] == ["corrected"] * 3
    # No slice at all: the base as it is.
    answer = put(client, version, "pil", [], 4, base="prediction", job_id=JOB)
    assert answer.status_code == 200, answer.text
    got = np.asarray(corrected(client, version, "pil").dataobj)
    np.testing.assert_array_equal(got, np.array(VALUES)[predicted()])


def review(client: TestClient, version: str, sample: str) -> int:
    return int(client.get(f"{version}/samples/{sample}/review").json()["revision"])


def test_what_cannot_be_painted_is_refused_and_nothing_is_saved(client: TestClient, version: str) -> None:
    good = mask(client, "ras", "label", "axial", 1) ^ 1
    wide = io.BytesIO()
    Image.fromarray(good.astype(np.uint16)).save(wide, "PNG")
    for bad, field, reason in (
        (piece("axial", 7, good), "slices.1.slice", "is 7; the volume has 7 axial slices, 0 to 6"),
        (piece("axial", 1, good), "slices.1.slice", "axial 1 is there twice"),
        (piece("axial", 2, good[:, :4]), "slices.1.png", "is 4 x 6, the slice 5 x 6 pixels"),
        (piece("axial", 2, np.full_like(good, 2)), "slices.1.png", "has the class 2; this dataset has 2, 0 to 1"),
        (piece("axial", 2, np.stack([good] * 3, -1)), "slices.1.png", "has colour mode RGB"),
        ({"axis": "axial", "slice": 2, "png": base64.b64encode(wide.getvalue()).decode()}, "slices.1.png", "I;16"),
        ({"axis": "axial", "slice": 2, "png": "bm8gUE5H"}, "slices.1.png", "is no PNG image"),
        ({"axis": "up", "slice": 2, "png": png(good)}, "slices.1.axis", "Input should be 'axial'"),
        ({"axis": "axial", "slice": -1, "png": png(good)}, "slices.1.slice", "greater than or equal to 0"),
        ({"axis": "axial", "slice": 2, "png": "a"}, "slices.1.png", "Invalid base64"),
        ({"axis": "axial", "slice": 2}, "slices.1.png", "Field required"),
    ):
        answer = put(client, version, "ras", [piece("axial", 1, good), bad])
        assert answer.status_code == 422, answer.text
        (fault,) = answer.json()["errors"]
        assert fault["field"] == field and reason in fault["reason"], fault
    for more, field in (
        ({"base": "prediction"}, "job_id"),
        ({"base": "label", "job_id": JOB}, "job_id"),
        ({"base": "prediction", "job_id": "job-none"}, "job_id"),
        ({"base": "correction"}, "base"),
        ({"base": "whatever"}, "base"),
        ({"colour": "red"}, "colour"),
        ({"note": "a\0b"}, "note"),
    ):
        answer = put(client, version, "ras", [piece("axial", 1, good)], **more)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), answer.text
    unchanged = put(client, version, "ras", [piece("axial", 1, good ^ 1)])
    assert unchanged.status_code == 422 and "changes nothing" in unchanged.json()["detail"]
    path = f"{version}/samples/ras/review/slices"
    assert client.put(path, content=b"{", headers={"If-Match": '"0"'}).status_code == 400
    assert client.put(path, json={"slices": [piece("axial", 1, good)]}).status_code == 428
    assert put(client, version, "ras", [piece("axial", 1, good)], 5).status_code == 412
    assert put(client, version, "nobody", [piece("axial", 1, good)]).status_code == 404
    assert review(client, version, "ras") == 0


def test_a_prediction_that_lies_elsewhere_is_not_painted_on(client: TestClient, context: Context, version: str) -> None:
    ordinal = sorted(FILES).index("ras")
    for elsewhere in (nifti(predicted(), FILES["lps"][0]), nifti(predicted()[:4], FILES["ras"][0])):
        context.store.put(keys.prediction(JOB, ordinal, "nii.gz"), elsewhere)
        answer = put(client, version, "ras", [], base="prediction", job_id=JOB)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["reason"] == "lies elsewhere than the label"
    context.store.put(keys.prediction(JOB, ordinal, "nii.gz"), b"\x1f\x8bdamaged")
    assert put(client, version, "ras", [], base="prediction", job_id=JOB).status_code == 404


def test_slices_of_masks(client: TestClient, context: Context, version: str, finished_job: str) -> None:
    base = f"/v1/jobs/{JOB}/samples/pil/masks"
    answer = client.get(f"{base}/label", params={"axis": "coronal", "slice": 3})
    assert answer.headers["content-type"] == "image/png"
    shown = {name: answer.headers[f"dale-{name}"] for name in ("slice", "slices", "aspect")}
    assert shown == {"slice": "3", "slices": "5", "aspect": "2"}  # the file's first axis; 2 mm high, 1 mm wide
    again = client.get(
        f"{base}/label", params={"axis": "coronal", "slice": 3}, headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    tags = {
        client.get(f"{base}/{kind}?axis={axis}&slice={number}").headers["etag"]
        for kind in ("label", "prediction")
        for axis in Axis
        for number in (1, 2)
    }
    assert len(tags) == 12
    picture = client.get(f"/v1/jobs/{JOB}/samples/pil/overlay?axis=coronal&slice=3&label=false&prediction=false")
    assert picture.headers["dale-aspect"] == "2"
    # Right to left and head to feet, by nibabel alone.
    turned = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(predicted(), AFFINE_PIL)).dataobj)
    np.testing.assert_array_equal(mask(client, "pil", "prediction", "coronal", 3), turned[:, 3].T[::-1, ::-1])
    assert client.get(f"{base}/correction?slice=1").status_code == 404
    for query, reason in (("", "is missing"), ("?slice=7", "is 7; the volume has 7 axial slices, 0 to 6")):
        answer = client.get(f"{base}/label{query}")
        assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (422, reason)
    of_image = client.get(f"/v1/jobs/{finished_job}/samples/case%201/masks/label?slice=1")
    assert of_image.json()["errors"][0]["reason"] == "is of volumes only"
    context.store.delete(keys.prediction(JOB, sorted(FILES).index("pil"), "nii.gz"))
    missing = client.get(f"{base}/prediction?axis=axial&slice=1")
    assert missing.status_code == 404 and "once it has succeeded" in missing.json()["detail"]


def test_images_are_not_painted_by_slices(client: TestClient, finished_job: str) -> None:
    dataset_id = client.get(f"/v1/jobs/{finished_job}").json()["spec"]["dataset_id"]
    answer = put(client, f"/v1/datasets/{dataset_id}/versions/1", "case 1", [])
    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (422, "are of volumes only")
