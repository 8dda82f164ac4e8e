"""The only writer of a run's outputs: confidence shards and manifests of epochs, then predictions, maps and model.

The manifest is written last, after a barrier: whoever finds it finds everything that it names.
"""

from __future__ import annotations

import pyarrow as pa
import structlog
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

import dale
from workers.contract import keys, tables
from workers.contract.request import (
    BestWeights,
    EpochManifest,
    KeptCheckpoint,
    ResultFile,
    ResultManifest,
    Shard,
    WrittenObject,
)
from workers.data import Samples, Statistics, to_masks, to_network
from workers.dataset import AnySamples
from workers.description import describe_model
from workers.doubt import doubts, doubts_of_volume, encode_doubts
from workers.exchange import gather
from workers.export.publish import publish_exports
from workers.images import decode_mask, encode_mask
from workers.learner import Learner
from workers.neighbours import Looks
from workers.reasons import Reasons
from workers.run import Run
from workers.scores import Scores
from workers.sliding import volume_logits
from workers.validation import read_best
from workers.volumes import Volumes

log = structlog.get_logger()
PREDICTION_BATCH = 32
WEIGHTS = "model.safetensors"  # of the checkpoint that is delivered
BINARY = "application/octet-stream"


def missing_epochs(run: Run) -> set[int]:
    """The epochs of the run that are not in the store yet, or not any more. A collective."""
    found: list[int] = []
    if run.rank == 0:
        prefix = keys.epochs(run.request.job_id)
        parts = [key.removeprefix(prefix).split("/") for key in run.store.list(prefix)]
        found = [int(number) for number, name in parts if name == keys.MANIFEST]
    return set(range(run.request.spec.epochs)).difference(gather(found)[0])


def write_epoch(
    run: Run, state: dale.ConfidenceState, epoch: int, metrics: dict[str, float], best: BestWeights | None = None
) -> None:
    """Write the epoch's confidences: each rank its shard, then rank 0 the manifest. A collective.

    Args:
        run: this rank's view of the run.
        state: the confidences.
        epoch: counted from 0.
        metrics: of the epoch.
        best: of this epoch and those before, if any was judged.
    """
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
            best=best,
        )
        run.write(keys.epoch_manifest(job_id, epoch), manifest.model_dump_json().encode(), "application/json")
        log.info("epoch", epoch=epoch, **{name: round(value, 4) for name, value in metrics.items()})


def write_result(
    run: Run,
    learner: Learner,
    samples: AnySamples,
    state: dale.ConfidenceState,
    metrics: dict[str, float],
    best: BestWeights | None = None,
) -> None:
    """Write the delivered network's mask of every sample, held out or not, and the map of what it doubts of the label.

    Then the model, then the manifest. A collective.
    How well it does on the samples that are held out becomes part of the metrics and of the model's description.

    Args:
        run: this rank's view of the run.
        learner: at the end of the training.
        samples: what it has learned from, and those that it has not.
        state: the confidences.
        metrics: of the last epoch.
        best: the epoch that did best on the validation samples; None: there are none.
    """
    job_id = run.request.job_id
    chosen = best if run.request.spec.deliver == "best" else None
    chosen_weights = read_best(run.store, chosen) if chosen else None
    network = (learner.final if chosen_weights is None else learner.network_of(chosen_weights)).eval()
    validated, held_out = (
        torch.tensor(part[run.rank :: run.world_size], dtype=torch.long)
        for part in (samples.validation, samples.held_out)
    )
    reasons = Reasons()
    scores = Scores(samples.classes)
    looks = Looks(network, torch.zeros(1, samples.channels, *[samples.edge] * samples.spatial_dims, device=run.device))
    if isinstance(samples, Samples):
        _write_images(run, network, learner.statistics, samples, state.ordinals, reasons, looks)
        looks.close()
        _write_images(run, network, learner.statistics, samples, validated)
        _write_images(run, network, learner.statistics, samples, held_out, scores=scores)
    else:
        _write_volumes(run, network, samples, state.ordinals, reasons, looks)
        looks.close()
        _write_volumes(run, network, samples, validated)
        _write_volumes(run, network, samples, held_out, scores=scores)
    test, summary, evaluation = scores.write(run, samples)
    doubted = reasons.write(run)
    alike = looks.write(run, samples)
    last = {name: value.contiguous() for name, value in learner.final_weights().items()}
    weights = last if chosen_weights is None else chosen_weights
    gather(None)
    if run.rank != 0:
        return
    end = KeptCheckpoint(
        kind="last",
        epoch=run.request.spec.epochs - 1,
        validation_dice=metrics.get("validation_dice"),
        file=WEIGHTS,
    )
    kept, beside = _checkpoints(run, end, best, last)
    description = describe_model(run, learner, samples, summary, evaluation, kept)
    description, exported, reports = publish_exports(run, samples, weights, description)
    files = [
        _result_file(run, WEIGHTS, save_safetensors(weights), BINARY),
        _result_file(run, "model.json", description, "application/json"),
        *beside,
        *exported,
    ]
    manifest = ResultManifest(
        job_id=job_id,
        attempt=run.attempt,
        epochs=run.request.spec.epochs,
        metrics=metrics | summary,
        files=files,
        checkpoints=kept,
        test=test,
        evaluation=evaluation,
        reasons=doubted,
        neighbours=alike,
        exports=reports,
        predictions=True,
        maps=True,
    )
    run.write(keys.result_manifest(job_id), manifest.model_dump_json().encode(), "application/json")
    log.info("result", files=[file.name for file in files], **summary)


