"""Which epoch is the best on the validation samples: judged by MONAI here, on two ranks, and after a run was killed."""

import contextlib
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from monai.metrics import DiceMetric
from PIL import Image
from safetensors.torch import load, save_file
from torch import multiprocessing

from tests.ranks import leave
from workers.contract import keys, tables
from workers.contract.request import EpochManifest, JobSpec, ResultManifest, TrainRequest
from workers.contract.store import ObjectStore, open_store

TRAINED, VALIDATED, HELD_OUT = 16, 7, 5
EPOCHS, STEPS = 6, 3
ALL, ALONE, OTHER_LABELS = 1, 2, 3  # versions
JOBS: dict[str, dict[str, Any]] = {
    "whole": {"dataset_version": ALL, "validate_every": 1},
    "alone": {"dataset_version": ALONE},
    "other": {"dataset_version": OTHER_LABELS, "validate_every": 1},
    "chosen": {"dataset_version": ALL, "validate_every": 1, "deliver": "best"},
    "killed": {"dataset_version": ALL, "validate_every": 1},
    "damaged": {"dataset_version": ALL, "validate_every": 1},
    "two": {"dataset_version": ALL, "validate_every": 1},
    "shares": {"dataset_version": ALL, "validate_every": 1, "deliver": "best", "sharding": "full"},
    "plain": {"dataset_version": ALL, "validate_every": 1, "method": {"name": "plain"}},
    "plain-alone": {"dataset_version": ALONE, "method": {"name": "plain"}},
}


class Killed(Exception):
    pass


def png(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, "PNG")
    return sink.getvalue()


