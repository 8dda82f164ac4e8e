"""Datasets of volumes over HTTP: upload, files, pictures of slices, pages, and jobs that do not fit them."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.api.dependencies import Context
from service.axes import Axis
from service.jobs import networks
from service.slices import Place, classes, cut, place
from tests.volume_jobs import COUNT, EDGE, finish_job, upload_volumes, volume_files, zipped
from workers.contract import keys
from workers.nifti import decode_labels, open_volume

KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def members() -> dict[str, bytes]:
    return volume_files()


@pytest.fixture
def dataset(client: TestClient) -> dict[str, Any]:
    return upload_volumes(client)


@pytest.fixture
def finished(context: Context, scripted: ModuleType, dataset: dict[str, Any]) -> str:
    return finish_job(context, scripted, dataset["id"])


def test_upload_and_read_back(client: TestClient, dataset: dict[str, Any], members: dict[str, bytes]) -> None:
    newest = dataset["newest"]
    assert (newest["layout"], newest["spatial_dims"], newest["sample_count"]) == ("nnunet", 3, COUNT)
    assert newest["mask_values"] == [0, 1]
    assert [warning["reason"] for warning in newest["warnings"]] == ["is empty"]
    for row in client.get(newest["samples"]).json()["samples"]:
        assert (row["width"], row["height"], row["depth"], row["spacing"]) == (EDGE, EDGE, EDGE, [0.5, 1, 2])
        for part, file in (
            ("image", f"imagesTr/{row['sample']}_0000.nii.gz"),
            ("mask", f"labelsTr/{row['sample']}.nii.gz"),
        ):
            got = client.get(row[part])
            assert got.content == members[file]
            assert got.headers["content-type"] == "application/gzip"
            assert got.headers["etag"] == f'"{hashlib.sha256(members[file]).hexdigest()}"'


def test_the_layout_is_a_field(client: TestClient, members: dict[str, bytes]) -> None:
    def post(layout: str) -> Any:
        fields = {"name": "balls", "layout": layout}
        return client.post("/v1/datasets", data=fields, files={"file": ("x.zip", zipped(members))})

    assert post("nnunet").status_code == 201
    assert "no images/ and masks/" in post("folders").json()["errors"][0]["reason"]
    assert post("bids").json()["errors"][0]["field"] == "layout"


def picture(answer: Any) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_pictures_show_one_slice(client: TestClient, finished: str) -> None:
    base = f"/v1/jobs/{finished}/samples/case_000/overlay"
    label = nib.as_closest_canonical(nib.Nifti1Image.from_bytes(_label(client, finished)))
    for axis, number in (("axial", 2), ("coronal", 1), ("sagittal", 0)):
        answer = client.get(base, params={"axis": axis})
        others = tuple(other for other in range(3) if other != number)
        filled = np.count_nonzero(np.asarray(label.dataobj), axis=others)
        assert filled[int(answer.headers["dale-slice"])] == filled.max()
        assert answer.headers["dale-slices"] == str(EDGE)
        assert answer.headers["dale-prediction"] == "shown"
        width, height = picture(answer).size
        sizes = [size for other, size in enumerate((1, 0.5, 2)) if other != number]  # mm in RAS order
        assert width / height == pytest.approx(sizes[0] / sizes[1], rel=0.02)
        again = client.get(base, params={"axis": axis}, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    one, other = (client.get(base, params={"slice": number, "format": "png"}) for number in (3, 4))
    assert one.headers["dale-slice"] == "3"
    assert one.content != other.content and one.headers["etag"] != other.headers["etag"]


def _label(client: TestClient, job_id: str) -> bytes:
    dataset_id = client.get(f"/v1/jobs/{job_id}").json()["spec"]["dataset_id"]
    return gzip.decompress(client.get(f"/v1/datasets/{dataset_id}/versions/1/samples/case_000/mask").content)


def test_where_the_label_is_empty_the_prediction_decides(client: TestClient, finished: str) -> None:
    answer = client.get(f"/v1/jobs/{finished}/samples/case_005/overlay")
    # Plane 2 of a third axis that points downwards, counted upwards.
    assert answer.headers["dale-slice"] == str(EDGE - 1 - 2)


def test_slices_that_are_not_there(client: TestClient, finished: str, finished_job: str) -> None:
    answer = client.get(f"/v1/jobs/{finished}/samples/case_000/overlay?slice={EDGE}")
    assert answer.status_code == 422
    fault = answer.json()["errors"][0]
    assert (fault["field"], fault["reason"]) == ("slice", "is 10; the volume has 10 axial slices, 0 to 9")
    answer = client.get(f"/v1/jobs/{finished_job}/samples/case%201/overlay?slice=1")
    assert answer.json()["errors"][0]["reason"] == "is of volumes only"
    assert client.get(f"/v1/jobs/{finished}/samples/case_000/overlay?axis=up").status_code == 422


def test_pictures_without_a_prediction_or_files(client: TestClient, context: Context, finished: str) -> None:
    context.store.delete(keys.prediction(finished, 0, "nii.gz"))
    answer = client.get(f"/v1/jobs/{finished}/samples/case_000/overlay")
    assert (answer.headers["dale-prediction"], "etag" in answer.headers) == ("none", False)
    context.store.put(keys.prediction(finished, 1, "nii.gz"), b"\x1f\x8bdamaged")
    assert client.get(f"/v1/jobs/{finished}/samples/case_001/overlay").status_code == 404


def test_pages(stranger: TestClient, context: Context, finished: str) -> None:
    stranger.post("/login", data={"key": KEY, "next": "/"})
    assert "patches of 16 voxels" in stranger.get(f"/jobs/{finished}").text
    path = f"/jobs/{finished}/samples/case_005"
    page = stranger.get(path)
    assert page.status_code == 200
    assert f'max="{EDGE - 1}" value="{EDGE - 3}"' in page.text
    sources = re.findall(r'<img src="(/v1/[^"]*)"', page.text)
    assert len(sources) == 2
    for source in sources:
        assert stranger.get(source.replace("&amp;", "&")).headers["dale-slice"] == str(EDGE - 3)
    chosen = stranger.get(f"{path}?axis=coronal&slice=4").text
    assert "axis=coronal&amp;slice=4" in chosen and "<option selected>coronal" in chosen
    for bad in ("slice=99", "slice=-1", "axis=up", "slice=²", "slice=", "slice=" + "9" * 5000):
        assert f'value="{EDGE - 3}"' in stranger.get(f"{path}?{bad}").text
    for key in list(context.store.list("datasets/")):
        context.store.delete(key)
    assert stranger.get(path).status_code == 200


def test_jobs_that_do_not_fit_the_dataset(
    client: TestClient, dataset: dict[str, Any], context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def build(network: str, size: int, classes: int, channels: int, spatial_dims: int) -> str:
        asked.append((size, classes, channels, spatial_dims))
        return "too small"

    monkeypatch.setattr(networks, "_build", build)
    fault = client.post("/v1/jobs", json={"dataset_id": dataset["id"], "image_size": 64}).json()["errors"][0]
    assert (fault["field"], "patch_size" in fault["hint"]) == ("image_size", True)
    object.__setattr__(context.settings, "network_check", True)
    answer = client.post("/v1/jobs", json={"dataset_id": dataset["id"], "patch_size": 48}).json()
    assert (answer["errors"][0]["field"], answer["errors"][0]["reason"]) == ("patch_size", "too small")
    assert "patches of 48 x 48 x 48" in answer["detail"]
    assert asked == [(48, 2, 1, 3)]


def test_images_have_no_patches(client: TestClient, add_dataset: Callable[..., str]) -> None:
    fault = client.post("/v1/jobs", json={"dataset_id": add_dataset(), "patch_size": 48}).json()["errors"][0]
    assert (fault["field"], "image_size" in fault["hint"]) == ("patch_size", True)


def test_slices_lie_where_workers_see_them() -> None:
    """Any orientation: a slice is a plane of the array (D, H, W) in RAS+, seen from the usual side."""
    mask = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    for turn in (np.eye(3), [[0, 0, 1], [1, 0, 0], [0, 1, 0]], [[0, -1, 0], [0, 0, 1], [-1, 0, 0]]):
        affine = np.eye(4)
        affine[:3, :3] = turn
        file = nib.Nifti1Image(mask, affine)
        seen = decode_labels(open_volume(file.to_bytes()), [0, 1, 2])
        for axis, planes in (
            (Axis.AXIAL, seen),
            (Axis.CORONAL, seen.swapaxes(0, 1)),
            (Axis.SAGITTAL, seen.transpose(2, 0, 1)),
        ):
            at = place(axis, 1, [file])
            assert at == Place(axis, 1, len(planes))
            plane, aspect = cut(file, at)
            np.testing.assert_array_equal(plane, planes[1][::-1, ::-1])
            assert aspect == 1


def test_values_beyond_8_bits_stay_apart() -> None:
    np.testing.assert_array_equal(classes(np.array([[256, 900], [512, 256]])), [[1, 3], [2, 1]])


def test_a_prediction_takes_the_place_of_a_volumes_label(
    client: TestClient, context: Context, dataset: dict[str, Any], finished: str
) -> None:
    version = f"/v1/datasets/{dataset['id']}/versions/1"
    answer = client.put(
        f"{version}/samples/case_001/review",
        json={"decision": "corrected", "job_id": finished},
        headers={"If-Match": '"0"'},
    )
    assert answer.status_code == 200, answer.text
    done = client.post(f"{version}/reviews:finish", json={})
    assert done.status_code == 201, done.text
    predicted = context.store.get(keys.prediction(finished, 1, "nii.gz"))
    mask = client.get(f"/v1/datasets/{dataset['id']}/versions/2/samples/case_001/mask").content
    assert np.array_equal(decode_labels(open_volume(mask), [0, 1]), decode_labels(open_volume(predicted), [0, 1]))
    assert np.array_equal(open_volume(mask).affine, open_volume(predicted).affine)
