"""The teacher's average, beside torch's own walk through the modules."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import dale


def network_of() -> nn.Sequential:
    torch.manual_seed(0)
    first, twice = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3)
    network = nn.Sequential(first, nn.BatchNorm2d(4), twice, nn.PReLU(), twice, nn.Conv2d(4, 4, 3))
    network[5].weight = twice.weight  # tied
    return network


def move(network: nn.Module, step: int) -> None:
    """As if an optimizer had moved it, and a forward pass its statistics."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for values in (*network.parameters(), *network.buffers()):
            if values.is_floating_point():
                values.add_(torch.rand(values.shape, generator=generator))
            else:
                values.add_(1)


def reference(network: nn.Module, decay: float) -> AveragedModel:
    def average(averaged: Tensor, current: Tensor, steps: Tensor) -> Tensor:
        if not averaged.is_floating_point():
            return current
        keep = min(decay, (1 + int(steps)) / (10 + int(steps)))
        return keep * averaged + (1 - keep) * current

    return AveragedModel(network, avg_fn=average, use_buffers=True)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.99])
def test_it_averages_as_torchs_model_does(decay: float) -> None:
    network = network_of()
    ours, theirs = dale.make_teacher(network, decay), reference(network, decay)
    for step in range(6):
        move(network, step)
        ours.update_parameters(network)
        theirs.update_parameters(network)
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_it_follows_through_moves_copies_and_other_networks() -> None:
    network = network_of()
    teacher = dale.make_teacher(network, 0.5)
    move(network, 0)
    teacher.update_parameters(network)
    copied, pickled = copy.deepcopy(teacher), pickle.loads(pickle.dumps(teacher))  # noqa: S301
    network.double()
    teacher.double()  # puts new tensors into the modules' places
    move(network, 1)
    teacher.update_parameters(network)
    same = network_of()
    same.load_state_dict(network.state_dict())
    for other in (copied, pickled):
        other.update_parameters(same)
        for mine, theirs in zip(other.module.parameters(), teacher.module.parameters(), strict=True):
            torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-6)


def test_a_copy_does_not_carry_the_network_that_is_followed() -> None:
    network = network_of()
    teacher = dale.make_teacher(network, 0.5)
    bare = len(pickle.dumps(teacher))
    teacher.update_parameters(network)
    assert len(pickle.dumps(teacher)) < 1.1 * bare
