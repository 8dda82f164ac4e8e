"""The only writer of a run's outputs: confidence shards and manifests of epochs, predictions and model at the end.

The manifest is written last, after a barrier: whoever finds it finds everything that it names.
"""

from __future__ import annotations

import json

import pyarrow as pa
import structlog
import torch
from safetensors.torch import save as save_safetensors

import dale
from workers.contract import keys, tables
from workers.contract.request import EpochManifest, ResultFile, ResultManifest, Shard
from workers.data import Samples, to_masks, to_network
from workers.exchange import gather
from workers.images import encode_mask
from workers.learner import Learner
from workers.run import Run

log = structlog.get_logger()
PREDICTION_BATCH = 32


def missing_epochs(run: Run) -> set[int]:
    """The epochs of the run that are not in the store yet, or not any more. A collective."""
    found: list[int] = []
    if run.rank == 0:
        prefix = keys.epochs(run.request.job_id)
        parts = [key.removeprefix(prefix).split("/") for key in run.store.list(prefix)]
        found = [int(number) for number, name in parts if name == keys.MANIFEST]
    return set(range(run.request.spec.epochs)).difference(gather(found)[0])


def write_epoch(run: Run, state: dale.ConfidenceState, epoch: int, metrics: dict[str, float]) -> None:
    """Write the epoch's confidences: each rank its shard, then rank 0 the manifest. A collective."""
    job_id = run.request.job_id
    table = pa.table(
        {
            "ordinal": state.ordinals.numpy(),
            "confidence": state.confidence.numpy(),
            "score": state.score().numpy(),
            "dice": state.dice.numpy(),
            "expected_dice": state.expected_dice.numpy(),
        },
        schema=tables.CONFIDENCE,
    )
    key = keys.confidence_shard(job_id, epoch, run.rank, run.world_size)
    written = run.write(key, tables.to_parquet(table), "application/vnd.apache.parquet")
    shards = gather(Shard(**written.model_dump(), rows=len(state.ordinals)))
    if run.rank == 0:
        manifest = EpochManifest(
            job_id=job_id,
            attempt=run.attempt,
            epoch=epoch,
            world_size=run.world_size,
            metrics=metrics,
            shards=shards,
        )
        run.write(keys.epoch_manifest(job_id, epoch), manifest.model_dump_json().encode(), "application/json")
        log.info("epoch", epoch=epoch, **{name: round(value, 4) for name, value in metrics.items()})


def write_result(
    run: Run, learner: Learner, samples: Samples, state: dale.ConfidenceState, metrics: dict[str, float]
) -> None:
    """Write the final network's mask of every sample, then the model, then the manifest. A collective."""
    job_id = run.request.job_id
    network = learner.final.eval()
    for ordinals in state.ordinals.split(PREDICTION_BATCH):
        images, _ = samples.batch(ordinals)
        with torch.no_grad():
            masks = to_masks(network(to_network(images.to(run.device), learner.statistics)))
        for ordinal, mask in zip(ordinals.tolist(), masks, strict=True):
            run.write(keys.prediction(job_id, ordinal), encode_mask(mask, *samples.size(ordinal)), "image/png")
    weights = {name: value.contiguous() for name, value in learner.final_weights().items()}
    gather(None)
    if run.rank != 0:
        return
    files = [
        _result_file(run, "model.safetensors", save_safetensors(weights), "application/octet-stream"),
        _result_file(run, "model.json", describe_model(run, learner, samples), "application/json"),
    ]
    manifest = ResultManifest(
        job_id=job_id,
        attempt=run.attempt,
        epochs=run.request.spec.epochs,
        metrics=metrics,
        files=files,
        predictions=True,
    )
    run.write(keys.result_manifest(job_id), manifest.model_dump_json().encode(), "application/json")
    log.info("result", files=[file.name for file in files])


def describe_model(run: Run, learner: Learner, samples: Samples) -> bytes:
    """`model.json`: how to build the network again and what its input and output mean."""
    spec = run.request.spec
    description = {
        "network": {"name": spec.network.name, "arguments": learner.arguments},
        "image_size": spec.image_size,
        "mean": [round(value, 6) for value in learner.statistics.mean.tolist()],
        "std": [round(value, 6) for value in learner.statistics.std.tolist()],
        "classes": samples.classes,
        "mask_values": samples.mask_values,
        "job_id": run.request.job_id,
        "spec": spec.model_dump(mode="json"),
    }
    return json.dumps(description, indent=1).encode()


def _result_file(run: Run, name: str, data: bytes, media_type: str) -> ResultFile:
    written = run.write(keys.result(run.request.job_id, name), data, media_type)
    return ResultFile(**written.model_dump(), name=name, media_type=media_type)
