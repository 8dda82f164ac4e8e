"""Two workers compute what one computes; an interrupted run ends as an undisturbed one. Real processes, real gloo."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from scipy.stats import spearmanr
from torch import multiprocessing

from tests.ranks import leave
from workers.contract import keys, tables
from workers.contract.evaluation import METRICS
from workers.contract.request import EpochManifest, JobSpec, ResultManifest, TrainRequest
from workers.contract.store import ObjectStore, open_store

EPOCHS, STEPS = 4, 5
TRAINED = 24  # of the version that holds some of its 30 samples out


class Interrupted(Exception):
    pass


def run_rank(rank: int, world_size: int, url: str, job: str, rendezvous: str, stop_after: int | None) -> None:
    """One rank of a run, as Ray Train would start it; with `stop_after` it dies once that many steps are kept."""
    from dale import partition
    from workers import loop
    from workers.checkpoint import Checkpoints
    from workers.gathered import Gathered
    from workers.run import Run

    torch.set_num_threads(1)
    partition.GAP_OF_CLEAN, partition.GAP_OF_NOISY = -1.0, 0.0  # so few epochs do not open the gate by themselves
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size)
    store = open_store(url)
    request = TrainRequest.model_validate_json(store.get(keys.request(job)))
    begin = Checkpoints.begin

    def begin_and_stop(self: Checkpoints, learner, state, epochs_done: int, gathered: Gathered) -> None:
        begin(self, learner, state, epochs_done, gathered)
        self.commit(wait=True)
        if epochs_done * STEPS + gathered.steps == stop_after:
            raise Interrupted

    Checkpoints.begin = begin_and_stop  # type: ignore[method-assign]
    loop.CHECKPOINT_SECONDS, loop.LOOK_SECONDS, loop.LOOK_STEPS = 0.0, 0.0, 1
    with contextlib.suppress(Interrupted):
        loop.train(Run(request, 1, store, rank, world_size, torch.device("cpu")))
    if world_size > 1:
        dist.barrier()  # rank 0 may still be writing
    leave()


def run(root: Path, job: str, world_size: int, stop_after: int | None = None) -> None:
    rendezvous = root / f"rendezvous-{job}-{world_size}"
    arguments = (world_size, f"file://{root}/store", job, str(rendezvous), stop_after)
    # Fresh processes also for one rank: what else the test process has computed must not be part of the comparison.
    multiprocessing.spawn(run_rank, arguments, nprocs=world_size)


def confidences(store: ObjectStore, job: str, epoch: int) -> pa.Table:
    manifest = EpochManifest.model_validate_json(store.get(keys.epoch_manifest(job, epoch)))
    shards = [tables.from_parquet(store.get(shard.key), tables.CONFIDENCE) for shard in manifest.shards]
    assert [shard.num_rows for shard in shards] == [shard.rows for shard in manifest.shards]
    return pa.concat_tables(shards).sort_by("ordinal")


def neighbours(store: ObjectStore, job: str) -> tuple[np.ndarray, np.ndarray]:
    """Which samples look most like each, (N, 8), and how much, in the order of the ordinals."""
    manifest = ResultManifest.model_validate_json(store.get(keys.result_manifest(job)))
    shards = [tables.from_parquet(store.get(shard.key), tables.NEIGHBOURS) for shard in manifest.neighbours]
    for rank, shard in enumerate(shards):  # by these places the service finds a row
        assert shard["ordinal"].to_pylist() == list(range(rank, sum(map(len, shards)), len(shards)))
    found = pa.concat_tables(shards).sort_by("ordinal")
    return np.array(found["neighbours"].to_pylist()), np.array(found["similarity"].to_pylist())


def same_neighbours(store: ObjectStore, one: str, other: str) -> None:
    """Two runs find the same neighbours, apart from such as are equally near."""
    (alone, near), (together, nearly) = neighbours(store, one), neighbours(store, other)
    assert not (alone == np.arange(len(alone))[:, None]).any()
    np.testing.assert_allclose(nearly, near, atol=5e-3)
    shared = [len(set(a) & set(b)) for a, b in zip(alone.tolist(), together.tolist(), strict=True)]
    assert sum(shared) > 0.95 * alone.size


def label_of(store: ObjectStore, sha256: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(store.get(keys.blob("ds-1", sha256)))))


def png(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with 30 discs, a third of them labelled elsewhere, and a request for each job."""
    import hashlib

    root = tmp_path_factory.mktemp("runs")
    store = open_store(f"file://{root}/store")
    rng, rows = np.random.default_rng(0), []
    y, x = np.mgrid[:32, :32]
    for ordinal in range(30):
        cy, cx, radius = rng.integers(10, 22), rng.integers(10, 22), rng.integers(4, 8)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        label = np.roll(disc, 14, axis=1) if ordinal % 3 == 0 else disc
        image = np.clip(90 + 80 * disc[..., None] + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
        blobs = [png(image), png(label.astype(np.uint8) * 255)]
        hashes = [hashlib.sha256(blob).hexdigest() for blob in blobs]
        for sha256, blob in zip(hashes, blobs, strict=True):
            store.put(keys.blob("ds-1", sha256), blob)
        rows.append((ordinal, f"disc-{ordinal}", *hashes, 32, 32, float(label.mean())))
    table = pa.Table.from_pylist(
        [dict(zip(tables.SAMPLES.names, row, strict=False)) for row in rows], schema=tables.SAMPLES
    )
    metadata = {tables.MASK_VALUES: json.dumps([0, 255])}
    store.put(keys.version("ds-1", 1), tables.to_parquet(table.replace_schema_metadata(metadata)))
    # Version 2 holds the last six out; version 3 has never had them, nor any column that came later than version 1.
    split = pa.array([tables.TRAIN if n % 2 else None for n in range(TRAINED)] + [tables.TEST] * (30 - TRAINED))
    held_out = table.set_column(table.schema.get_field_index("split"), tables.SAMPLES.field("split"), split)
    alone = table[:TRAINED].drop_columns([field.name for field in tables.FACTS])
    # Of version 4 it is known who drew, what was verified, and how far others agree: lies are contradicted.
    known = {
        "annotator": pa.array(["Ada", "Bo", "Cy"] * 10),
        "verified": pa.array([n < 4 for n in range(30)]),
        "agreement": pa.array([None if n > 26 else 0.4 if n % 3 == 0 else 0.8 for n in range(30)], pa.float32()),
    }
    people = table
    for name, column in known.items():
        people = people.set_column(people.schema.get_field_index(name), tables.SAMPLES.field(name), column)
    for number, other in ((2, held_out), (3, alone), (4, people)):
        store.put(keys.version("ds-1", number), tables.to_parquet(other.replace_schema_metadata(metadata)))
    given = {
        "dataset_id": "ds-1",
        "epochs": EPOCHS,
        "exports": [],
        "batch_size": 7,  # neither the ranks nor the samples divide it: uneven and empty parts occur
        "image_size": 32,
        "network": {"name": "UNet", "arguments": {"channels": [4, 8, 16], "strides": [2, 2]}},
        "method": {"name": "dale", "start": 0.3},
    }
    # Samples mix within a rank: the pairs are those of one rank where twice the ranks divide the batch.
    mixed = {**given, "batch_size": 8, "method": {"name": "dale", "start": 0.3, "mixing": 1.0, "mix_after": 0}}
    # Without biases: before a normalisation their gradient is rounding alone, which Adam makes a step of.
    arguments = {**given["network"]["arguments"], "norm": "batch", "num_res_units": 1, "bias": False}
    kinds = {
        "": given,
        "mixed-": mixed,
        "norm-": {**given, "network": {"name": "UNet", "arguments": arguments}},
        "sharded-": {**given, "sharding": "full"},
        "held-": {**given, "dataset_version": 2},
        "few-": {**given, "dataset_version": 3},
        "people-": {
            **given,
            "dataset_version": 4,
            "method": {"name": "dale", "start": 0.5, "begin_with": "agreement"},
        },
    }
    for kind, options in kinds.items():
        for job in ("one", "two", "three", "four", "stopped", "inside"):
            request = TrainRequest(job_id=kind + job, spec=JobSpec.model_validate(options))
            store.put(keys.request(kind + job), request.model_dump_json().encode())
    run(root, "one", 1)
    return root


@pytest.mark.parametrize(
    ("job", "world_size"),
    [
        ("two", 2),
        ("three", 3),
        ("mixed-two", 2),
        ("mixed-four", 4),
        ("norm-two", 2),
        ("norm-three", 3),
        ("sharded-three", 3),
    ],
)
def test_several_workers_reach_the_confidences_of_one(root: Path, job: str, world_size: int) -> None:
    reference = f"{job.rpartition('-')[0]}-one".removeprefix("-")
    run(root, job, world_size)
    store = open_store(f"file://{root}/store")
    if not store.exists(keys.result_manifest(reference)):
        run(root, reference, 1)
    for epoch in range(EPOCHS):
        alone, together = confidences(store, reference, epoch), confidences(store, job, epoch)
        assert alone["ordinal"].to_pylist() == together["ordinal"].to_pylist() == list(range(30))
        for column in ("confidence", "score", "dice", "expected_dice"):
            # Ten steps agree to float32; then rounding grows, as from any change of the order of a sum.
            tolerance = 1e-5 if (epoch + 1) * STEPS <= 10 else 1e-4
            np.testing.assert_allclose(
                together[column].to_numpy(), alone[column].to_numpy(), rtol=0, atol=tolerance, err_msg=column
            )
    assert spearmanr(together["score"], alone["score"]).statistic > 0.999
    same_neighbours(store, reference, job)
    assert alone["confidence"].to_numpy().min() < 0.9, "the confidences never moved: the comparison says nothing"


@pytest.mark.parametrize(
    ("job", "first", "then", "steps"),
    [
        ("stopped", 2, 1, 2 * STEPS),
        ("inside", 2, 1, 2 * STEPS + 3),
        ("sharded-stopped", 2, 1, 2 * STEPS),
        ("sharded-two", 1, 2, 2 * STEPS + STEPS - 1),
    ],
)
def test_an_interrupted_run_resumes_on_another_world_size(
    root: Path, job: str, first: int, then: int, steps: int
) -> None:
    """Between two epochs, and in the middle of one: what was gathered of it goes on with the run."""
    run(root, job, first, stop_after=steps)
    store = open_store(f"file://{root}/store")
    assert not store.exists(keys.result_manifest(job))
    assert not store.exists(keys.epoch_manifest(job, 2))
    assert store.exists(keys.checkpoint(job, steps, keys.MANIFEST))
    run(root, job, then)
    for epoch in range(EPOCHS):
        alone, resumed = confidences(store, "one", epoch), confidences(store, job, epoch)
        for column in ("confidence", "score", "dice"):
            np.testing.assert_allclose(resumed[column].to_numpy(), alone[column].to_numpy(), atol=1e-4)
    losses = [
        EpochManifest.model_validate_json(store.get(keys.epoch_manifest(name, 2))).metrics["loss"]
        for name in ("one", job)
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_the_result_names_what_it_wrote(root: Path) -> None:
    import hashlib

    from workers.predict import load_model

    store = open_store(f"file://{root}/store")
    result = ResultManifest.model_validate_json(store.get(keys.result_manifest("one")))
    folder = root / "model"
    folder.mkdir()
    for file in result.files:
        data = store.get(file.key)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)
        (folder / file.name).write_bytes(data)
    network, description = load_model(folder)
    assert description["classes"] == 2
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 2, 32, 32)
    mask = np.asarray(Image.open(io.BytesIO(store.get(keys.prediction("one", 29)))))
    assert mask.shape == (32, 32)
    assert set(np.unique(mask)) <= {0, 1}


