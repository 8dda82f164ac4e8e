"""A dataset through a model, in shards: what is kept is what the model's own script says, whoever did which part."""

from __future__ import annotations

import gzip
import io
import json
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy.stats import entropy
from sklearn.metrics import f1_score

from tests.given_models import put_model
from tests.integration.harness import wait_for
from tests.unit.workers.export.models import describe, leave
from tests.unit.workers.test_data import put_dataset, put_grey
from tests.volumes import put_balls
from workers.contract import inference, keys, tables
from workers.contract.outputs import Output
from workers.contract.prediction import PredictionManifest, PredictRequest, PredictSpec
from workers.contract.store import ObjectStore, open_store
from workers.data import SampleUnreadable
from workers.export.__main__ import Exporter
from workers.export.workplace import Workplace
from workers.predicting.finish import ShardsMissing, harmless, write_result
from workers.predicting.loop import predict_share
from workers.predicting.model import ModelUnusable, open_model
from workers.predicting.plan import SHARD_SAMPLES, plan_shards
from workers.predicting.shard import done

KINDS: dict[str, dict[str, Any]] = {
    "images": {},
    "two channels": {"files": 2},
    "volumes": {"volume": True, "edge": 16},
}
CPU = torch.device("cpu")
MADE = {
    "images": (put_dataset, "ds-1"),
    "two channels": (put_grey, "ds-1"),
    "volumes": (lambda store: put_balls(store, 5, (14, 30, 22)), "ds-3d"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workplace]:
    """Each kind of model, made when it is first asked for."""
    made: dict[str, Workplace] = {}

    def model(kind: str) -> Workplace:
        if kind not in made:
            made[kind] = leave(tmp_path_factory.mktemp("model"), describe(**KINDS[kind]))
            assert not Exporter(made[kind]).make("onnx").disagreement
        return made[kind]

    return model


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/store")


def request(dataset_id: str, **spec: object) -> PredictRequest:
    given = {"model_id": "job-model", "dataset_id": dataset_id, "batch_size": 3, "workers": 2, **spec}
    return PredictRequest(job_id="job-predict", spec=PredictSpec.model_validate(given))


def run(store: ObjectStore, wanted: PredictRequest, world_size: int = 2) -> PredictionManifest:
    for rank in reversed(range(world_size)):  # the first waits for the others, to tell how far they are
        predict_share(wanted, 1, store, rank, world_size, CPU)
    write_result(wanted, 1, store)
    return PredictionManifest.model_validate_json(store.get(keys.result_manifest("job-predict")))


def unpacked(store: ObjectStore, manifest: PredictionManifest) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in manifest.files:
        if file.name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(store.get(file.key))) as archive:
                found |= {name: archive.read(name) for name in archive.namelist()}
    return found


def values(content: bytes) -> np.ndarray:
    if content.startswith(b"\x89PNG"):
        return np.asarray(Image.open(io.BytesIO(content)))
    plain = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    return np.asanyarray(nib.Nifti1Image.from_bytes(plain).dataobj)


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("flips", [False, True])
def test_every_sample_gets_what_the_models_own_script_says(
    kind: str, flips: bool, store: ObjectStore, models: Callable[[str], Workplace], tmp_path: Path
) -> None:
    put, dataset_id = MADE[kind]
    put(store)
    put_model(store, models(kind))
    manifest = run(store, request(dataset_id, outputs=list(Output), flips=flips))
    files = unpacked(store, manifest)
    rows = {
        row["name"]: row
        for row in pq.read_table(pa.BufferReader(_file(store, manifest, "samples.parquet"))).to_pylist()
    }

    with zipfile.ZipFile(models(kind).file("onnx")) as archive:
        archive.extractall(tmp_path / "model")
    about, network = inference.load(tmp_path / "model")
    if flips:
        from workers.contract.flips import over_flips

        network = over_flips(network)
    volumes = about["spatial_dims"] == 3
    data = store.get(keys.version(dataset_id, 1))
    table = tables.from_parquet(data, tables.VOLUMES if volumes else tables.SAMPLES)
    own = json.loads(table.schema.metadata[tables.MASK_VALUES])  # not those of the model
    assert len(rows) == table.num_rows == manifest.samples
    shares = {"masks": 0, "probabilities": 0, "uncertainty": 0}
    dices = []
    for sample in table.to_pylist():
        sources = [
            store.get(keys.blob(dataset_id, one)) for one in (sample["image_sha256"], *(sample["channels"] or []))
        ]
        expected = inference.predict(about | {"mask_values": own}, network, sources)
        ending = ".nii.gz" if volumes else ".png"
        mask = files[f"masks/{sample['name']}{ending}"]
        assert mask == expected.encoded
        assert set(np.unique(values(mask))) <= set(own)
        for folder in shares:
            shares[folder] += sum(name.startswith(f"{folder}/{sample['name']}.") for name in files)
        row, label = rows[sample["name"]], values(store.get(keys.blob(dataset_id, sample["mask_sha256"])))
        # Both are in the order of the file, so that nothing here is turned.
        dice = f1_score(label.ravel() == own[1], values(mask).ravel() == own[1], zero_division=1.0)
        assert row["dice"] == pytest.approx(dice, abs=1e-6)
        unit = 0.5 * 1 * 2 if volumes else 1
        assert row["area_1"] == pytest.approx((values(mask) == own[1]).sum() * unit)
        dices.append(row["dice"])
        unsure = entropy(expected.probabilities.astype(float), axis=0) / np.log(about["classes"])
        assert row["uncertainty_mean"] == pytest.approx(unsure.mean(), abs=1e-5)
        assert row["uncertainty_max"] == pytest.approx(unsure.max(), abs=1e-5)
        assert row["unit"] == ("mm³" if volumes else "px")
    assert shares == dict.fromkeys(shares, table.num_rows)
    plain = pd.read_csv(io.BytesIO(_file(store, manifest, "samples.csv")))
    assert plain["name"].tolist() == table["name"].to_pylist()
    assert manifest.metrics["dice"] == pytest.approx(np.mean(dices))


