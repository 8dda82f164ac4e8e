"""One training run of the benchmark: the service's own learner and epochs, on samples that lie in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import dale
from tests.benchmarks.robustness.data import Pool
from workers.contract.request import JobSpec
from workers.data import Statistics, statistics_of, to_network
from workers.learner import Learner
from workers.loop import confidence_epoch, network_epoch
from workers.sampling import Plan

PREDICTION_BATCH = 64


class InMemory:
    """Samples in memory, for `workers.loop.network_epoch`."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[ordinals], self.labels[ordinals]


@dataclass
class Training:
    """A training under way: its learner, the state of its confidences, and where it stands.

    Attributes:
        learner: the service's.
        state: confidences of all samples.
        samples: images and the labels that are given.
        plan: the order of the samples.
        epoch: epochs done.
        metrics: of the last epoch, as a job reports them.
    """

    learner: Learner
    state: dale.ConfidenceState
    samples: InMemory
    plan: Plan
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)

    def run(self, until: int, after: Callable[[Training], None] = lambda training: None) -> None:
        """Train up to an epoch, calling `after` at the end of each."""
        while self.epoch < until:
            evidence, loss = network_epoch(self.learner, self.samples, self.plan, self.state.confidence, self.epoch)
            self.metrics = {"loss": loss, **confidence_epoch(self.learner, self.state, evidence, self.epoch)}
            self.epoch += 1
            after(self)

    def snapshot(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return copy.deepcopy(
            {"learner": self.learner.state_dict(), "state": self.state.state_dict(), "epoch": self.epoch}
        )

    def resume(self, snapshot: dict[str, Any]) -> None:
        """Go on from the snapshot of a training that was the same up to there."""
        snapshot = copy.deepcopy(snapshot)
        self.learner.load_state_dict(snapshot["learner"])
        self.state.load([snapshot["state"]])
        self.epoch = snapshot["epoch"]


def begin(
    spec: JobSpec,
    images: Tensor,
    labels: Tensor,
    classes: int,
    device: torch.device,
    kind: type[Learner] = Learner,
    compiled: bool = False,
) -> Training:
    """A training before its first step, exactly as a job with this spec begins."""
    samples = InMemory(images, labels)
    plan = Plan(len(images), spec.batch_size, spec.seed, 0, 1)
    learner = kind(spec, statistics_of(samples, len(images), classes), plan.steps * spec.epochs, device)
    if compiled:
        # Else code that was compiled for an untapped network of the same class serves a tapped one, without its tap.
        torch._dynamo.config.skip_nnmodule_hook_guards = False
        for module in (learner.module, learner.teacher.module):
            module.to(memory_format=torch.channels_last).compile()
    return Training(learner, dale.ConfidenceState(len(images)), samples, plan)


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, statistics: Statistics, device: torch.device) -> Tensor:
    """Class probabilities (N, C, S, S) of images (N, 3, S, S) uint8, on the CPU."""
    was_training = network.training
    network.eval()
    parts = [
        torch.softmax(network(to_network(part.to(device), statistics)), dim=1).cpu()
        for part in images.split(PREDICTION_BATCH)
    ]
    network.train(was_training)
    return torch.cat(parts)


def dice_of(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Dice of each image, (N,): mean over the lesion classes; 1 where a class is in neither mask nor prediction."""
    predicted = probabilities.argmax(1)
    classes = range(1, probabilities.shape[1])
    scores = []
    for value in classes:
        p, y = (predicted == value).flatten(1), (masks == value).flatten(1)
        sizes = (p.sum(1) + y.sum(1)).float()
        scores.append(torch.where(sizes > 0, 2 * (p & y).sum(1) / sizes.clamp_min(1), 1.0))
    return torch.stack(scores).mean(0)


def dice_on(training: Training, network: nn.Module, test: Pool) -> Tensor:
    """Dice of a network on each test image, (N,)."""
    learner = training.learner
    return dice_of(predict(network, test.images, learner.statistics, learner.device), test.masks)
