"""Volumes with some wrong labels: are they found, and what do they cost? Plain training against DALE.

`python -m tests.benchmarks.volumes --data FOLDER --out FILE --method dale --seed 0`: FOLDER holds NIfTI files of equal
names in images/ and labels/. One run, as a job does it on one worker; its figures as JSON in FILE.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from dale import partition
from dale.faults import MAX_DICE
from dale.faults import dice as dice_of_faults
from workers import loop
from workers.contract import keys, tables
from workers.contract.request import EpochManifest, JobSpec, ResultManifest, TrainRequest
from workers.contract.store import ObjectStore, open_store
from workers.nifti import decode_labels, open_volume
from workers.predict import dice, load_model, predict_nifti
from workers.run import Run

Mask = NDArray[np.uint8]
DATASET, JOB = "volumes", "run"
TRIES, GROWTH = 10, 1.2  # as in `dale.noise`


def eroded(mask: Mask, strength: float, rng: np.random.Generator) -> Mask:
    """Drawn too narrow, by a fifth to two fifths of the largest distance from the border."""
    inside = ndimage.distance_transform_edt(mask != 0)
    return np.where(inside > rng.uniform(0.2, 0.4) * strength * inside.max(), mask, 0).astype(np.uint8)


def shifted(mask: Mask, strength: float, rng: np.random.Generator) -> Mask:
    """Drawn beside it: by 0.4 to 0.8 of the largest distance from the border, in any direction."""
    direction = rng.standard_normal(3)
    length = rng.uniform(0.4, 0.8) * strength * ndimage.distance_transform_edt(mask != 0).max()
    shift = np.rint(length * direction / np.linalg.norm(direction))
    return np.asarray(ndimage.shift(mask, shift, order=0)).astype(np.uint8)


def corrupted(mask: Mask, kind: int, rng: np.random.Generator) -> Mask:
    """Eroded or shifted, harder from try to try, until the Dice with the mask is below `MAX_DICE`."""
    for attempt in range(TRIES):
        result = (eroded, shifted)[kind](mask, GROWTH**attempt, rng)
        if result.any() and dice_of_faults(result, mask) < MAX_DICE:
            return result
    raise ValueError("this mask cannot be corrupted")


def put(store: ObjectStore, data: Path, names: list[str], bad: dict[str, int], seed: int) -> dict[str, float]:
    """The volumes as a dataset version; returns the Dice of each corrupted label with the given one."""
    rng, rows, changed = np.random.default_rng([seed, 1]), [], {}
    for ordinal, name in enumerate(names):
        image, label = (nib.load(data / folder / name) for folder in ("images", "labels"))
        mask = np.asarray(label.dataobj).astype(np.uint8)
        if name in bad:
            mask, given = corrupted(mask, bad[name], rng), mask
            changed[name] = dice_of_faults(mask, given)
        file = nib.Nifti1Image(mask, label.affine).to_bytes()
        blobs = [(data / "images" / name).read_bytes(), gzip.compress(file, 1)]
        hashes = [hashlib.sha256(blob).hexdigest() for blob in blobs]
        for sha256, blob in zip(hashes, blobs, strict=True):
            store.put(keys.blob(DATASET, sha256), blob)
        spacing = [float(edge) for edge in image.header.get_zooms()]
        rows.append((ordinal, name, *hashes, *image.shape[:2], float((mask > 0).mean()), image.shape[2], *spacing))
    named = [dict(zip(tables.VOLUMES.names, row, strict=False)) for row in rows]
    schema = tables.VOLUMES.with_metadata({**tables.VOLUMES.metadata, tables.MASK_VALUES: json.dumps([0, 1, 2])})
    store.put(keys.version(DATASET, 1), tables.to_parquet(pa.Table.from_pylist(named, schema=schema)))
    return changed


def held_out_dice(store: ObjectStore, folder: Path, data: Path, names: list[str]) -> list[float]:
    """Mean Dice over the foreground classes, of each held-out volume, with its label as given."""
    for file in ResultManifest.model_validate_json(store.get(keys.result_manifest(JOB))).files:
        (folder / file.name).write_bytes(store.get(file.key))
    network, description = load_model(folder)
    scores = []
    for name in names:
        own = decode_labels(open_volume(predict_nifti(network, description, data / "images" / name)), [0, 1, 2])
        truth = decode_labels(open_volume(data / "labels" / name), [0, 1, 2])
        scores.append(dice(own, truth, 3))
    return scores


def found(store: ObjectStore, epoch: int, wrong: list[bool]) -> dict[str, float]:
    """How well an epoch's scores find the corrupted labels."""
    manifest = EpochManifest.model_validate_json(store.get(keys.epoch_manifest(JOB, epoch)))
    table = tables.from_parquet(store.get(manifest.shards[0].key), tables.CONFIDENCE).sort_by("ordinal")
    doubt, confidence = -table["score"].to_numpy(), table["confidence"].to_numpy()
    return {
        "epoch": epoch + 1,
        "auroc": float(roc_auc_score(wrong, doubt)),
        "ap": float(average_precision_score(wrong, doubt)),
        "gate": manifest.metrics["gate"],
        "confidence_of_clean": float(confidence[~np.array(wrong)].mean()),
        "confidence_of_wrong": float(confidence[wrong].mean()),
    }


def main(argv: list[str] | None = None) -> int:
    """One run."""
    parser = argparse.ArgumentParser(description="Volumes with some wrong labels: one run.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", choices=["plain", "dale"], required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the run, and of which labels are corrupted")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--wrong", type=int, default=5, help="so many labels are corrupted")
    parser.add_argument(
        "--held-out", type=int, default=6, help="so many volumes, always the same, are never trained on"
    )
    parser.add_argument(
        "--open-gate", action="store_true", help="let the confidences act, whatever the doubts look like"
    )
    options = parser.parse_args(argv)
    if options.open_gate:
        partition.GAP_OF_CLEAN, partition.GAP_OF_NOISY = -1.0, 0.0
    torch.set_num_threads(1)
    names = sorted(path.name for path in (options.data / "images").iterdir())
    order = np.random.default_rng(0).permutation(names).tolist()
    held_out, train = order[: options.held_out], sorted(order[options.held_out :])
    chosen = np.random.default_rng([options.seed, 0]).permutation(train)[: options.wrong].tolist()
    bad = {name: number % 2 for number, name in enumerate(chosen)}
    given: dict[str, Any] = {
        "dataset_id": DATASET,
        "epochs": options.epochs,
        "batch_size": 4,
        "augmentation": "light",
        "method": {"name": options.method},
        "seed": options.seed,
    }
    spec = JobSpec.model_validate(given)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"file://{folder}/store")
        changed = put(store, options.data, train, bad, options.seed)
        begin = time.monotonic()
        request = TrainRequest(job_id=JOB, spec=spec)
        loop.train(Run(request, 1, store, 0, 1, torch.device("cpu")))
        seconds = time.monotonic() - begin
        wrong = [name in bad for name in train]
        epochs = sorted({*range(9, options.epochs, 10), options.epochs - 1})
        scores = held_out_dice(store, Path(folder), options.data, held_out)
        report = {
            "spec": spec.model_dump(mode="json"),
            "train": len(train),
            "open_gate": options.open_gate,
            "wrong": {name: [("eroded", "shifted")[bad[name]], round(dice, 3)] for name, dice in changed.items()},
            "seconds": round(seconds),
            "held_out_dice": scores,
            "mean_dice": float(np.mean(scores)),
            "found": [found(store, epoch, wrong) for epoch in epochs],
        }
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
