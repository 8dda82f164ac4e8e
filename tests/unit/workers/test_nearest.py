"""Neighbours: how many there are, and what the deepest features are that they are found by, in 2D and 3D."""

from __future__ import annotations

import pytest
import torch
from monai.networks import nets
from torch import Tensor, nn

from workers import nearest as search
from workers.nearest import Points, nearest
from workers.neighbours import Looks, aligned, deepest
from workers.sliding import predict_volume

N, K, FEATURES = 90, 8, 16
CPU = torch.device("cpu")


def features() -> Tensor:
    return torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(0)) + 3


def test_of_very_many_samples_evenly_spaced_ones_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST", 40)
    points = Points(aligned(features(), CPU).half(), torch.stack([torch.arange(N), torch.arange(N)], dim=1))
    found, similarity, among = nearest(points, N, K, CPU)
    assert among == 30  # every third
    assert bool((found % 3 == 0).all()) and bool((similarity.diff() <= 0).all())
    assert not bool((found == torch.arange(N)[:, None]).any())


def test_few_samples_have_few_neighbours() -> None:
    points = Points(aligned(features()[:3], CPU).half(), torch.stack([torch.arange(3), torch.arange(3)], dim=1))
    found, similarity, among = nearest(points, 3, K, CPU)
    assert among == 3
    assert [sorted(row[:2].tolist()) for row in found] == [[1, 2], [0, 2], [0, 1]]
    assert bool((found[:, 2:] == -1).all()) and bool((similarity[:, 2:] == -torch.inf).all())


@pytest.mark.parametrize("dims", [2, 3])
def test_the_deepest_layer_of_a_unet_is_its_bottleneck(dims: int) -> None:
    network = nets.UNet(dims, 1, 2, channels=(4, 8, 16), strides=(2, 2)).eval()
    example = torch.zeros(1, 1, *[32] * dims)
    name, channels = deepest(network, example)
    shapes = []
    hook = network.get_submodule(name).register_forward_hook(lambda *call: shapes.append(call[2].shape))
    network(example)
    hook.remove()
    # The bottom's 16 channels, and the 8 that go round it at the same size.
    assert shapes == [(1, 24, *[8] * dims)] and channels == 24


@pytest.mark.parametrize(
    ("network", "size"),
    [
        (nets.SwinUNETR(in_channels=1, out_channels=2, feature_size=12, spatial_dims=2), 64),
        (nets.UNETR(1, 2, 32, hidden_size=48, num_heads=4, mlp_dim=32, spatial_dims=2), 32),
        (nets.SegResNet(spatial_dims=2, in_channels=1, out_channels=2), 32),
        (nets.DynUNet(2, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2]), 32),
        (nets.HighResNet(2, 1, 2), 32),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_every_kind_of_network_has_one(network: nn.Module, size: int) -> None:
    _, channels = deepest(network.eval(), torch.zeros(1, 1, size, size))
    assert channels >= 16


def test_what_a_network_sees_several_times_is_averaged() -> None:
    network = nets.UNet(2, 1, 2, channels=(4, 8), strides=(2,)).eval()
    looks = Looks(network, torch.zeros(1, 1, 16, 16))
    image = torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        network(image)
        looks.keep(torch.tensor([5, 1, 3]))
        network(image)
        network(image.flip(-1))
        looks.keep(torch.tensor([5, 1, 3]))
    once, twice = looks._features
    assert once.shape == twice.shape == (3, 12)
    with torch.no_grad():
        network(image.flip(-1))
        looks.keep(torch.tensor([5, 1, 3]))
    assert torch.allclose(twice, (once + looks._features[-1]) / 2, atol=1e-6)
    looks.close()
    with torch.no_grad():
        network(image)
    assert looks._passing == []


def test_of_a_volume_all_windows_count() -> None:
    network = nets.UNet(3, 1, 2, channels=(4, 8), strides=(2,)).eval()
    looks = Looks(network, torch.zeros(1, 1, 16, 16, 16))
    predict_volume(network, torch.rand(1, 20, 24, 16), 16)
    looks.keep(torch.tensor([2]))
    assert [rows.shape for rows in looks._features] == [(1, 12)]
