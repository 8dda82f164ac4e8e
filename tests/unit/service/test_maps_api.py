"""Which pixels are doubted: as they are stored, and drawn over the picture."""

from __future__ import annotations

import gzip
import io
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service import heat
from service.api.dependencies import Context
from service.db import jobs
from tests.volume_jobs import EDGE, finish_job, upload_volumes
from tests.volumes import PIL
from workers.contract import keys
from workers.contract.request import JobSpec

SAMPLE = "/v1/jobs/job-pages/samples/case%202"  # ordinal 3: its label lies beside the disc


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def queued(context: Context, finished_job: str) -> str:
    """A job over the same samples that waits."""
    with context.sessions.begin() as session:
        jobs.add_job(session, "job-queued", JobSpec(dataset_id="ds-pages"))
    return "job-queued"


@pytest.fixture
def volumes(client: TestClient, context: Context, scripted: ModuleType) -> str:
    return finish_job(context, scripted, upload_volumes(client)["id"])


def test_a_map_comes_as_it_is_stored(client: TestClient, context: Context, finished_job: str) -> None:
    answer = client.get(f"{SAMPLE}/map")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == context.store.get(keys.doubt_map(finished_job, 3))
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert client.get("/v1/jobs/job-pages/samples/case%202").json()["links"]["map"] == f"{SAMPLE}/map"
    again = client.get(f"{SAMPLE}/map", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"{SAMPLE.replace('202', '201')}/map").headers["etag"] != answer.headers["etag"]


def test_a_map_of_a_volume_lies_where_the_volume_lies(client: TestClient, volumes: str) -> None:
    answer = client.get(f"/v1/jobs/{volumes}/samples/case_000/map")
    assert answer.headers["content-type"] == "application/gzip"
    file = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    np.testing.assert_array_equal(file.affine, PIL)
    assert file.shape == (EDGE,) * 3


def test_why_there_is_no_map(client: TestClient, context: Context, finished_job: str, queued: str) -> None:
    answer = client.get(SAMPLE.replace("job-pages", queued) + "/map")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "Job job-queued is QUEUED: it has a map of sample 'case 2' once it has succeeded."
    context.store.delete(keys.doubt_map(finished_job, 3))
    answer = client.get(f"{SAMPLE}/map")
    assert answer.status_code == 404
    assert "older than the maps" in answer.json()["detail"] and "Train again" in answer.json()["detail"]


def test_the_map_is_drawn_where_there_is_doubt(client: TestClient, finished_job: str) -> None:
    plain = {"size": 64, "label": False, "prediction": False, "format": "png"}
    bare = client.get(f"{SAMPLE}/overlay", params=plain)
    drawn = client.get(f"{SAMPLE}/overlay", params={**plain, "map": True, "map_opacity": 1})
    assert (bare.headers["dale-map"], drawn.headers["dale-map"]) == ("off", "shown")
    doubt = pixels(client.get(f"{SAMPLE}/map").content)
    stretched = np.asarray(Image.fromarray(doubt).resize((64, 48), Image.Resampling.BILINEAR))
    cover = stretched[..., None] / 255
    expected = pixels(bare.content) * (1 - cover) + heat.TABLE[stretched] * cover
    np.testing.assert_allclose(pixels(drawn.content), expected, atol=0.51)
    assert np.array_equal(pixels(drawn.content)[stretched == 0], pixels(bare.content)[stretched == 0])


def test_each_way_to_draw_it_has_its_etag(client: TestClient, finished_job: str) -> None:
    found = {}
    for way in ({}, {"map": True}, {"map": True, "map_opacity": 0.5}, {"map": False, "map_opacity": 0.5}):
        answer = client.get(f"{SAMPLE}/overlay", params=way)
        found[answer.headers["etag"]] = answer.content
        again = client.get(f"{SAMPLE}/overlay", params=way, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    assert len(found) == len(set(found.values())) == 3, "without a map its opacity changes nothing"
    for opacity in ("-0.1", "1.1", "nan", "inf", "x"):
        assert client.get(f"{SAMPLE}/overlay?map=true&map_opacity={opacity}").status_code == 422


def test_pictures_say_that_there_is_no_map(
    client: TestClient, context: Context, finished_job: str, queued: str
) -> None:
    answer = client.get(SAMPLE.replace("job-pages", queued) + "/overlay?map=true")
    assert (answer.status_code, answer.headers["dale-map"]) == (200, "not-yet")
    context.store.delete(keys.doubt_map(finished_job, 3))
    answer = client.get(f"{SAMPLE}/overlay?map=true")
    assert (answer.status_code, answer.headers["dale-map"], answer.headers["dale-prediction"]) == (200, "none", "shown")
    assert "etag" not in answer.headers, "it may come back"
    assert "etag" in client.get(f"{SAMPLE}/overlay").headers


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_slices_of_a_volume_show_their_part_of_the_map(client: TestClient, volumes: str, axis: str) -> None:
    """In the same place as nibabel has it, turned to the patient's axes."""
    plain = {"axis": axis, "size": 256, "label": False, "prediction": False, "format": "png"}
    base = f"/v1/jobs/{volumes}/samples/case_000"
    file = nib.Nifti1Image.from_bytes(gzip.decompress(client.get(f"{base}/map").content))
    turned = np.asarray(nib.as_closest_canonical(file).dataobj)
    number = {"sagittal": 0, "coronal": 1, "axial": 2}[axis]
    for slice_ in range(EDGE):
        bare = client.get(f"{base}/overlay", params={**plain, "slice": slice_})
        drawn = client.get(f"{base}/overlay", params={**plain, "slice": slice_, "map": True})
        doubted = turned.take(slice_, axis=number).T[::-1, ::-1]
        height, width = pixels(bare.content).shape[:2]
        stretched = np.asarray(Image.fromarray(doubted).resize((width, height), Image.Resampling.BILINEAR))
        changed = (pixels(bare.content) != pixels(drawn.content)).any(2)
        assert drawn.headers["dale-map"] == "shown"
        assert not changed[stretched == 0].any()
        assert doubted.any() == changed.any()
        assert changed[stretched > 60].all()


def test_a_volume_without_its_map(client: TestClient, context: Context, volumes: str) -> None:
    context.store.delete(keys.doubt_map(volumes, 0, "nii.gz"))
    answer = client.get(f"/v1/jobs/{volumes}/samples/case_000/overlay?map=true")
    assert (answer.status_code, answer.headers["dale-map"], "etag" in answer.headers) == (200, "none", False)


def test_colours_grow_lighter_with_doubt_and_are_no_greys() -> None:
    luminance = heat.TABLE @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    assert np.ptp(heat.TABLE, axis=1).min() > 100
    assert (heat.TABLE[:, 2] > heat.TABLE[:, 0]).all(), "bluer than red, as no tissue is"


def test_no_doubt_or_no_opacity_leaves_the_picture() -> None:
    canvas = np.full((20, 30, 3), 100, np.uint8)
    doubt = np.zeros((2, 3), np.uint8)
    heat.lay(canvas, doubt, 1.0)
    assert (canvas == 100).all()
    doubt[:] = 255
    heat.lay(canvas, doubt, 0.0)
    assert (canvas == 100).all()
    heat.lay(canvas, doubt, 1.0)
    assert (canvas == heat.COLOURS[-1]).all()
