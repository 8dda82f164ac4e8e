"""Views, warps, teacher and head."""

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from torch import nn

import dale


def test_warp_is_scipys_affine_resampling() -> None:
    size = 33
    generator = torch.Generator().manual_seed(0)
    field = torch.rand(1, 1, size, size, generator=generator)
    views = dale.random_views(torch.tensor([7]), epoch=3, seed=5)
    ours = dale.warp(field, views)[0, 0].numpy()
    # From torch's coordinates (x, y) in [-1, 1] over pixel areas to scipy's indices (row, column).
    theta = views.affine[0].numpy().astype(np.float64)
    linear = theta[::-1, :2][:, ::-1]
    centre = (size - 1) / 2
    offset = linear @ np.full(2, -centre) + theta[::-1, 2] * size / 2 + centre
    reference = affine_transform(field[0, 0].numpy(), linear, offset=offset, order=1, mode="reflect")
    np.testing.assert_allclose(ours, reference, atol=1e-4)


def test_views_depend_on_seed_epoch_and_sample_only() -> None:
    together = dale.random_views(torch.tensor([3, 8, 1]), epoch=2, seed=9)
    alone = dale.random_views(torch.tensor([8]), epoch=2, seed=9)
    assert torch.equal(together.affine[1], alone.affine[0])
    for other in (dale.random_views(torch.tensor([8]), 3, 9), dale.random_views(torch.tensor([8]), 2, 10)):
        assert not torch.equal(other.affine, alone.affine)


def test_probabilities_stay_probabilities_in_every_view() -> None:
    probabilities = torch.softmax(torch.randn(6, 3, 20, 24, generator=torch.Generator().manual_seed(0)), 1)
    warped = dale.warp(probabilities, dale.random_views(torch.arange(6), 0, 0))
    torch.testing.assert_close(warped.sum(1), torch.ones(6, 20, 24))


def test_volumes_have_views_too() -> None:
    views = dale.random_views(torch.arange(2), 0, 0, spatial_dims=3)
    assert dale.warp(torch.rand(2, 1, 8, 9, 10), views).shape == (2, 1, 8, 9, 10)


def test_teacher_follows_by_its_formula_and_has_no_gradients() -> None:
    network = nn.Linear(3, 2)
    teacher = dale.make_teacher(network, decay=0.9)
    expected = network.weight.detach().clone()
    for n in range(30):
        with torch.no_grad():
            network.weight += 0.1
        teacher.update_parameters(network)
        # The first update copies, as torch's AveragedModel does; later ones average.
        decay = min(0.9, (1 + n) / (10 + n)) if n else 0.0
        expected = decay * expected + (1 - decay) * network.weight.detach()
    torch.testing.assert_close(teacher.module.weight, expected)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_head_answers_with_the_class_frequencies() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    prior = torch.tensor([0.9, 0.07, 0.03])
    dale.initialise_head(network, prior)
    probabilities = torch.softmax(network(torch.rand(2, 3, 16, 16)), 1).mean((0, 2, 3))
    torch.testing.assert_close(probabilities, prior, atol=0.02, rtol=0)


def test_a_network_without_head_is_refused() -> None:
    with pytest.raises(ValueError, match="no convolution with 2 output channels"):
        dale.initialise_head(nn.Sequential(nn.Conv2d(3, 8, 3)), torch.tensor([0.5, 0.5]))
