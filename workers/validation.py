"""Mean Dice on the validation samples during training, and the epoch that it chooses.

Weights are written when an epoch is the best so far, before the epoch's manifest, which names them: what no manifest
names does not exist, and every manifest knows the best of all epochs up to its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection

import structlog
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from workers.contract import keys
from workers.contract.request import BestWeights, EpochManifest, JobSpec
from workers.contract.store import ObjectMissing, ObjectStore
from workers.data import Samples, Statistics, to_masks, to_network
from workers.dataset import AnySamples
from workers.exchange import gather
from workers.learner import Learner
from workers.metrics import dice
from workers.run import Run
from workers.sliding import OVERLAP, predict_volume

log = structlog.get_logger()
BATCH = 32  # images of one pass
COST = 0.1  # of the training, at most, unless that would be too rarely
TIMES = 10  # a choice among fewer epochs would hardly be one
STEP = 4  # a sample's training, in forward passes: one of the teacher, one and twice as much back of the network


class BestLost(Exception):
    """The best weights are not there, or not what the manifest says; the epoch must be done again."""


class Validation:
    """Which epoch is the best so far. Every rank calls the same methods in the same order.

    Args:
        run: this rank's view of the run.
        samples: what is trained on; the validation samples may be none.

    Attributes:
        best: of the epochs that were judged; None: no epoch was.
        every: epochs from one judgement to the next.
    """

    def __init__(self, run: Run, samples: AnySamples) -> None:
        self._run, self._samples = run, samples
        self._first = 0  # epochs before it were judged by earlier attempts
        self._tidy = False  # whether nothing but the best lies in the store; attempts may have left more
        self.best: BestWeights | None = None
        self.every = interval(run.request.spec, samples)

    def restore(self, missing: Collection[int]) -> int:
        """Take up the best epoch that earlier attempts have found. A collective.

        Args:
            missing: epochs that are not in the store.

        Returns:
            The first epoch that must be done: that is missing, or whose weights were the best and are lost.
        """
        first, best = min(missing, default=self._run.request.spec.epochs), None
        if self._run.rank == 0 and self._samples.validation:
            while first > 0 and (best := self._best_until(first - 1)) is not None:
                try:
                    read_best(self._run.store, best)
                    break
                except BestLost as error:
                    log.warning("the best weights are lost, their epoch is done again", reason=str(error))
                    first, best = best.epoch, None
        self._first, self.best = gather((first, best))[0]
        return self._first

    def judge(self, learner: Learner, epoch: int) -> dict[str, float]:
        """Compare the network as it is after an epoch with the best so far, if its turn has come. A collective.

        Args:
            learner: after the epoch.
            epoch: counted from 0.

        Returns:
            `validation_dice`; nothing where the epoch is not judged.
        """
        last = epoch == self._run.request.spec.epochs - 1
        judged_before = epoch < self._first
        if not self._samples.validation or not (last or ((epoch + 1) % self.every == 0 and not judged_before)):
            return {}
        found = mean_dice(self._run, learner.final.eval(), learner.statistics, self._samples)
        if not judged_before and (self.best is None or found > self.best.dice):
            weights = learner.final_weights()
            written = self._write(weights, epoch, found) if self._run.rank == 0 else None
            self.best, self._tidy = gather(written)[0], False
        return {"validation_dice": found}

    def prune(self) -> None:
        """Remove weights that are no longer the best; for after the manifest that names others is written."""
        if self._run.rank != 0 or self.best is None or self._tidy:
            return
        for key in list(self._run.store.list(keys.best_weights(self._run.request.job_id))):
            if key != self.best.key:
                self._run.store.delete(key)
        self._tidy = True

    def _best_until(self, epoch: int) -> BestWeights | None:
        manifest = self._run.store.get(keys.epoch_manifest(self._run.request.job_id, epoch))
        return EpochManifest.model_validate_json(manifest).best

    def _write(self, weights: dict[str, Tensor], epoch: int, found: float) -> BestWeights:
        key = keys.best_weights(self._run.request.job_id, epoch)
        written = self._run.write(key, save({name: value.contiguous() for name, value in weights.items()}))
        return BestWeights(**written.model_dump(), epoch=epoch, dice=found)


def read_best(store: ObjectStore, best: BestWeights) -> dict[str, Tensor]:
    """The state of the bare network, on the CPU.

    Raises:
        BestLost: it is not there, or not what was written.
    """
    try:
        data = store.get(best.key)
    except ObjectMissing as error:
        raise BestLost(f"{best.key} is missing") from error
    if hashlib.sha256(data).hexdigest() != best.sha256:
        raise BestLost(f"{best.key} has another sha256 than the manifest of its epoch says")
    return load(data)


@torch.no_grad()
def mean_dice(run: Run, network: nn.Module, statistics: Statistics, samples: AnySamples) -> float:
    """Mean Dice over the validation samples, as `workers.metrics.dice` has it. A collective: each rank takes its share.

    Of images in the size that the network sees, of volumes in their own. To the last bit the same for any number of
    ranks, if the predictions are.

    Args:
        run: this rank's view of the run.
        network: in evaluation mode.
        statistics: of the dataset.
        samples: which has some.
    """
    mine = samples.validation[run.rank :: run.world_size]
    found: list[float] = []
    if isinstance(samples, Samples):
        for some in torch.tensor(mine, dtype=torch.long).split(BATCH) if mine else ():
            images, labels = samples.batch(some)
            masks = to_masks(network(to_network(images.to(run.device), statistics)))
            found += [dice(*pair, samples.classes) for pair in zip(masks, labels.numpy(), strict=True)]
    else:
        for ordinal in mine:
            image, label = samples.volume(ordinal)
            predicted = predict_volume(network, image, samples.patch_size)
            found.append(dice(predicted.numpy(), label.numpy(), samples.classes))
    return math.fsum(value for values in gather(found) for value in values) / len(samples.validation)


def interval(spec: JobSpec, samples: AnySamples) -> int:
    """Epochs from one look at the validation samples to the next: as few as cost little beside the training.

    Args:
        spec: the job, which may say it.
        samples: what is trained on.
    """
    if spec.validate_every is not None:
        return spec.validate_every
    passes = float(len(samples.validation))
    if samples.spatial_dims == 3:  # windows, where training sees one patch
        axes = (samples.table[name].to_pylist() for name in ("width", "height", "depth"))
        edges = list(zip(*axes, strict=True))
        own = (edges[ordinal] for ordinal in samples.validation)
        stride = samples.edge * (1 - OVERLAP)
        passes = sum(math.prod(max(1, math.ceil((edge - samples.edge) / stride) + 1) for edge in size) for size in own)
    cheap = math.ceil(passes / (COST * STEP * len(samples)))
    return max(1, min(cheap, math.ceil(spec.epochs / TIMES)))
