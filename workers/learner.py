"""All that learns by gradients: the network, its teacher, the optimizer and its schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import dale
from workers.contract.request import DaleMethod, JobSpec
from workers.data import Statistics, one_hot, to_network
from workers.network import build_network, constructor_arguments, single_output
from workers.run import Run

WARMUP_STEPS = 50
WEIGHT_DECAY = 1e-4
MAX_GRADIENT_NORM = 1.0


class Learner:
    """The network and what moves it.

    Args:
        run: the rank's view of the run.
        statistics: of the dataset.
        steps: of the whole run, for the schedule.
    """

    def __init__(self, run: Run, statistics: Statistics, steps: int) -> None:
        spec = run.request.spec
        self.run, self.statistics, self.classes = run, statistics, len(statistics.prior)
        self.arguments = constructor_arguments(
            spec.network, channels=3, classes=self.classes, image_size=spec.image_size
        )
        torch.manual_seed(spec.seed)
        self.network = build_network(spec.network.name, self.arguments)
        dale.initialise_head(self.network, statistics.prior)
        module = single_output(spec.network.name, self.network)
        if run.device.type == "cuda" and run.world_size > 1:
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        self.module = module.to(run.device)
        self.parallel = DistributedDataParallel(self.module) if run.world_size > 1 else self.module
        self.config = dale_config(spec)
        self.teacher = dale.make_teacher(self.module, self.config.ema_decay) if self.config else None
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=spec.learning_rate, weight_decay=WEIGHT_DECAY)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda t: _learning_rate(t, steps))

    @property
    def final(self) -> nn.Module:
        """The network that the run delivers: the teacher where there is one."""
        return self.teacher.module if self.teacher is not None else self.module

    def begin_epoch(self, epoch: int) -> None:
        """Training mode, and random numbers (dropout) that depend on nothing but seed, epoch and rank."""
        self.parallel.train()
        seed = self.run.request.spec.seed
        torch.manual_seed((seed * 1_000_003 + epoch) * 4099 + self.run.rank)

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
        spec, device = self.run.request.spec, self.run.device
        inputs = to_network(images.to(device, non_blocking=True), self.statistics)
        given = one_hot(labels.to(device, non_blocking=True), self.classes)
        views = dale.random_views(ordinals, epoch, spec.seed).to(device)
        if self.config is None or self.teacher is None:
            step = dale.plain_step(self.parallel, inputs, given, views)
        else:
            step = dale.network_step(
                self.parallel,
                self.teacher,
                inputs,
                given,
                confidence.to(device),
                views,
                strength=dale.strength(self.config, epoch, spec.epochs),
                consistency=self.config.consistency,
            )
        self.optimizer.zero_grad(set_to_none=True)
        # DDP averages gradients over ranks; the loss is a sum over them.
        (self.run.world_size * (weights.to(device) * step.loss).sum()).backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.schedule.step()
        if self.teacher is not None:
            self.teacher.update_parameters(self.module)
        return step

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, besides the confidences."""
        return {
            "module": self.module.state_dict(),
            "teacher": None if self.teacher is None else self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state of an earlier attempt."""
        self.module.load_state_dict(state["module"])
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def dale_config(spec: JobSpec) -> dale.DaleConfig | None:
    """The method's hyperparameters, or None for plain training."""
    if not isinstance(spec.method, DaleMethod):
        return None
    return dale.DaleConfig(**spec.method.model_dump(exclude={"name"}))


def _learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to 0, as a factor of the learning rate."""
    warmup = min(WARMUP_STEPS, max(steps // 10, 1))
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
