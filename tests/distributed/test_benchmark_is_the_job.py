"""What the benchmark measures is what a job does: same images, labels, spec and seed, same confidences and network."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_safetensors
from torch import Tensor, multiprocessing

from dale import partition
from dale.synthetic import write_samples
from tests.benchmarks.robustness import data
from workers.contract import keys, tables
from workers.contract.request import EpochManifest, JobSpec, TrainRequest
from workers.contract.store import ObjectStore, open_store

EPOCHS, SIZE, SAMPLES = 6, 32, 20
COLUMNS = ("confidence", "score", "dice", "expected_dice")
METHODS = {
    "dale": {"name": "dale", "start": 0.4},
    "all-ingredients": {"name": "dale", "start": 0.4, "mix_after": 0, "stability": 0.5, "alignment": "adversarial"},
    "plain": {"name": "plain"},
}


def spec_of(method: str) -> JobSpec:
    return JobSpec.model_validate(
        {
            "dataset_id": "ds-1",
            "epochs": EPOCHS,
            "exports": [],
            "batch_size": 6,  # the last step of an epoch is smaller
            "image_size": SIZE,
            "learning_rate": 1e-2,
            "augmentation": "light",
            "network": {"name": "UNet", "arguments": {"channels": [4, 8, 16], "strides": [2, 2]}},
            "method": METHODS[method],
            "seed": 3,
        }
    )


def noisy_pool(root: Path) -> tuple[data.Pool, Tensor]:
    """The benchmark's view of the images, and the labels that are given: a quarter of them shifted."""
    pool = data.load(root / "lesions", SIZE, cache=root / "cache")
    labels = pool.masks.clone()
    labels[::4] = labels[::4].roll(SIZE // 3, dims=2)
    return pool, labels


def run_job(root: Path, method: str) -> None:
    from workers import loop
    from workers.run import Run

    store = open_store(f"file://{root}/store")
    request = TrainRequest.model_validate_json(store.get(keys.request(method)))
    loop.train(Run(request, 1, store, 0, 1, torch.device("cpu")))


def run_benchmark(root: Path, method: str) -> None:
    from tests.benchmarks.robustness.training import Training, begin

    pool, labels = noisy_pool(root)
    training = begin(spec_of(method), pool.images, labels, pool.classes, torch.device("cpu"))
    course: list[dict[str, Tensor]] = []

    def keep(training: Training) -> None:
        state = training.state
        columns = {name: getattr(state, name).clone() for name in COLUMNS if name != "score"}
        course.append({**columns, "score": state.score()})

    training.run(EPOCHS, keep)
    torch.save({"course": course, "network": training.learner.final.state_dict()}, root / f"{method}.pt")


def run_all(process: int, root: Path) -> None:
    """In two fresh processes, so that nothing else that was computed before is part of the comparison."""
    torch.set_num_threads(1)
    partition.GAP_OF_CLEAN, partition.GAP_OF_NOISY = -1.0, 0.0  # so few epochs do not open the gate by themselves
    for method in METHODS:
        (run_job, run_benchmark)[process](root, method)


def put_dataset(store: ObjectStore, root: Path) -> None:
    """The same files as a dataset of the service, the given labels as masks of 0 and 255."""
    pool, labels = noisy_pool(root)
    rows = []
    for ordinal, (name, label) in enumerate(zip(pool.names, labels.numpy(), strict=True)):
        mask = io.BytesIO()
        Image.fromarray(label * np.uint8(255)).save(mask, "PNG")
        blobs = [(root / f"lesions/images/{name}.png").read_bytes(), mask.getvalue()]
        hashes = [hashlib.sha256(blob).hexdigest() for blob in blobs]
        for sha256, blob in zip(hashes, blobs, strict=True):
            store.put(keys.blob("ds-1", sha256), blob)
        rows.append((ordinal, name, *hashes, SIZE, SIZE, float(label.mean())))
    table = pa.Table.from_pylist(
        [dict(zip(tables.SAMPLES.names, row, strict=False)) for row in rows], schema=tables.SAMPLES
    )
    metadata = {tables.MASK_VALUES: json.dumps([0, 255])}
    store.put(keys.version("ds-1", 1), tables.to_parquet(table.replace_schema_metadata(metadata)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("both")
    write_samples(root / "lesions", samples=SAMPLES, size=48, seed=0)
    store = open_store(f"file://{root}/store")
    put_dataset(store, root)
    for method in METHODS:
        request = TrainRequest(job_id=method, spec=spec_of(method))
        store.put(keys.request(method), request.model_dump_json().encode())
    multiprocessing.spawn(run_all, (root,), nprocs=2)
    return root


@pytest.mark.parametrize("method", METHODS)
def test_a_job_and_the_benchmark_reach_the_same_confidences_and_network(root: Path, method: str) -> None:
    store = open_store(f"file://{root}/store")
    benchmark = torch.load(root / f"{method}.pt", weights_only=True)
    assert len(benchmark["course"]) == EPOCHS
    for epoch, ours in enumerate(benchmark["course"]):
        manifest = EpochManifest.model_validate_json(store.get(keys.epoch_manifest(method, epoch)))
        [shard] = [tables.from_parquet(store.get(shard.key), tables.CONFIDENCE) for shard in manifest.shards]
        for column in COLUMNS:
            theirs = shard.sort_by("ordinal")[column].to_numpy()
            np.testing.assert_allclose(ours[column].numpy(), theirs, rtol=0, atol=1e-6, err_msg=f"{column}, {epoch}")
    assert len(shard) == SAMPLES
    confidences = [float(ours["confidence"].min()) for ours in benchmark["course"]]
    if method == "plain":
        assert confidences == [1.0] * EPOCHS
    else:
        assert max(confidences[2:]) < 0.6, "the confidences hardly moved: the comparison says nothing"
    delivered = load_safetensors(store.get(keys.result(method, "model.safetensors")))
    assert delivered.keys() == benchmark["network"].keys()
    for name, values in delivered.items():
        torch.testing.assert_close(values, benchmark["network"][name], rtol=0, atol=1e-6)
