"""The teacher: an exponential moving average of the network's weights (Tarvainen & Valpola, 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Slot = tuple[dict[str, Any], str]  # where a module keeps a tensor


class Teacher(AveragedModel):
    """A copy of a network that follows it; made by `make_teacher`.

    What `AveragedModel` does and keeps, its names in the state included, but without a walk through all modules at each
    step: where each tensor lies is looked up once for each network that is followed.

    Args:
        network: the network to follow, already on its device.
        decay: in [0, 1); how much of the past a step keeps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, use_buffers=True)
        self._decay = decay
        self._places: tuple[nn.Module, list[Slot], list[Slot]] | None = None

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards a network of the same structure; the first call copies it."""
        if self._places is None or self._places[0] is not model:
            self._places = model, list(_slots(self.module)), list(_slots(model))
        _, mine, theirs = self._places
        n = int(self.n_averaged)
        weight = 1 - min(self._decay, (1 + n) / (10 + n))
        self.n_averaged += 1
        moving: dict[type, tuple[list[Tensor], list[Tensor]]] = {}  # by kind: shared tensors do not mix with others
        for (averaged, name), (current, _) in zip(mine, theirs, strict=True):
            old, new = averaged[name], current[name]
            if n > 0 and old.is_floating_point():
                pair = moving.setdefault(type(old), ([], []))
                pair[0].append(old)
                pair[1].append(new)
            else:
                old.copy_(new)
        for olds, news in moving.values():
            torch._foreach_lerp_(olds, news, weight)

    def __getstate__(self) -> dict[str, object]:
        """A copy finds the places anew: those of the network that is followed are not its own."""
        return {**self.__dict__, "_places": None}


def make_teacher(network: nn.Module, decay: float) -> Teacher:
    """A copy of `network` that follows it: call `update_parameters(network)` after each optimizer step.

    The decay grows as min(decay, (1 + n) / (10 + n)) over the first n steps, so that the untrained weights are
    soon forgotten. Floating-point buffers (batch statistics) are averaged as well, others copied.

    Args:
        network: the network to follow, already on its device.
        decay: in [0, 1); how much of the past a step keeps.
    """
    teacher: Teacher = Teacher(network, decay).requires_grad_(False).eval()
    return teacher


def _slots(network: nn.Module) -> Iterator[Slot]:
    """Where the parameters and buffers lie; of a tensor that lies in several places, the first."""
    met: set[int] = set()
    for module in network.modules():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in tables:
            for name, tensor in tensors.items():
                if tensor is not None and id(tensor) not in met:
                    met.add(id(tensor))
                    yield tensors, name
