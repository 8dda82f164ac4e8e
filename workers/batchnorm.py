"""Batch normalisation over the global batch: W ranks normalise as one rank would, on a CPU as on GPUs."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class GlobalBatchNorm(_BatchNorm):
    """`torch.nn.BatchNorm1d`, `2d` and `3d`, whose batch is that of all ranks together.

    Parameters, buffers and their names are those of `torch.nn.BatchNorm2d`, as are the results: in training the mean
    and the biased variance of the batch normalise it, and the unbiased variance enters the running statistics; in
    evaluation there is no communication. A pixel counts the same on whatever rank it lies, however uneven the parts.

    In training, forward and backward are collectives: every rank must run the layer equally often. Mean and variance
    are reduced one after the other, since a sum of squares less the square of a sum loses its digits in float32.

    Attributes:
        counts: whether this rank's rows belong to the batch. Set it to False while they only stand in for none: they
            are then normalised by the others' statistics and leave no trace in them.
    """

    counts = True

    @classmethod
    def of(cls, layer: _BatchNorm) -> GlobalBatchNorm:
        """A layer with the parameters and buffers (the very same tensors) of a torch one."""
        made = cls(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        made._parameters, made._buffers = layer._parameters, layer._buffers
        return made.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise (b, C, *spatial), b rows of this rank; of any floating dtype, reckoned in float32 or finer."""
        if not self.training and self.track_running_stats:
            answer: Tensor = super().forward(input)
            return answer
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        others = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        share = float(self.counts)
        ones = x.new_full((1,), share * x.numel() / x.shape[1])
        sums = _sum_over_ranks(torch.cat([share * x.sum(others), ones]))  # (C + 1,)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        variance = _sum_over_ranks(share * centred.square().sum(others)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        scale = (variance + self.eps).rsqrt()
        answer = centred * (scale if self.weight is None else scale * self.weight).view(shape)
        if self.bias is not None:
            answer = answer + self.bias.view(shape)
        return answer.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        # Without a momentum torch takes the plain mean over all batches.
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(variance.to(self.running_var.dtype), weight)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        if input.ndim < 2:
            raise ValueError(f"batch normalisation needs (b, C, *spatial); got {tuple(input.shape)}")


def normalise_globally(network: nn.Module) -> list[GlobalBatchNorm]:
    """Put a `GlobalBatchNorm` in the place of every batch normalisation of a network.

    Args:
        network: changed in place; the names of its parameters and buffers stay.

    Returns:
        The new layers.
    """
    made: list[GlobalBatchNorm] = []
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, _BatchNorm):
                made.append(GlobalBatchNorm.of(child))
                setattr(module, name, made[-1])
    return made


class _SumOverRanks(torch.autograd.Function):
    """The sum over all ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _SumOverRanks.forward(context, gradient)


def _sum_over_ranks(values: Tensor) -> Tensor:
    if not dist.is_initialized():
        return values
    total: Tensor = _SumOverRanks.apply(values)  # type: ignore[no-untyped-call]
    return total
