"""The teacher: an exponential moving average of the network's weights (Tarvainen & Valpola, 2017)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def make_teacher(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of `network` that follows it: call `update_parameters(network)` after each optimizer step.

    The decay grows as min(decay, (1 + n) / (10 + n)) over the first n steps, so that the untrained weights are
    soon forgotten. Floating-point buffers (batch statistics) are averaged as well, others copied.

    Args:
        network: the network to follow, already on its device.
        decay: in [0, 1); how much of the past a step keeps.
    """

    @torch.no_grad()
    def average(averaged: object, current: object, steps: Tensor | int) -> None:
        n = int(steps)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        mine, theirs = cast(list[Tensor], averaged), cast(list[Tensor], current)
        if mine[0].is_floating_point():
            torch._foreach_lerp_(mine, theirs, weight)
        else:
            torch._foreach_copy_(mine, theirs)

    teacher = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    return teacher.requires_grad_(False).eval()