def _file(store: ObjectStore, manifest: PredictionManifest, name: str) -> bytes:
    return store.get(next(file.key for file in manifest.files if file.name == name))


class DiedError(BaseException):
    """The process is gone."""


class Dying:
    """A store whose client dies in the middle of a shard: after its files, before its mark."""

    def __init__(self, store: ObjectStore, marks: int) -> None:
        self._store, self._left = store, marks

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put(self, key: str, data: bytes, content_type: str = "") -> None:
        if key.startswith(keys.shards("job-predict")) and key.endswith(".json"):
            if self._left == 0:
                raise DiedError
            self._left -= 1
        self._store.put(key, data, content_type)


def test_a_killed_worker_goes_on_where_it_was_on_any_number_of_workers(
    store: ObjectStore, models: Callable[[str], Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_dataset(store)
    put_model(store, models("images"))
    wanted = request("ds-1")
    undisturbed = run(store, wanted)
    for key in [*store.list(keys.job("job-predict"))]:
        store.delete(key)

    with pytest.raises(DiedError):
        predict_share(wanted, 1, Dying(store, 2), 0, 2, CPU)  # type: ignore[arg-type]
    before = done(store, "job-predict")
    assert before == {0, 2}
    with pytest.raises(ShardsMissing, match="shard 1 of "):
        write_result(wanted, 1, store)
    assert not store.exists(keys.result_manifest("job-predict"))
    written: list[str] = []
    put_file = type(store).put_file

    def watched(self: ObjectStore, key: str, *rest: Any) -> None:
        written.append(key)
        put_file(self, key, *rest)

    monkeypatch.setattr(type(store), "put_file", watched)
    again = run(store, wanted, world_size=3)
    assert not [key for key in written if any(f"{number:06}.zip" in key for number in before)]
    assert [(file.name, file.sha256) for file in again.files] == [
        (file.name, file.sha256) for file in undisturbed.files
    ]
    assert again.metrics == undisturbed.metrics


def test_progress_counts_the_samples_of_all_workers(store: ObjectStore, models: Callable[[str], Workplace]) -> None:
    put_dataset(store)
    put_model(store, models("images"))
    wanted = request("ds-1", batch_size=1)
    predict_share(wanted, 1, store, 1, 2, CPU)
    assert not store.exists(keys.progress("job-predict"))  # that is for the first worker
    predict_share(wanted, 1, store, 0, 2, CPU)
    progress = json.loads(store.get(keys.progress("job-predict")))
    others = sum(len(shard) for shard in plan_shards(_table(store), 2)[1::2])
    assert (progress["steps"], progress["epochs"], progress["loss"]) == (11, 1, None)
    assert others < progress["step"] <= 11


def test_the_first_worker_tells_how_far_the_others_are_until_they_are_done(
    store: ObjectStore, models: Callable[[str], Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.predicting.loop.INTERVAL_SECONDS", 0.01)
    put_dataset(store)
    put_model(store, models("images"))
    wanted = request("ds-1")
    first = threading.Thread(target=predict_share, args=(wanted, 1, store, 0, 2, CPU))
    first.start()
    own = set(range(0, len(plan_shards(_table(store), 2)), 2))
    wait_for(lambda: done(store, "job-predict") == own)
    assert first.is_alive()
    predict_share(wanted, 1, store, 1, 2, CPU)
    first.join(30)
    assert not first.is_alive()
    progress = json.loads(store.get(keys.progress("job-predict")))
    assert (progress["step"], progress["eta_seconds"]) == (11, 0)


def _table(store: ObjectStore) -> pa.Table:
    return tables.from_parquet(store.get(keys.version("ds-1", 1)), tables.SAMPLES)


@pytest.mark.parametrize("kind", ["images", "volumes"])
def test_weights_say_what_the_exported_file_says(
    kind: str, store: ObjectStore, models: Callable[[str], Workplace]
) -> None:
    """What a GPU computes with, and models without an ONNX file."""
    about, by_file = open_model(store, put_model(store, models(kind)), CPU)
    _, by_weights = open_model(store, put_model(store, models(kind), "job-plain", onnx=False), CPU)
    edge = [about["spatial_dims"] * [0], about.get("image_size", 16)]
    shape = (2, len(about["mean"]), *[edge[1]] * about["spatial_dims"])
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(by_weights(images), by_file(images), atol=1e-4)


def test_a_dataset_whose_masks_are_all_empty_has_no_labels_to_compare_with(
    store: ObjectStore, models: Callable[[str], Workplace]
) -> None:
    put_dataset(store)
    put_model(store, models("images"))
    table = _table(store)
    at = table.column_names.index("foreground")
    empty = table.set_column(at, table.schema.field(at), pa.array([0.0] * table.num_rows, pa.float32()))
    store.put(keys.version("ds-1", 1), tables.to_parquet(empty))
    manifest = run(store, request("ds-1"))
    assert "dice" not in manifest.metrics and "labelled_samples" not in manifest.metrics
    plain = pd.read_csv(io.BytesIO(_file(store, manifest, "samples.csv")))
    assert plain["dice"].isna().all() and (plain["area_1"] > 0).any()


def test_no_name_is_a_formula_in_a_spreadsheet() -> None:
    names = ["=1+1", "+1", "-1", "@x", "'x", "a=1", "", "ü"]
    rows = pa.table({"ordinal": range(len(names)), "name": names})
    assert harmless(rows)["name"].to_pylist() == ["'=1+1", "'+1", "'-1", "'@x", "''x", "a=1", "", "ü"]
    assert harmless(rows).drop(["name"]) == rows.drop(["name"])


def test_what_cannot_be_used_is_named(store: ObjectStore, models: Callable[[str], Workplace]) -> None:
    put_dataset(store)
    with pytest.raises(ModelUnusable, match="job-model has no model any more"):
        predict_share(request("ds-1"), 1, store, 0, 1, CPU)
    put_model(store, models("images"))
    store.put(keys.blob("ds-1", f"{4:063}0"), b"no image")
    with pytest.raises(SampleUnreadable, match="'noise-4' \\(number 4\\)"):
        predict_share(request("ds-1"), 1, store, 0, 1, CPU)
    store.put(keys.result("job-model", "onnx.zip"), b"other")
    with pytest.raises(ModelUnusable, match="another sha256"):
        predict_share(request("ds-1"), 1, store, 0, 1, CPU)


@pytest.mark.parametrize(("samples", "workers"), [(1, 1), (1, 8), (24, 2), (5000, 2), (200_000, 16)])
def test_shards_are_all_samples_once_and_small(samples: int, workers: int) -> None:
    table = pa.table({"width": [640] * samples, "height": [480] * samples})
    shards = plan_shards(table, workers)
    assert [ordinal for shard in shards for ordinal in shard] == list(range(samples))
    assert max(map(len, shards)) <= SHARD_SAMPLES
    assert len(shards) >= min(samples, workers)


def test_large_volumes_make_shards_of_their_own() -> None:
    table = pa.table({"width": [512] * 3, "height": [512] * 3, "depth": [800, 30, 40]})
    assert plan_shards(table, 1) == [range(1), range(1, 2), range(2, 3)]
    table = pa.table({"width": [512] * 300, "height": [512] * 300, "depth": [100] * 300})
    assert max(map(len, plan_shards(table, 1))) == 10  # 2**28 voxels