def _checkpoints(
    run: Run, end: KeptCheckpoint, best: BestWeights | None, last: dict[str, Tensor]
) -> tuple[list[KeptCheckpoint], list[ResultFile]]:
    """Which weights can be had, and the file of those that are not delivered; the best may be the last."""
    if best is None:
        return [end], []
    chosen = KeptCheckpoint(kind="best", epoch=best.epoch, validation_dice=best.dice, file=WEIGHTS)
    if best.epoch == end.epoch:
        return [end, chosen], []
    if run.request.spec.deliver == "best":
        file = _result_file(run, "last.safetensors", save_safetensors(last), BINARY)
        return [end.model_copy(update={"file": file.name}), chosen], [file]
    found = WrittenObject(key=best.key, size=best.size, sha256=best.sha256)
    file = ResultFile(**found.model_dump(), name="best.safetensors", media_type=BINARY)
    return [end, chosen.model_copy(update={"file": file.name})], [file]


def _write_images(
    run: Run,
    network: nn.Module,
    statistics: Statistics,
    samples: Samples,
    ordinals: Tensor,
    reasons: Reasons | None = None,
    looks: Looks | None = None,
    scores: Scores | None = None,
) -> None:
    """Write masks and maps of some samples, and say what is asked for about each; scores in the images' own size."""
    for some in ordinals.split(PREDICTION_BATCH) if len(ordinals) else ():
        images, labels = samples.batch(some)
        with torch.no_grad():
            logits = network(to_network(images.to(run.device), statistics))
        found = zip(some.tolist(), to_masks(logits), labels.numpy(), doubts(logits, labels), strict=True)
        for ordinal, mask, label, doubt in found:
            width, height = samples.size(ordinal)
            written = encode_mask(mask, width, height)
            run.write(keys.prediction(run.request.job_id, ordinal), written, "image/png")
            run.write(keys.doubt_map(run.request.job_id, ordinal), encode_doubts(doubt, width, height), "image/png")
            if reasons is not None:
                edge = samples.image_size
                reasons.add(ordinal, mask, label, (height / edge, width / edge), "px")
            if scores is not None:
                own = decode_mask(written, None, list(range(samples.classes)))
                scores.add(ordinal, own, samples.label(ordinal))
        if scores is not None:
            scores.calibrate(logits, labels)
        if looks is not None:
            looks.keep(some)


def _write_volumes(
    run: Run,
    network: nn.Module,
    samples: Volumes,
    ordinals: Tensor,
    reasons: Reasons | None = None,
    looks: Looks | None = None,
    scores: Scores | None = None,
) -> None:
    """Write masks and maps of some volumes, and say what is asked for about each."""
    for ordinal in ordinals.tolist():
        image, label = samples.volume(ordinal)
        logits = volume_logits(network, image, samples.patch_size)
        classes, doubt = logits.argmax(0).to(torch.uint8), torch.from_numpy(doubts_of_volume(logits, label))
        for key, values in ((keys.prediction, classes), (keys.doubt_map, doubt)):
            written = samples.encode(ordinal, values)
            run.write(key(run.request.job_id, ordinal, "nii.gz"), written, "application/gzip")
        if reasons is not None:
            reasons.add(ordinal, classes.numpy(), label.numpy(), samples.spacing(ordinal), "mm")
        if scores is not None:
            scores.add(ordinal, classes.numpy(), label.numpy(), samples.spacing(ordinal))
            scores.calibrate(logits[None], label[None])
        if looks is not None:
            looks.keep(torch.tensor([ordinal]))


def _result_file(run: Run, name: str, data: bytes, media_type: str) -> ResultFile:
    written = run.write(keys.result(run.request.job_id, name), data, media_type)
    return ResultFile(**written.model_dump(), name=name, media_type=media_type)
