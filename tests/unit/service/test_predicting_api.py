"""Predicting over HTTP says what the trained network says of the same files, and refuses what it cannot use."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from scipy.special import softmax
from scipy.stats import entropy

from service.api.dependencies import Context
from service.db import access, projects
from service.db.tables import DEFAULT_PROJECT
from service.predictions.limits import PredictionLimits
from service.predictions.predictor import Predictor
from service.predictions.sessions import Loaded, ModelFile, Sessions
from service.roles import Role
from service.settings import Settings
from tests.served_models import KINDS, exported, serve
from tests.unit.service.scraping import Sample
from workers import predict as trained
from workers.contract.answers import uncertainty
from workers.contract.store_local import LocalStore
from workers.export.comparison import by_network
from workers.export.workplace import Workplace

URL = "/v1/models/job-onnx:predict"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workplace]:
    """Each kind of model, made when it is first asked for."""
    made: dict[str, Workplace] = {}

    def model(kind: str) -> Workplace:
        if kind not in made:
            made[kind] = exported(tmp_path_factory.mktemp("model"), kind)
        return made[kind]

    return model


@pytest.fixture
def image_model(
    client: TestClient, context: Context, finish_job: Callable[..., str], models: Callable[[str], Workplace]
) -> Workplace:
    """The model of RGB images, served as `job-onnx`."""
    workplace = models("images")
    serve(context, finish_job, workplace)
    return workplace


@pytest.fixture
def volume_model(
    client: TestClient, context: Context, finish_job: Callable[..., str], models: Callable[[str], Workplace]
) -> Workplace:
    """The model of volumes of one channel, served as `job-onnx`."""
    workplace = models("volumes")
    serve(context, finish_job, workplace)
    return workplace


def parts(files: list[Path]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (path.name, path.read_bytes())) for path in files]


def by_the_command(workplace: Workplace, files: list[Path], folder: Path) -> bytes:
    """What `python -m workers.predict`, by torch, makes of the same files."""
    images, out = folder / "images", folder / "out"
    images.mkdir(parents=True)
    ending = ".nii.gz" if workplace.about()["spatial_dims"] == 3 else ".png"
    for number, path in enumerate(files):
        name = "case" if len(files) == 1 else f"case_{number:04}"
        (images / f"{name}{ending}").write_bytes(path.read_bytes())
    assert trained.main(["--model", str(workplace.root), "--images", str(images), "--out", str(out)]) == 0
    (written,) = out.iterdir()
    return written.read_bytes()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def volume(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_those_of_the_trained_network(
    kind: str,
    client: TestClient,
    context: Context,
    finish_job: Callable[..., str],
    models: Callable[[str], Workplace],
    tmp_path: Path,
) -> None:
    workplace = models(kind)
    serve(context, finish_job, workplace)
    about = workplace.about()
    seen = set()
    for number, files in enumerate(workplace.cases()):
        answer = client.post(URL, files=parts(files))
        assert answer.status_code == 200, answer.text
        truth = by_the_command(workplace, files, tmp_path / str(number))
        if about["spatial_dims"] == 3:
            assert answer.headers["content-type"] == "application/gzip"
            own, wanted, source = volume(answer.content), volume(truth), nib.Nifti1Image.from_filename(files[0])
            np.testing.assert_array_equal(own.affine, source.affine)
            assert own.shape == source.shape
            own, wanted = np.asarray(own.dataobj), np.asarray(wanted.dataobj)
        else:
            assert answer.headers["content-type"] == "image/png"
            own, wanted = pixels(answer.content), pixels(truth)
            assert own.shape == Image.open(files[0]).size[::-1]
        assert (own != wanted).mean() < 1e-3  # where two classes are equally probable
        seen |= set(np.unique(own).tolist())
    assert seen == set(about["mask_values"])


def test_a_raw_body_is_one_file(client: TestClient, image_model: Workplace) -> None:
    for files in image_model.cases():
        raw = client.post(URL, content=files[0].read_bytes(), headers={"Content-Type": "image/png"})
        assert raw.status_code == 200, raw.text
        assert raw.content == client.post(URL, files=parts(files)).content
    jpeg, tiff = io.BytesIO(), io.BytesIO()
    with Image.open(image_model.cases()[0][0]) as image:
        image.save(jpeg, "JPEG")
        image.save(tiff, "TIFF")
    for kind, sink in (("image/jpeg", jpeg), ("image/tiff", tiff)):
        answer = client.post(URL, content=sink.getvalue(), headers={"Content-Type": kind})
        assert answer.status_code == 200
    assert pixels(answer.content).shape == (45, 70)


def test_probabilities_and_uncertainty_of_an_image(client: TestClient, image_model: Workplace) -> None:
    files = image_model.cases()[1]
    truth = by_network(image_model.about(), trained.load_model(image_model.root)[0])(files).probabilities
    answer = client.post(f"{URL}?output=probabilities&output=uncertainty&output=mask", files=parts(files))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.namelist() == ["probabilities.npz", "uncertainty.png", "mask.png"]
    found = np.load(io.BytesIO(archive.read("probabilities.npz")))["probabilities"]
    assert (found.shape, found.dtype) == (truth.shape, np.float32)
    np.testing.assert_allclose(found, truth, atol=1e-4)
    levels = pixels(archive.read("uncertainty.png")) / 65535
    np.testing.assert_allclose(levels, entropy(truth, axis=0) / np.log(2), atol=1e-3)
    alone = client.post(f"{URL}?output=uncertainty", files=parts(files))
    assert alone.content == archive.read("uncertainty.png")
    assert client.post(URL, files=parts(files)).content == archive.read("mask.png")


def test_probabilities_and_uncertainty_of_a_volume_lie_where_it_does(
    client: TestClient, volume_model: Workplace
) -> None:
    for files in volume_model.cases():
        answers = {
            output: client.post(f"{URL}?output={output}", files=parts(files))
            for output in ("mask", "probabilities", "uncertainty")
        }
        opened = {output: volume(answer.content) for output, answer in answers.items()}
        source = nib.Nifti1Image.from_filename(files[0])
        for one in opened.values():
            np.testing.assert_array_equal(one.affine, source.affine)
        probabilities = opened["probabilities"].get_fdata()
        assert probabilities.shape == (*source.shape, 2)
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
        # Both in the orientation of the file: so the mask is where the second class is the more probable.
        np.testing.assert_array_equal(probabilities.argmax(-1) * 255, np.asarray(opened["mask"].dataobj))
        np.testing.assert_allclose(
            opened["uncertainty"].get_fdata(), entropy(probabilities, axis=-1) / np.log(2), atol=1e-4
        )


@pytest.mark.parametrize("kind", ["images", "volumes"])
def test_flips_are_the_mean_over_mirror_images(
    kind: str, client: TestClient, context: Context, finish_job: Callable[..., str], models: Callable[[str], Workplace]
) -> None:
    serve(context, finish_job, models(kind))
    random = np.random.default_rng(0)
    shape = (32, 32, 3) if kind == "images" else (16, 16, 16)  # as the network takes it: nothing is resized or padded
    values = random.integers(0, 256, shape, dtype=np.uint8)

    def probabilities(array: np.ndarray, more: str = "") -> np.ndarray:
        sink = io.BytesIO()
        if kind == "images":
            Image.fromarray(array).save(sink, "PNG")
        else:
            sink.write(nib.Nifti1Image(array, np.eye(4)).to_bytes())
        answer = client.post(f"{URL}?output=probabilities{more}", files={"file": ("x", sink.getvalue())})
        if kind == "images":
            return np.load(io.BytesIO(answer.content))["probabilities"].transpose(1, 2, 0)  # type: ignore[no-any-return]
        return volume(answer.content).get_fdata()

    axes = range(2 if kind == "images" else 3)
    flips = [some for count in range(4) for some in itertools.combinations(axes, count)]
    mean = np.mean([np.flip(probabilities(np.flip(values, flip)), flip) for flip in flips], axis=0)
    np.testing.assert_allclose(probabilities(values, "&flips=true"), mean, atol=1e-5)
    assert np.abs(probabilities(values) - mean).max() > 1e-3


def test_uncertainty_is_between_0_and_1() -> None:
    logits = np.random.default_rng(0).normal(0, 5, (4, 50, 60))
    probabilities = softmax(logits, axis=0).astype(np.float32)
    np.testing.assert_allclose(uncertainty(probabilities), entropy(probabilities, axis=0) / np.log(4), atol=1e-5)
    assert uncertainty(np.array([[1.0], [0.0]], dtype=np.float32)) == 0
    assert uncertainty(np.full((3, 1), 1 / 3, dtype=np.float32)) == pytest.approx(1)


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is that large, and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def fault_of(answer: httpx.Response, status: int = 422) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    (fault,) = answer.json()["errors"]
    return fault  # type: ignore[no-any-return]


def test_bad_images_are_refused(client: TestClient, image_model: Workplace) -> None:
    good = image_model.cases()[0][0].read_bytes()

    def refused(content: bytes, kind: str = "image/png") -> dict[str, Any]:
        return fault_of(client.post(URL, content=content, headers={"Content-Type": kind}))

    assert "cannot be decoded" in refused(good[: len(good) // 2])["reason"]
    assert refused(png_of(9000, 9000)) == {
        "file": "body",
        "field": "file",
        "reason": "has 9000 x 9000 pixels",
        "hint": f"at most {192 * 2**20 // 5} pixels are accepted",
    }
    assert "is not a PNG, JPEG or TIFF image" in refused(b"GIF89a")["reason"]
    assert "is not a PNG" in refused(b"")["reason"]
    wrong = refused(good, "text/plain")
    assert (wrong["field"], "curl" in wrong["hint"]) == ("Content-Type", True)
    two = fault_of(client.post(URL, files=[("file", ("a.png", good)), ("file", ("b.png", good))]))
    assert two["reason"] == "there are 2, the model takes 1"
    assert "part named 'file'" in fault_of(client.post(URL, files={"image": ("a.png", good)}))["hint"]
    assert "part named 'file'" in fault_of(client.post(URL, files={"file": (None, "text")}))["hint"]
    answer = client.post(f"{URL}?output=everything", content=good, headers={"Content-Type": "image/png"})
    assert "uncertainty" in fault_of(answer)["reason"]


def test_channels_show_the_same_pixels(
    client: TestClient, context: Context, finish_job: Callable[..., str], models: Callable[[str], Workplace]
) -> None:
    workplace = models("images of two channels")
    serve(context, finish_job, workplace)
    first, second, *_ = workplace.cases()
    fault = fault_of(client.post(URL, files=parts([first[0], second[1]])))
    assert fault["reason"] == "the channels have 70 x 45 and 301 x 180 pixels"
    fault = fault_of(client.post(URL, files=parts(first[:1])))
    assert fault["hint"] == "one file for each channel, in this order: channel-0, channel-1"
    colour = models("images").cases()[0][0]
    assert "colour mode RGB" in fault_of(client.post(URL, files=parts([colour, first[1]])))["reason"]


def test_bad_volumes_are_refused(client: TestClient, app: FastAPI, volume_model: Workplace) -> None:
    path = volume_model.cases()[0][0]
    plain = gzip.decompress(path.read_bytes())
    bare = client.post(URL, content=plain, headers={"Content-Type": "application/octet-stream"})
    assert bare.content == client.post(URL, files=parts([path])).content  # a .nii is as good as a .nii.gz

    def refused(content: bytes) -> str:
        reason: str = fault_of(client.post(URL, content=content, headers={"Content-Type": "application/gzip"}))[
            "reason"
        ]
        return reason

    assert "cannot be unpacked" in refused(path.read_bytes()[:-2000])
    assert "Expected" in refused(gzip.compress(plain[:-2000]))
    assert "packed twice" in refused(gzip.compress(path.read_bytes()))
    assert "not a NIfTI file" in refused(b"x" * 1000)
    values = np.zeros((4, 5, 6), dtype=np.float32)
    values[1, 2, 3] = np.nan
    assert "not finite" in refused(gzip.compress(nib.Nifti1Image(values, np.eye(4)).to_bytes()))
    assert "not three axes" in refused(nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.uint8), np.eye(4)).to_bytes())
    app.state.predictor = predictor_of(app, max_values=4096 * 3)
    assert "unpacks to more than" in refused(gzip.compress(plain[:352] + bytes(2 << 20)))
    assert "40 x 30 x 25 voxels" in refused(plain)


def predictor_of(app: FastAPI, **limits: Any) -> Predictor:
    context: Context = app.state.context
    given = PredictionLimits(**limits)
    return Predictor(context.store, given, context.settings.import_limits, app.state.predictor._metrics)


def test_a_body_beyond_the_limit_is_not_received(
    settings: Settings, client: TestClient, image_model: Workplace
) -> None:
    length = settings.predictions.max_body_bytes + 1
    answer = client.post(URL, content=b"x", headers={"Content-Type": "image/png", "Content-Length": str(length)})
    assert answer.status_code == 413


def test_what_takes_too_long_is_given_up(client: TestClient, app: FastAPI, volume_model: Workplace) -> None:
    app.state.predictor = predictor_of(app, seconds=1e-6)
    fault = fault_of(client.post(URL, files=parts(volume_model.cases()[0])), 413)
    assert "onnx.zip" in fault["hint"]


def test_models_that_cannot_predict(
    client: TestClient, context: Context, finish_job: Callable[..., str], image_model: Workplace, app: FastAPI
) -> None:
    files = parts(image_model.cases()[0])
    finish_job("ds-bare", "job-bare", DEFAULT_PROJECT)
    assert fault_of(client.post("/v1/models/job-bare:predict", files=files), 409)["file"] == "onnx.zip"
    assert client.get("/v1/models/job-bare").json()["predict"] is None
    assert client.get("/v1/models/job-onnx").json()["predict"] == URL
    assert client.post("/v1/models/none:predict", files=files).status_code == 404
    app.state.predictor = predictor_of(app, models_bytes=2000)
    assert "predict.py" in fault_of(client.post(URL, files=files), 409)["hint"]
    app.state.predictor = predictor_of(app)
    key = "jobs/job-onnx/result/onnx.zip"
    content = context.store.get(key)
    context.store.put(key, content[:-1] + b"x")
    damaged = client.post(URL, files=files)
    assert (damaged.status_code, "damaged" in damaged.json()["detail"]) == (404, True)
    context.store.delete(key)
    assert "gone" in client.post(URL, files=files).json()["detail"]


def test_another_project_s_model_is_none(
    stranger: TestClient, context: Context, image_model: Workplace, client: TestClient
) -> None:
    key = access.new_key()
    with context.sessions.begin() as session:
        other = projects.add(session, "other").id
        access.add_key(session, key, name="theirs", role=Role.ADMIN, project_id=other, created_by="tests")
    headers = {"Authorization": f"Bearer {key}"}
    files = parts(image_model.cases()[0])
    assert client.post(URL, files=files).status_code == 200  # so it is loaded
    theirs, nobodys = (
        stranger.post(f"/v1/models/{model}:predict", files=files, headers=headers) for model in ("job-onnx", "none")
    )
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json()["detail"].replace("job-onnx", "none") == nobodys.json()["detail"]


def test_whoever_comes_to_a_full_house_is_told_to_come_back(
    client: TestClient,
    app: FastAPI,
    image_model: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    scrape: Callable[[], Sample],
) -> None:
    app.state.predictor = predictor_of(app, concurrent=1, waiting=0)
    files = parts(image_model.cases()[0])
    inside, go_on = threading.Event(), threading.Event()
    answer = Loaded.__call__

    def held(self: Loaded, images: np.ndarray) -> np.ndarray:
        inside.set()
        assert go_on.wait(60)
        return answer(self, images)

    monkeypatch.setattr(Loaded, "__call__", held)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, URL, files=files)
        assert inside.wait(60)
        refused = client.post(URL, files=files)  # the service answers others meanwhile
        go_on.set()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert first.result().status_code == 200
    assert client.post(URL, files=files).status_code == 200
    value = scrape()
    assert value("dale_prediction_duration_seconds_count", outcome="done") == 2
    assert value("dale_prediction_duration_seconds_count", outcome="busy") == 1


class CountingStore(LocalStore):
    """Says how often it was read."""

    reads = 0

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.reads += 1
        return super().read(key, start, length)


def test_a_model_is_read_once_and_goes_when_others_need_its_room(
    models: Callable[[str], Workplace], tmp_path: Path
) -> None:
    store, found = CountingStore(tmp_path / "objects"), []
    for name, kind in (("a", "images"), ("b", "images of two channels")):
        content = models(kind).file("onnx").read_bytes()
        store.put(name, content)
        found.append(ModelFile(name, name, hashlib.sha256(content).hexdigest(), len(content)))
    first, second = found
    sessions = Sessions(store, PredictionLimits())
    with ThreadPoolExecutor(4) as pool:
        assert len({id(one) for one in pool.map(sessions.get, [first] * 8)}) == 1
    assert store.reads == 1
    sizes = [sessions.get(file).size for file in found]
    small = Sessions(store, PredictionLimits(models_bytes=max(*sizes, *(file.size for file in found)) + 1))
    store.reads = 0
    for file in (first, first, second, second, first):
        small.get(file)
    assert store.reads == 3


def test_the_service_starts_without_onnxruntime() -> None:
    script = "import sys, service.main; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
