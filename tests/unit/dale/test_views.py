"""Views, warps, teacher and head."""

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from scipy.stats import kstest
from torch import nn

import dale

# Largest angle (radians), logarithm of the magnification, shift, change of contrast and of brightness.
REACH = {"light": (0.25, 0.1, 0.05, 0.1, 0.1), "strong": (np.pi, 0.2, 0.1, 0.15, 0.2)}
AUGMENTATIONS = pytest.mark.parametrize("augmentation", REACH)


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


@AUGMENTATIONS
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_views_depend_on_seed_epoch_and_sample_only(augmentation: str, spatial_dims: int) -> None:
    def draw(ordinals: list[int], epoch: int = 2, seed: int = 9) -> dale.Views:
        return dale.random_views(torch.tensor(ordinals), epoch, seed, spatial_dims, augmentation)

    alone = draw([8])
    for batch, place in (([3, 8, 1], 1), ([8, 9], 0), (list(range(9)), 8)):
        together = draw(batch)
        for name in ("affine", "gain", "offset"):
            assert torch.equal(getattr(together, name)[place], getattr(alone, name)[0])
    for other in (draw([8], epoch=3), draw([8], seed=10), draw([7])):
        for name in ("affine", "gain", "offset"):
            assert not torch.equal(getattr(other, name), getattr(alone, name))


@AUGMENTATIONS
def test_views_fill_their_ranges_and_do_not_leave_them(augmentation: str) -> None:
    """Angle, scale and shift read back from the affine maps: uniform, by the Kolmogorov-Smirnov test."""
    views = dale.random_views(torch.arange(3000), epoch=0, seed=1, augmentation=augmentation)
    angle, scale, shift, gain, offset = REACH[augmentation]
    linear, moved = views.affine[:, :, :2].double().numpy(), views.affine[:, :, 2].double().numpy()
    magnified = np.sqrt(np.abs(np.linalg.det(linear)))
    # linear = rotation @ diag(flips) * scale. A flip of both axes is half a turn: angles are known up to one.
    mirrored = np.sign(np.linalg.det(linear))[:, None, None] * [[0, 1]] + [[1, 0]]
    rotation = linear * mirrored / magnified[:, None, None]
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(2), (3000, 2, 2)), atol=1e-6
    )
    turned = (np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0]) + np.pi / 2) % np.pi - np.pi / 2
    most = min(angle, np.pi / 2)
    for values, limit in (
        (turned, most),
        (np.log(magnified), scale),
        (moved[:, 0], shift),
        (moved[:, 1], shift),
        (views.gain.numpy() - 1, gain),
        (views.offset.numpy(), offset),
    ):
        assert np.abs(values).max() <= limit + 1e-6
        assert kstest(values, "uniform", args=(-limit, 2 * limit)).pvalue > 1e-3
    # Each axis by itself, half of the time; told apart where no rotation looks like a flip of both.
    if angle < np.pi / 2:
        for axis in range(2):
            assert np.mean(linear[:, axis, axis] < 0) == pytest.approx(0.5, abs=0.04)
    assert np.mean(mirrored[:, 0, 1] < 0) == pytest.approx(0.5, abs=0.04)


def test_views_are_strong_where_nothing_is_said() -> None:
    said = dale.random_views(torch.arange(4), 0, 0, augmentation="strong")
    assert torch.equal(dale.random_views(torch.arange(4), 0, 0).affine, said.affine)


@AUGMENTATIONS
def test_volumes_turn_in_the_plane_of_their_last_axes(augmentation: str) -> None:
    affine = dale.random_views(torch.arange(500), 0, 0, spatial_dims=3, augmentation=augmentation).affine
    _, scale, shift, _, _ = REACH[augmentation]
    assert (affine[:, 2, :2] == 0).all()
    assert (affine[:, :2, 2] == 0).all()
    depth = affine[:, 2, 2]
    assert float((depth < 0).float().mean()) == pytest.approx(0.5, abs=0.1)
    torch.testing.assert_close(depth.abs(), torch.linalg.det(affine[:, :2, :2]).abs().sqrt())
    assert 0.9 * scale < depth.abs().log().abs().max() <= scale + 1e-6
    assert 0.9 * shift < affine[:, :, 3].abs().max() <= shift + 1e-6


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
