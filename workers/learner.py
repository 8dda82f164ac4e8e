"""All that learns by gradients: the network, its teacher, the optimizer and its schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import dale
from workers.batchnorm import normalise_globally
from workers.contract.request import JobSpec, PlainMethod
from workers.data import Statistics, one_hot, to_network
from workers.network import InBfloat16, build_network, constructor_arguments, single_output

WARMUP_STEPS = 50
WEIGHT_DECAY = 1e-4
MAX_GRADIENT_NORM = 1.0


class Learner:
    """The network and what moves it.

    Args:
        spec: what to train.
        statistics: of the dataset.
        steps: of the whole run, for the schedule.
        device: where to compute.
        rank: this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        spec: JobSpec,
        statistics: Statistics,
        steps: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.spec, self.device, self.rank, self.world_size = spec, device, rank, world_size
        self.statistics, self.classes = statistics, len(statistics.prior)
        self.arguments = constructor_arguments(
            spec.network, channels=3, classes=self.classes, image_size=spec.image_size
        )
        torch.manual_seed(spec.seed)
        self.network = build_network(spec.network.name, self.arguments)
        dale.initialise_head(self.network, statistics.prior)
        module = single_output(spec.network.name, self.network)
        self._normalisations = normalise_globally(module) if world_size > 1 else []
        if spec.precision == "bfloat16":
            module = InBfloat16(module)
        self.module = module.to(device)
        self.config = dale_config(spec)
        self.teacher = dale.make_teacher(self.module, self.config.ema_decay)
        example = torch.zeros(1, 3, spec.image_size, spec.image_size, device=device)
        self.student = dale.Student(self.module, self.config, example, self.classes, spec.seed)
        self.parallel: nn.Module = self.student
        if world_size > 1:
            # Before the confidences act, the discriminator of an adversarial alignment has nothing to do.
            idle = self.config.alignment == "adversarial"
            self.parallel = DistributedDataParallel(
                self.student,
                find_unused_parameters=idle,
                forward_sync_buffers=False,  # statistics of the global batch: every rank computes the same
                gradient_as_bucket_view=True,
            )
        self.optimizer = torch.optim.AdamW(
            self.student.parameters(), lr=spec.learning_rate, weight_decay=WEIGHT_DECAY, fused=True
        )
        self._weights = list(self.student.parameters())
        self._whole = 0.0
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda t: _learning_rate(t, steps))

    @property
    def final(self) -> nn.Module:
        """The network that the run delivers: the teacher, for plain training the network itself."""
        return self.module if isinstance(self.spec.method, PlainMethod) else self.teacher.module

    def begin_epoch(self, epoch: int) -> None:
        """Training mode, and random numbers (dropout) that depend on nothing but seed, epoch and rank."""
        self._whole = 0.0  # the weight of a sample in the epoch's first step, which is a whole batch
        self.parallel.train()
        torch.manual_seed((self.spec.seed * 1_000_003 + epoch) * 4099 + self.rank)

    def step(
        self,
        images: Tensor,
        labels: Tensor,
        ordinals: Tensor,
        weights: Tensor,
        confidence: Tensor,
        epoch: int,
    ) -> dale.Step:
        """One optimizer step over this rank's part of the global batch.

        Args:
            images: (b, 3, H, W), uint8.
            labels: (b, H, W), class indices.
            ordinals: (b,), the samples' numbers.
            weights: (b,), of the samples in the mean over the global batch; they sum to 1 over all ranks.
            confidence: (b,), in [0, 1].
            epoch: counted from 0.
        """
        device = self.device
        inputs = to_network(images.to(device, non_blocking=True), self.statistics)
        given = one_hot(labels.to(device, non_blocking=True), self.classes)
        views = dale.random_views(ordinals, epoch, self.spec.seed, augmentation=self.spec.augmentation).to(device)
        # The last, smaller step of an epoch does not mix: its rows would pair differently on another number of ranks.
        weight = float(weights.max())  # 1 / size of the global batch
        self._whole = self._whole or weight
        for layer in self._normalisations:
            layer.counts = weight > 0  # else the rows only stand in for none
        share = dale.mixing_share(self.config, epoch, self.spec.epochs) if weight == self._whole else 0.0
        mixing = dale.draw_mixing(ordinals, epoch, self.spec.seed, inputs.shape[2:], share).to(device)
        step = self.objective(inputs, given, confidence.to(device), views, mixing, epoch)
        self.optimizer.zero_grad(set_to_none=True)
        # DDP averages gradients over ranks; the loss is a sum over them.
        (self.world_size * (weights.to(device) * step.loss).sum()).backward()
        nn.utils.clip_grad_norm_(self._weights, MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.schedule.step()
        self.teacher.update_parameters(self.module)
        return step

    def objective(
        self, images: Tensor, labels: Tensor, confidence: Tensor, views: dale.Views, mixing: dale.Mixing, epoch: int
    ) -> dale.Step:
        """The loss of each sample of a batch on the device, and the evidence about it.

        Args:
            images: (b, 3, H, W), as the network takes them.
            labels: (b, C, H, W), one-hot.
            confidence: (b,), in [0, 1].
            views: what the student sees.
            mixing: which boxes the samples exchange in it.
            epoch: counted from 0.
        """
        return dale.network_step(
            self.parallel,
            self.teacher,
            images,
            labels,
            confidence,
            views,
            strength=dale.strength(self.config, epoch, self.spec.epochs),
            config=self.config,
            listen=dale.listening(self.config, epoch, self.spec.epochs),
            mixing=mixing,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, besides the confidences."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state of an earlier attempt."""
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def dale_config(spec: JobSpec) -> dale.DaleConfig:
    """The method's hyperparameters; plain training is the method whose confidences never begin to act."""
    if isinstance(spec.method, PlainMethod):
        return dale.DaleConfig(start=1.0)
    return dale.DaleConfig(**spec.method.model_dump(exclude={"name"}))


def _learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to 0, as a factor of the learning rate."""
    warmup = min(WARMUP_STEPS, max(steps // 10, 1))
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