def fill(store: ObjectStore) -> None:
    """Discs, half of those to train on labelled beside the disc; three versions of them; a request for each job."""
    rng, rows, other = np.random.default_rng(0), [], []
    y, x = np.mgrid[:32, :32]
    for ordinal in range(TRAINED + VALIDATED + HELD_OUT):
        cy, cx, radius = rng.integers(10, 22), rng.integers(10, 22), rng.integers(4, 8)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        beside = np.roll(disc, 10, axis=1)
        label = beside if ordinal < TRAINED and ordinal % 2 else disc
        image = np.clip(90 + 50 * disc[..., None] + rng.normal(0, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
        blobs = [png(image), *(png(mask.astype(np.uint8) * 255) for mask in (label, beside))]
        hashes = [hashlib.sha256(blob).hexdigest() for blob in blobs]
        for sha256, blob in zip(hashes, blobs, strict=True):
            store.put(keys.blob("ds-1", sha256), blob)
        later = tables.VALIDATION if ordinal < TRAINED + VALIDATED else tables.TEST
        row = {"ordinal": ordinal, "name": f"disc-{ordinal}", "image_sha256": hashes[0], "width": 32, "height": 32}
        row |= {"foreground": float(label.mean()), "split": tables.TRAIN if ordinal < TRAINED else later}
        rows.append({**row, "mask_sha256": hashes[1]})
        other.append({**row, "mask_sha256": hashes[2 if row["split"] == tables.VALIDATION else 1]})
    for number, listed in ((ALL, rows), (ALONE, rows[:TRAINED]), (OTHER_LABELS, other)):
        table = pa.Table.from_pylist(listed, schema=tables.SAMPLES)
        table = table.replace_schema_metadata({tables.MASK_VALUES: json.dumps([0, 255])})
        store.put(keys.version("ds-1", number), tables.to_parquet(table))
    for job, options in JOBS.items():
        given = {
            "dataset_id": "ds-1",
            "epochs": EPOCHS,
            "exports": [],
            "batch_size": 6,
            "image_size": 32,
            "learning_rate": 2e-2,
            "network": {"name": "UNet", "arguments": {"channels": [4, 8, 16], "strides": [2, 2]}},
            "method": {"name": "dale", "start": 1.0, "ema_decay": 0.5},  # the best epoch is neither the first nor last
            "seed": 2,
        }
        spec = JobSpec.model_validate(given | options)
        store.put(keys.request(job), TrainRequest(job_id=job, spec=spec).model_dump_json().encode())


def run_rank(rank: int, world_size: int, root: str, rendezvous: str, jobs: list[str]) -> None:
    """What one rank does: jobs one after the other."""
    from workers import artifacts, loop
    from workers.checkpoint import Checkpoints
    from workers.run import Run
    from workers.validation import Validation

    torch.set_num_threads(1)
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size)
    store = open_store(f"file://{root}/store")
    loop.CHECKPOINT_SECONDS = 0.0
    judge, write_epoch, begin = Validation.judge, artifacts.write_epoch, Checkpoints.begin

    def train(job: str) -> None:
        request = TrainRequest.model_validate_json(store.get(keys.request(job)))

        def judge_and_keep(self: Validation, learner, epoch: int) -> dict[str, float]:
            weights = {name: value.clone() for name, value in learner.final_weights().items()}
            if rank == 0:
                save_file(weights, f"{root}/{job}-{epoch}.safetensors")
            return judge(self, learner, epoch)

        Validation.judge = judge_and_keep  # type: ignore[method-assign]
        loop.train(Run(request, 1, store, rank, world_size, torch.device("cpu")))

    def kept(self: Checkpoints, *state) -> None:
        begin(self, *state)
        self.commit(wait=True)

    def killed_in(epoch: int, *, written: bool) -> Callable[..., None]:
        def write_and_die(run: Run, state, number: int, *others) -> None:
            if number != epoch or written:
                write_epoch(run, state, number, *others)
            if number == epoch:
                raise Killed

        return write_and_die

    Checkpoints.begin = kept  # type: ignore[method-assign]
    for job in jobs:
        if job == "damaged":  # the best weights; then the whole run is resumed
            best = EpochManifest.model_validate_json(store.get(keys.epoch_manifest("damaged", EPOCHS - 1))).best
            assert best is not None
            store.put(best.key, b"damaged")
            train(job)
            continue
        if job == "killed":  # in each epoch once before its manifest is written, and once when it has just been
            for epoch in range(EPOCHS):
                for written in (False, True):
                    artifacts.write_epoch = killed_in(epoch, written=written)
                    with contextlib.suppress(Killed):
                        train(job)
            artifacts.write_epoch = write_epoch
        train(job)
    if world_size > 1:
        dist.barrier()
    leave()


def run(root: Path, world_size: int, jobs: list[str]) -> None:
    rendezvous = str(root / f"rendezvous-{world_size}-{jobs[0]}")
    multiprocessing.spawn(run_rank, (world_size, str(root), rendezvous, jobs), nprocs=world_size)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which all jobs but those of two ranks are done."""
    root = tmp_path_factory.mktemp("best")
    store = open_store(f"file://{root}/store")
    fill(store)
    run(root, 1, ["whole", "alone", "other", "chosen", "killed", "plain", "plain-alone"])
    return root


@pytest.fixture(scope="module")
def store(root: Path) -> ObjectStore:
    return open_store(f"file://{root}/store")


def result(store: ObjectStore, job: str) -> ResultManifest:
    return ResultManifest.model_validate_json(store.get(keys.result_manifest(job)))


def file(store: ObjectStore, job: str, name: str) -> bytes:
    (found,) = (file for file in result(store, job).files if file.name == name)
    data = store.get(found.key)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (found.size, found.sha256)
    return data


def told(store: ObjectStore, job: str) -> list[float]:
    """The validation Dice of each epoch, as its manifest has it."""
    manifests = [EpochManifest.model_validate_json(store.get(keys.epoch_manifest(job, e))) for e in range(EPOCHS)]
    return [manifest.metrics["validation_dice"] for manifest in manifests]


def by_monai(store: ObjectStore, weights: Path) -> float:
    """The mean Dice of some weights on the validation samples, by MONAI's metric from the files on."""
    from workers.network import build_network

    about = json.loads(store.get(keys.result("whole", "model.json")))
    network = build_network(about["network"]["name"], about["network"]["arguments"])
    network.load_state_dict(load(weights.read_bytes()))
    network.eval()
    rows = tables.from_parquet(store.get(keys.version("ds-1", ALL)), tables.SAMPLES).to_pylist()
    metric = DiceMetric(include_background=False, ignore_empty=False)
    for row in rows[TRAINED : TRAINED + VALIDATED]:
        image, label = (
            np.asarray(Image.open(io.BytesIO(store.get(keys.blob("ds-1", row[name]))))).astype(np.float32) / 255
            for name in ("image_sha256", "mask_sha256")
        )
        inputs = torch.from_numpy((image - np.array(about["mean"])) / np.array(about["std"])).float().movedim(-1, 0)
        with torch.no_grad():
            mask = network(inputs[None]).argmax(1, keepdim=True)
        pair = (mask, torch.from_numpy(label)[None, None])
        metric(*(torch.cat([1 - values, values], 1) for values in pair))
    return float(metric.aggregate())


def test_the_best_epoch_is_the_one_that_monai_finds(root: Path, store: ObjectStore) -> None:
    expected = [by_monai(store, root / f"whole-{epoch}.safetensors") for epoch in range(EPOCHS)]
    assert told(store, "whole") == pytest.approx(expected, abs=1e-4)
    chosen = int(np.argmax(expected))
    assert 0 < chosen < EPOCHS - 1, "the first or the last: the comparison says little"
    last, best = result(store, "whole").checkpoints
    assert (last.kind, last.epoch, last.file) == ("last", EPOCHS - 1, "model.safetensors")
    assert (best.kind, best.epoch, best.file) == ("best", chosen, "best.safetensors")
    assert [last.validation_dice, best.validation_dice] == pytest.approx([expected[-1], max(expected)], abs=1e-4)
    for one in (last, best):
        saved = load((root / f"whole-{one.epoch}.safetensors").read_bytes())
        kept = load(file(store, "whole", one.file))
        assert kept.keys() == saved.keys() and all(torch.equal(kept[name], saved[name]) for name in saved)


def test_validation_samples_are_never_trained_on(store: ObjectStore) -> None:
    """The same weights to the last bit without them, and with other labels of them."""
    weights = [file(store, job, "model.safetensors") for job in ("whole", "alone", "other")]
    assert weights[0] == weights[1] == weights[2]
    assert file(store, "plain", "model.safetensors") == file(store, "plain-alone", "model.safetensors")
    assert max(told(store, "other")) < max(told(store, "whole")), "the labels are no others"
    assert [one.kind for one in result(store, "alone").checkpoints] == ["last"]
    assert not list(store.list(keys.best_weights("alone")))


def test_what_is_delivered_is_judged(store: ObjectStore) -> None:
    last, best = result(store, "chosen").checkpoints
    assert (last.file, best.file) == ("last.safetensors", "model.safetensors")
    assert file(store, "chosen", "model.safetensors") == file(store, "whole", "best.safetensors")
    assert file(store, "chosen", "last.safetensors") == file(store, "whole", "model.safetensors")
    for job in ("chosen", "whole"):
        found = result(store, job)
        scores = pa.concat_tables([tables.from_parquet(store.get(s.key), tables.TEST_SCORES) for s in found.test])
        assert sorted(scores["ordinal"].to_pylist()) == list(range(TRAINED + VALIDATED, TRAINED + VALIDATED + HELD_OUT))
        assert found.metrics["test_dice"] == pytest.approx(np.mean(scores["dice"].to_numpy()))
        assert all(store.exists(keys.prediction(job, ordinal)) for ordinal in range(TRAINED + VALIDATED + HELD_OUT))
    assert result(store, "chosen").metrics["test_dice"] != result(store, "whole").metrics["test_dice"]


def test_a_run_that_was_killed_in_every_epoch_keeps_its_best(store: ObjectStore) -> None:
    assert told(store, "killed") == told(store, "whole")
    assert result(store, "killed").checkpoints == result(store, "whole").checkpoints
    assert file(store, "killed", "best.safetensors") == file(store, "whole", "best.safetensors")
    assert len(list(store.list(keys.best_weights("killed")))) == 1


def test_best_weights_that_are_lost_are_made_again(root: Path, store: ObjectStore) -> None:
    for key in list(store.list(keys.job("whole"))):
        if not key.startswith((keys.result("whole", ""), keys.request("whole"))):
            data = store.get(key).replace(b"jobs/whole/", b"jobs/damaged/")
            store.put(key.replace(keys.job("whole"), keys.job("damaged")), data)
    run(root, 1, ["damaged"])
    assert result(store, "damaged").checkpoints == result(store, "whole").checkpoints
    assert file(store, "damaged", "best.safetensors") == file(store, "whole", "best.safetensors")


def test_two_ranks_choose_as_one(root: Path, store: ObjectStore) -> None:
    """Also where each holds a share of the weights."""
    run(root, 2, ["two", "shares"])
    expected = [one.epoch for one in result(store, "whole").checkpoints]
    for job in ("two", "shares"):
        assert told(store, job) == pytest.approx(told(store, "whole"), abs=0.02)  # a pixel may fall on either side
        assert [one.epoch for one in result(store, job).checkpoints] == expected
    best, saved = load(file(store, "shares", "model.safetensors")), root / f"shares-{expected[1]}.safetensors"
    assert all(torch.equal(best[name], value) for name, value in load(saved.read_bytes()).items())
    assert by_monai(store, saved) == pytest.approx(max(told(store, "shares")), abs=1e-4)
