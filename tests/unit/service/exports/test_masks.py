"""Masks out in the layout of the upload, and by `dale correct` back in."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.api.dependencies import Context
from service.db import jobs
from service.db.tables import DEFAULT_PROJECT, DatasetVersion
from service.exports.as_masks import _converted
from tests.conftest import png
from tests.volume_jobs import EDGE, finish_job, upload_volumes
from tests.volumes import nifti

VERSION = "/v1/datasets/ds-out/versions/1"


@pytest.fixture
def job(finish_job: Callable[..., str]) -> str:
    return finish_job("ds-out", "job-out", DEFAULT_PROJECT)


def drawn() -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8)
    mask[5:30, 7:50] = 255
    return mask


def correct(client: TestClient, sample: str, content: bytes) -> None:
    answer = client.put(f"{VERSION}/samples/{sample}/review/mask", content=content, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text


def export(client: TestClient, **query: object) -> zipfile.ZipFile:
    answer = client.get("/v1/jobs/job-out/export", params={"format": "masks", **query})
    assert answer.status_code == 200, answer.text
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return archive


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.usefixtures("job")
def test_corrected_masks_make_the_next_version(client: TestClient) -> None:
    correct(client, "case 1", png(drawn()))
    with export(client) as archive:
        assert archive.namelist() == ["masks/case 1.png"]
        assert np.array_equal(pixels(archive.read("masks/case 1.png")), drawn())
        content = archive.fp.getvalue()  # type: ignore[union-attr]
    answer = client.post("/v1/datasets/ds-out/versions", files={"file": ("masks.zip", content)})
    assert answer.status_code == 201, answer.text
    changes = client.get(f"{VERSION}/diff/2").json()
    assert [row["sample"] for row in changes["samples"]] == ["case 1"] and changes["relabelled"] == 1
    assert np.array_equal(pixels(client.get("/v1/datasets/ds-out/versions/2/samples/case 1/mask").content), drawn())


@pytest.mark.usefixtures("job")
def test_all_masks_are_those_that_hold(client: TestClient) -> None:
    correct(client, "case 1", png(drawn()))
    with export(client, all=True) as archive:
        assert len(archive.namelist()) == 6
        for sample in (row["sample"] for row in client.get(f"{VERSION}/samples").json()["samples"]):
            kept = pixels(archive.read(f"masks/{sample}.png"))
            url = f"{VERSION}/samples/{sample}/mask".replace("&", "%26")
            label = drawn() if sample == "case 1" else pixels(client.get(url).content)
            assert np.array_equal(kept, label), sample


@pytest.mark.usefixtures("job")
def test_nnunet_keeps_folder_and_ending(client: TestClient, context: Context) -> None:
    with context.sessions.begin() as session:
        version = session.get_one(DatasetVersion, ("ds-out", 1))
        version.layout = "nnunet"
        assert jobs.get_job(session, "job-out") is not None
    sink = io.BytesIO()
    Image.fromarray(drawn()).save(sink, "TIFF")
    correct(client, "case 1", sink.getvalue())
    with export(client) as archive:
        assert archive.namelist() == ["labelsTr/case 1.png"]
        content = archive.read("labelsTr/case 1.png")
    assert content.startswith(b"\x89PNG") and np.array_equal(pixels(content), drawn())


def test_corrected_volumes_make_the_next_version(client: TestClient, context: Context, scripted: ModuleType) -> None:
    dataset = upload_volumes(client)["id"]
    job = finish_job(context, scripted, dataset)
    version = f"/v1/datasets/{dataset}/versions/1"
    mask = np.zeros((EDGE,) * 3, np.uint8)
    mask[2:5, 3:9, 1:4] = 1
    for sample, content in (("case_001", nifti(mask)), ("case_002", gzip.decompress(nifti(mask)))):
        answer = client.put(f"{version}/samples/{sample}/review/mask", content=content, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
    exported = client.get(f"/v1/jobs/{job}/export", params={"format": "masks"})
    with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
        assert sorted(archive.namelist()) == ["labelsTr/case_001.nii.gz", "labelsTr/case_002.nii.gz"]
        for name in archive.namelist():
            volume = nib.Nifti1Image.from_bytes(gzip.decompress(archive.read(name)))
            assert np.array_equal(np.asanyarray(volume.dataobj), mask)
    answer = client.post(f"/v1/datasets/{dataset}/versions", files={"file": ("x.zip", exported.content)})
    assert answer.status_code == 201, answer.text
    changes = client.get(f"{version}/diff/2").json()
    assert sorted(row["sample"] for row in changes["samples"]) == ["case_001", "case_002"]
    whole = client.get(f"/v1/jobs/{job}/export", params={"format": "masks", "all": True})
    assert len(zipfile.ZipFile(io.BytesIO(whole.content)).namelist()) == 6
    for kind in ("coco", "cvat", "label-studio", "fiftyone"):
        refused = client.get(f"/v1/jobs/{job}/export", params={"format": kind})
        assert refused.status_code == 422 and "masks" in refused.json()["errors"][0]["hint"], kind


def test_volumes_are_packed_as_their_labels() -> None:
    plain = nib.Nifti1Image(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.eye(4)).to_bytes()
    packed = _converted(plain, ".nii.gz")
    assert gzip.decompress(packed) == plain == _converted(packed, ".nii")


@pytest.mark.usefixtures("job")
def test_what_makes_no_sense_is_refused(client: TestClient) -> None:
    for query in ({"format": "masks", "decision": "flagged"}, {"format": "csv", "all": True}):
        answer = client.get("/v1/jobs/job-out/export", params=query)
        assert answer.status_code == 422 and answer.json()["errors"][0]["hint"], answer.text
    answer = client.post("/v1/jobs/job-out/import", params={"format": "masks"}, content=b"x")
    assert answer.status_code == 422 and "dale correct" in answer.text
