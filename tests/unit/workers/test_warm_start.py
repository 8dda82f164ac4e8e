"""A training that starts from an earlier model: its first epoch is met by exactly that model."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from tests.learning import UNET, learner_of
from workers import loop
from workers.contract import keys, tables
from workers.contract.request import EpochManifest, JobSpec, TrainRequest
from workers.contract.store import ObjectStore
from workers.contract.store_local import LocalStore
from workers.data import Samples
from workers.learner import Learner
from workers.run import Run
from workers.sampling import Plan
from workers.warm_start import WarmStartRefused, read_weights, start_from

SAMPLES, SIZE, CPU = 6, 16, torch.device("cpu")
SPEC: dict[str, Any] = {
    "dataset_id": "ds-1",
    "exports": [],
    "epochs": 1,
    "batch_size": 3,
    "image_size": SIZE,
    "network": UNET,
}


def put_dataset(store: ObjectStore) -> None:
    rng, rows = np.random.default_rng(0), []
    for number in range(SAMPLES):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[4:12, number : number + 6] = 255
        hashes = []
        for pixels in ((rng.random((SIZE, SIZE, 3)) * 80 + mask[..., None] / 2).astype(np.uint8), mask):
            sink = io.BytesIO()
            Image.fromarray(pixels).save(sink, "PNG")
            hashes.append(hashlib.sha256(sink.getvalue()).hexdigest())
            store.put(keys.blob("ds-1", hashes[-1]), sink.getvalue())
        rows.append((number, f"case-{number}", *hashes, SIZE, SIZE, float((mask > 0).mean())))
    named = [dict(zip(tables.SAMPLES.names, row, strict=False)) for row in rows]
    table = pa.Table.from_pylist(named, schema=tables.SAMPLES)
    table = table.replace_schema_metadata({tables.MASK_VALUES: json.dumps([0, 255])})
    store.put(keys.version("ds-1", 1), tables.to_parquet(table))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    """A dataset, and the model of a job over it, which learned fast."""
    store = LocalStore(tmp_path_factory.mktemp("store"))
    put_dataset(store)
    train(store, "job-before", epochs=3, learning_rate=0.03, seed=4)
    return store


def train(store: ObjectStore, job_id: str, **options: Any) -> float:
    """Train, and say what the loss of the first epoch was."""
    spec = JobSpec.model_validate(SPEC | options)
    loop.train(Run(TrainRequest(job_id=job_id, spec=spec), 1, store, 0, 1, CPU))
    return EpochManifest.model_validate_json(store.get(keys.epoch_manifest(job_id, 0))).metrics["loss"]


def test_the_first_epoch_is_met_by_the_earlier_model(store: ObjectStore) -> None:
    still = {"learning_rate": 1e-12}  # so that the whole first epoch is met by what it began with
    warm = train(store, "job-warm", warm_start="job-before", **still)
    cold = train(store, "job-cold", **still)

    spec = JobSpec.model_validate(SPEC | still)
    samples, plan = Samples(store, "ds-1", 1, SIZE), Plan(SAMPLES, 3, 0, 0, 1)
    learner = Learner(spec, samples.statistics(), 2, CPU)
    earlier = load(store.get(keys.result("job-before", "model.safetensors")))
    for network in (learner.network, learner.teacher.module):
        network.load_state_dict(earlier)
    _, expected = loop.network_epoch(learner, samples, plan, torch.ones(SAMPLES), 0)
    assert warm == pytest.approx(expected, abs=1e-6)
    assert abs(warm - cold) > 0.01


def test_network_and_teacher_start_from_it_and_the_optimizer_anew(store: ObjectStore) -> None:
    earlier = read_weights(store, "job-before")
    learner = learner_of(weights=earlier)
    for network in (learner.network, learner.teacher.module):
        for name, value in network.state_dict().items():
            assert torch.equal(value, earlier[name]), name
    assert learner.optimizer.state == {}


def test_a_model_that_is_gone_damaged_or_of_another_network_is_refused_in_words(
    store: ObjectStore, tmp_path: Path
) -> None:
    with pytest.raises(WarmStartRefused, match="job job-none has no model any more"):
        read_weights(store, "job-none")
    copy = LocalStore(tmp_path)
    manifest = store.get(keys.result_manifest("job-before"))
    copy.put(keys.result_manifest("job-before"), manifest)
    with pytest.raises(WarmStartRefused, match="has no model any more"):
        read_weights(copy, "job-before")
    copy.put(keys.result("job-before", "model.safetensors"), b"other weights")
    with pytest.raises(WarmStartRefused, match="another sha256"):
        read_weights(copy, "job-before")
    wider = learner_of(network={"name": "UNet", "arguments": {"channels": [8, 16], "strides": [2]}})
    with pytest.raises(WarmStartRefused, match=r"of another network: .*size mismatch"):
        start_from(wider.network, read_weights(store, "job-before"))