def test_held_out_samples_are_judged_and_change_nothing(root: Path) -> None:
    """One rank and two train as if they were not there, and score the delivered network's masks of them alike."""
    for job, world_size in (("few-one", 1), ("held-one", 1), ("held-two", 2)):
        run(root, job, world_size)
    store = open_store(f"file://{root}/store")
    found, calibrations = {}, []
    for job in ("held-one", "held-two"):
        for epoch in range(EPOCHS):
            expected, trained = confidences(store, "few-one", epoch), confidences(store, job, epoch)
            assert trained["ordinal"].to_pylist() == list(range(TRAINED))
            for column in ("confidence", "score", "dice"):
                np.testing.assert_allclose(
                    trained[column].to_numpy(), expected[column].to_numpy(), atol=0 if job == "held-one" else 1e-4
                )
        result = ResultManifest.model_validate_json(store.get(keys.result_manifest(job)))
        assert result.maps and all(store.exists(keys.doubt_map(job, ordinal)) for ordinal in range(30))
        shards = [tables.from_parquet(store.get(shard.key), tables.TEST_SCORES) for shard in result.test]
        assert [shard.num_rows for shard in shards] == [shard.rows for shard in result.test]
        scores = pa.concat_tables(shards).sort_by("ordinal")
        assert scores["ordinal"].to_pylist() == list(range(TRAINED, 30))
        values = []
        labels = tables.from_parquet(store.get(keys.version("ds-1", 2)), tables.SAMPLES)["mask_sha256"].to_pylist()
        for ordinal in range(TRAINED, 30):
            mask, label = (
                np.asarray(Image.open(io.BytesIO(store.get(key)))) > 0
                for key in (keys.prediction(job, ordinal), keys.blob("ds-1", labels[ordinal]))
            )
            values.append(2 * (mask & label).sum() / (mask.sum() + label.sum()))
            doubt = np.asarray(Image.open(io.BytesIO(store.get(keys.doubt_map(job, ordinal)))))
            doubted = (mask != label) & (doubt > 0)
            assert doubted.sum() > 0.9 * (mask != label).sum(), "some lie too near to one half to count"
            assert not doubt[mask == label].any()
        np.testing.assert_allclose(scores["dice"].to_numpy(), values, rtol=1e-6)
        about = json.loads(store.get(keys.result(job, "model.json")))
        for said in (result.metrics, about):
            assert said["test_samples"] == 30 - TRAINED
            assert said["test_dice"] == pytest.approx(np.mean(values))
            assert said["test_dice_std"] == pytest.approx(np.std(values))
        found[job] = values
        evaluation = result.evaluation
        assert evaluation is not None
        assert (evaluation.samples, evaluation.groups, evaluation.hd95_unit) == (6, 6, "px")
        assert [(one.metric, one.label_class) for one in evaluation.metrics] == [(name, 1) for name in METRICS]
        dice = evaluation.metrics[0]
        assert dice.mean == pytest.approx(np.mean(values))
        assert dice.low is not None and dice.high is not None and dice.low < dice.mean < dice.high
        assert [row["dice"][0] for row in scores["classes"].to_pylist()] == pytest.approx(values)
        (one,) = evaluation.calibration
        assert one.pixels == sum(some.pixels for some in one.bins) == 6 * 32 * 32
        labelled = sum(some.pixels * some.frequency for some in one.bins if some.frequency is not None)
        assert labelled == pytest.approx(sum((label_of(store, sha256) > 0).sum() for sha256 in labels[TRAINED:]))
        calibrations.append((one.ece, one.brier))
    np.testing.assert_allclose(calibrations[1], calibrations[0], atol=0.01)
    np.testing.assert_allclose(found["held-two"], found["held-one"], atol=0.02)  # a pixel may fall on either side
    assert max(found["held-one"]) > 0.2, "nothing was found: the comparison says nothing"
    without = ResultManifest.model_validate_json(store.get(keys.result_manifest("few-one")))
    assert not without.test
    assert without.evaluation is None
    assert "test_dice" not in without.metrics


def test_what_is_known_of_labels_counts_the_same_on_two_ranks(root: Path) -> None:
    for job, world_size in (("people-one", 1), ("people-two", 2)):
        run(root, job, world_size)
    store = open_store(f"file://{root}/store")
    for epoch in range(EPOCHS):
        alone, together = (confidences(store, job, epoch) for job in ("people-one", "people-two"))
        for column in ("confidence", "score", "dice"):
            np.testing.assert_allclose(together[column].to_numpy(), alone[column].to_numpy(), rtol=0, atol=1e-4)
    first, last = (confidences(store, "people-one", epoch)["confidence"].to_numpy() for epoch in (0, EPOCHS - 1))
    lies = np.arange(30) % 3 == 0
    assert first[lies & (np.arange(30) >= 4) & (np.arange(30) < 27)].max() < 0.1, "contradicted from the start"
    assert first[~lies | (np.arange(30) < 4)].min() > 0.9
    assert (last[:4] == 1).all(), "verified labels stay believed"
    assert not np.array_equal(first, last)
