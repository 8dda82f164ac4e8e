"""All that learns by gradients: the network, its teacher, the optimizer and its schedule."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import dale
from workers.batchnorm import normalise_globally
from workers.compilation import compiles
from workers.contract.request import JobSpec, PlainMethod
from workers.data import Statistics, one_hot, to_network
from workers.network import InBfloat16, bare, build_network, constructor_arguments, single_output
from workers.sharding import shard, shares, shares_of_optimizer, whole
from workers.warm_start import start_from

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
        spatial_dims: 2 for images of `spec.image_size`, 3 for patches of `spec.patch_size`.
        weights: the bare network's, to start from, teacher and all; None: from new ones.

    Raises:
        WarmStartRefused: the weights are those of another network.
    """

    def __init__(
        self,
        spec: JobSpec,
        statistics: Statistics,
        steps: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        spatial_dims: int = 2,
        weights: dict[str, Tensor] | None = None,
    ) -> None:
        self.spec, self.device, self.rank, self.world_size = spec, device, rank, world_size
        self.statistics, self.classes, self.spatial_dims = statistics, len(statistics.prior), spatial_dims
        channels, edge = len(statistics.mean), spec.patch_size if spatial_dims == 3 else spec.image_size
        self.arguments = constructor_arguments(
            spec.network, channels=channels, classes=self.classes, image_size=edge, spatial_dims=spatial_dims
        )
        torch.manual_seed(spec.seed)
        self.network = build_network(spec.network.name, self.arguments)
        dale.initialise_head(self.network, statistics.prior)
        if weights is not None:
            start_from(self.network, weights)
        self._normalisations = normalise_globally(self.network) if world_size > 1 else []
        self._sharded = spec.sharding == "full" and world_size > 1
        self.module = self._as_trained(self.network)
        self.config = dale_config(spec)
        self.teacher = dale.make_teacher(self.module, self.config.ema_decay)
        if self._sharded:
            from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - as in workers.sharding

            mesh = init_device_mesh(device.type, (world_size,))
            shard(self.module, mesh)
            shard(self.teacher.module, mesh)
        else:
            self.module.to(device)
            self.teacher.module.to(device)  # its counter stays on the CPU, where it is read at every step
        example = torch.zeros(1, channels, *[edge] * spatial_dims, device=device)
        run = None
        self.compiled = compiles(spec, steps, spatial_dims, device)
        if self.compiled:
            # On CPUs torch's choice of layouts breaks a backward pass (BasicUNet, torch 2.13) and gains nothing.
            options: dict[str, Any] | None = {"layout_optimization": False} if device.type == "cpu" else None
            self.teacher.compile(dynamic=False, options=options)
            if self.config.alignment == "none":  # compiled code may leave out the tap of an alignment
                run = torch.compile(self.module.forward, dynamic=False, options=options)
        self.student = dale.Student(self.module, self.config, example, self.classes, spec.seed, run)
        self.parallel: nn.Module = self.student
        if self._sharded:
            if self.student.aligner is not None and any(True for _ in self.student.aligner.parameters()):
                shard(self.student.aligner, mesh)
        elif world_size > 1:
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
        """The network that the run delivers: the teacher, for plain training the network itself.

        With sharding it is a whole copy as of now, on the device, which each rank can use alone; to ask for it is a
        collective.
        """
        return self.network_of(self.final_weights()) if self._sharded else self._delivered

    def network_of(self, weights: dict[str, Tensor]) -> nn.Module:
        """A network on the device as the run trains it, with weights as `final_weights` gives them."""
        network = build_network(self.spec.network.name, self.arguments)
        network.load_state_dict(weights)
        return self._as_trained(network).to(self.device).requires_grad_(False)

    def final_weights(self) -> dict[str, Tensor]:
        """The whole state of the bare network that the run delivers, on the CPU, on every rank. Collective."""
        weights: dict[str, Tensor] = whole(bare(self._delivered).state_dict())
        return weights

    @property
    def _delivered(self) -> nn.Module:
        return self.module if isinstance(self.spec.method, PlainMethod) else self.teacher.module

    def _as_trained(self, network: nn.Module) -> nn.Module:
        """A bare network with what a run wraps around it."""
        module = single_output(self.spec.network.name, network)
        return InBfloat16(module) if self.spec.precision == "bfloat16" else module

    def begin_epoch(self, epoch: int, whole: float = 0.0) -> None:
        """Training mode, and random numbers (dropout) that depend on nothing but seed, epoch and rank.

        Args:
            epoch: counted from 0.
            whole: weight of a sample in a whole global batch (`Plan.whole`); 0: as in the first step.
        """
        self._whole = whole
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
            images: (b, channels, *spatial), as the samples give them.
            labels: (b, *spatial), class indices.
            ordinals: (b,), the samples' numbers.
            weights: (b,), of the samples in the mean over the global batch, each 1 / its size; or 0 if this rank has no
                part in it, and a row stands in.
            confidence: (b,), in [0, 1].
            epoch: counted from 0.

        Returns:
            Loss and evidence of the rows, in their order; the loss without its graph.
        """
        weight = float(weights.max())  # 1 / size of the global batch; 0 if the rows only stand in for none
        self._whole = self._whole or weight
        # Ranks talk in each part, so all have equally many: as many as the largest share, rank 0's, has rows for.
        most = math.ceil(round(1 / weight) / self.world_size) if weight else 1
        parts = torch.arange(len(ordinals)).tensor_split(min(self.spec.accumulation, most))
        taken = []
        self.optimizer.zero_grad(set_to_none=True)
        for number, part in enumerate(parts):
            # In a part that a smaller share leaves empty, a row stands in.
            rows, counts = (part, weights[part]) if len(part) else (torch.zeros(1, dtype=torch.long), torch.zeros(1))
            with self._sync(last=number + 1 == len(parts)):
                step = self._add_gradients(
                    images[rows], labels[rows], ordinals[rows], counts, confidence[rows], epoch, weight == self._whole
                )
            if len(part):
                taken.append(step)
        nn.utils.clip_grad_norm_(self._weights, MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.schedule.step()
        self.teacher.update_parameters(self.module)
        return dale.Step(*(torch.cat(values) for values in zip(*map(_fields, taken), strict=True)))

    def _add_gradients(
        self,
        images: Tensor,
        labels: Tensor,
        ordinals: Tensor,
        weights: Tensor,
        confidence: Tensor,
        epoch: int,
        in_whole_batch: bool,
    ) -> dale.Step:
        """Forward and backward pass of a part of the batch, as `step` takes it."""
        device = self.device
        inputs = to_network(images.to(device, non_blocking=True), self.statistics)
        given = one_hot(labels.to(device, non_blocking=True), self.classes)
        views = dale.random_views(
            ordinals, epoch, self.spec.seed, self.spatial_dims, augmentation=self.spec.augmentation
        ).to(device)
        # The last, smaller step of an epoch does not mix: its rows would pair differently on another number of ranks.
        share = dale.mixing_share(self.config, epoch, self.spec.epochs) if in_whole_batch else 0.0
        mixing = dale.draw_mixing(ordinals, epoch, self.spec.seed, inputs.shape[2:], share).to(device)
        for layer in self._normalisations:
            layer.counts = bool(weights.any())
        # Code is compiled for a whole batch alone: for the epoch's last step it would take longer than it saves.
        with torch.compiler.set_stance("default" if in_whole_batch else "force_eager"):
            step = self.objective(inputs, given, confidence.to(device), views, mixing, epoch)
        # Gradients are averaged over the ranks; the loss is a sum over them.
        (self.world_size * (weights.to(device) * step.loss).sum()).backward()
        return step

    def _sync(self, *, last: bool) -> AbstractContextManager[None]:
        """Whether gradients are summed over the ranks: once a step, after the last part.

        With sharding after each part, since a rank has no room for the whole gradient.
        """
        waits = isinstance(self.parallel, DistributedDataParallel) and not last
        return self.parallel.no_sync() if waits else nullcontext()  # type: ignore[operator]

    def objective(
        self, images: Tensor, labels: Tensor, confidence: Tensor, views: dale.Views, mixing: dale.Mixing, epoch: int
    ) -> dale.Step:
        """The loss of each sample of a batch on the device, and the evidence about it.

        Args:
            images: (b, channels, *spatial), as the network takes them.
            labels: (b, C, *spatial), one-hot.
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
        """Everything that the next step depends on, besides the confidences.

        With sharding a collective: every tensor whole, on the CPU of rank 0; on the others the answer is empty.
        """
        state = {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        if not self._sharded:
            return state
        full: dict[str, Any] = whole(state)
        return full if self.rank == 0 else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state of an earlier attempt, whole, whatever the number of ranks and the sharding that it had."""
        self.student.load_state_dict(shares(state["student"], self.student))
        self.teacher.load_state_dict(shares(state["teacher"], self.teacher))
        self.optimizer.load_state_dict(shares_of_optimizer(state["optimizer"], self.optimizer))
        self.schedule.load_state_dict(state["schedule"])


def dale_config(spec: JobSpec) -> dale.DaleConfig:
    """The method's hyperparameters; plain training is the method whose confidences never begin to act."""
    if isinstance(spec.method, PlainMethod):
        return dale.DaleConfig(start=1.0)
    return dale.DaleConfig(**spec.method.model_dump(exclude={"name"}))


def _fields(step: dale.Step) -> tuple[Tensor, ...]:
    return step.loss.detach(), step.doubt, step.dice, step.expected_dice, step.excess, step.worst


def _learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to 0, as a factor of the learning rate."""
    warmup = min(WARMUP_STEPS, max(steps // 10, 1))
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
