"""Alignment of fuzzy with clear features: against exact kernels, optimal assignments and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from dale.alignment import Discriminator, MaximumMeanDiscrepancy, SlicedWasserstein, make_alignment, standardise

KINDS = ["mmd", "adversarial", "wasserstein"]
DISTANCES = ["mmd", "wasserstein"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def one_hot(labels: Tensor, classes: int = 2) -> Tensor:
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


def batch(*spatial: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two clear and two fuzzy samples of 6 channels and 2 classes; the fuzzy features are displaced and wider."""
    features = normal(4, 6, *spatial)
    features[2:] = 1.5 * features[2:] + torch.linspace(0.5, 1.5, 6).view(6, *[1] * len(spatial))
    target = one_hot((torch.rand(4, *spatial, generator=generator(1)) < 0.3).long())
    return features, target, torch.tensor([1.0, 1.0, 0.0, 0.0])


def exact_mmd(x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray) -> float:
    """MMD^2 of weighted points, by every pair; the bandwidth weighs both sides equally, as their pooled points do."""
    points, weights = np.concatenate([x, y]), np.concatenate([u, v]) / 2
    squares = cdist(points, points, "sqeuclidean")
    kernel = np.exp(-squares / (2 * (weights @ squares @ weights)))
    signed = np.concatenate([u, -v])
    return float(signed @ kernel @ signed)


def test_mmd_approaches_that_of_the_exact_kernel() -> None:
    fuzzy, clear = normal(2, 40, 5) + torch.tensor([0.8, 1.5])[:, None, None], 0.6 * normal(2, 40, 5, seed=1)
    even = np.full(40, 1 / 40)
    expected = [exact_mmd(x.numpy(), y.numpy(), even, even) for x, y in zip(fuzzy, clear, strict=True)]
    estimates = np.array([MaximumMeanDiscrepancy(5, generator(seed))(fuzzy, clear).numpy() for seed in range(200)])
    np.testing.assert_allclose(estimates.mean(0), expected, rtol=0.03)  # unbiased over the frequencies
    np.testing.assert_allclose(estimates, np.broadcast_to(expected, estimates.shape), atol=4 * 2 / math.sqrt(128))


def test_sliced_wasserstein_is_the_optimal_assignment_of_projections() -> None:
    fuzzy, clear = 2 * normal(2, 30, 4) + 1, normal(2, 30, 4, seed=1)
    measure = SlicedWasserstein(4, generator())
    torch.testing.assert_close(measure.directions.norm(dim=1), torch.ones(len(measure.directions)))
    expected = np.zeros(2)
    for k in range(2):
        for direction in measure.directions.numpy():
            costs = cdist(fuzzy[k].numpy() @ direction[:, None], clear[k].numpy() @ direction[:, None], "sqeuclidean")
            expected[k] += costs[linear_sum_assignment(costs)].mean() / len(measure.directions)
    np.testing.assert_allclose(measure(fuzzy, clear).numpy(), expected, rtol=1e-4)


def test_sliced_wasserstein_of_a_shift() -> None:
    points, shift = normal(1, 50, 200), normal(200, seed=1)
    measure = SlicedWasserstein(200, generator())
    shuffled = points[:, torch.randperm(50, generator=generator())]
    expected = (measure.directions @ shift).square().mean()
    torch.testing.assert_close(measure(shuffled + shift, points)[0], expected)


def test_discriminator_descends_cross_entropy_and_reverses_the_features_gradient() -> None:
    fuzzy, clear = normal(2, 30, 4).requires_grad_(), normal(2, 20, 4, seed=1).requires_grad_()
    measure = Discriminator(4, 2, generator())

    def plain() -> Tensor:
        logits = torch.cat([measure.logits(fuzzy), measure.logits(clear)], 1)[..., 0]
        side = torch.cat([torch.zeros(2, 30), torch.ones(2, 20)], 1)
        share = torch.cat([torch.full((2, 30), 1 / 60), torch.full((2, 20), 1 / 40)], 1)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, side, reduction="none")
        return (entropy * share).sum(1)

    torch.testing.assert_close(measure(fuzzy, clear), plain())
    parameters = tuple(measure.parameters())
    ours = torch.autograd.grad(measure(fuzzy, clear).sum(), (fuzzy, *parameters))
    theirs = torch.autograd.grad(plain().sum(), (fuzzy, *parameters))
    torch.testing.assert_close(ours[0], -theirs[0])
    torch.testing.assert_close(ours[1:], theirs[1:])


def test_pixels_weigh_by_class_and_clearness() -> None:
    features, target = normal(3, 4, 6, 5), torch.softmax(2 * normal(3, 3, 12, 10, seed=1), 1)
    features += 2 * target[:, 1:2, ::2, ::2] + torch.tensor([0.0, 0.5, 1.5])[:, None, None, None]
    clear = torch.tensor([0.9, 0.4, 0.1])
    membership = target.numpy().reshape(3, 3, 6, 2, 5, 2).mean((3, 5))  # (B, C, 6, 5)
    points = features.movedim(1, -1).reshape(-1, 4).double().numpy()
    expected = 0.0
    for k in range(3):
        u, v = ((membership[:, k] * c.numpy()[:, None, None]).ravel() for c in (1 - clear, clear))
        u, v = u / u.sum(), v / v.sum()
        weights = (u + v) / 2
        variance = weights @ points**2 - (weights @ points) ** 2
        z = points / np.sqrt(variance + 1e-3 * variance.mean())
        expected += exact_mmd(z, z, u, v) / 3
    estimates = [make_alignment("mmd", 4, 3, seed)(features, target, clear).item() for seed in range(150)]
    assert np.mean(estimates) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("kind", DISTANCES)
def test_equal_sets_do_not_differ(kind: str) -> None:
    sample, label = normal(1, 6, 8, 8), one_hot((torch.arange(64).view(1, 8, 8) % 4 == 0).long())
    loss = make_alignment(kind, 6, 2, 0)(sample.repeat(2, 1, 1, 1), label.repeat(2, 1, 1, 1), torch.tensor([0.0, 1.0]))
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_only_fuzzy_samples_are_moved(kind: str) -> None:
    features, target, clear = batch(8, 8)
    features.requires_grad_()
    make_alignment(kind, 6, 2, 0)(features, target, clear).backward()
    moved = features.grad.flatten(1).abs().sum(1) > 0
    assert moved.tolist() == [False, False, True, True]


@pytest.mark.parametrize("kind", DISTANCES)
def test_descent_brings_the_fuzzy_features_to_the_clear_ones(kind: str) -> None:
    features, target, clear = batch(8, 8)
    alignment = make_alignment(kind, 6, 2, 0)
    features.requires_grad_()
    start = alignment(features, target, clear)
    (gradient,) = torch.autograd.grad(start, features)
    assert alignment(features - 5 * gradient, target, clear) < start
    optimizer = torch.optim.Adam([features], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        alignment(features, target, clear).backward()
        optimizer.step()
    assert alignment(features, target, clear) < 0.1 * start
    # Another judge: the gap between the means of both sides, in the first class.
    background = target[:, 0] > 0

    def gap(x: Tensor) -> Tensor:
        points = x.detach().movedim(1, -1)
        return (points[2:][background[2:]].mean(0) - points[:2][background[:2]].mean(0)).norm()

    assert gap(features) < 0.2 * gap(batch(8, 8)[0])


def separability(features: Tensor, target: Tensor) -> float:
    """Share of the lesion pixels whose side a logistic regression tells, first half clear, second half fuzzy."""
    lesion = target[:, 1] > 0
    points = features.detach().movedim(1, -1)[lesion].numpy()
    side = (torch.arange(len(features)) >= len(features) // 2)[:, None, None].expand_as(lesion)[lesion].numpy()
    return float(LogisticRegression(class_weight="balanced").fit(points, side).score(points, side))


def test_adversarial_training_makes_the_sides_inseparable() -> None:
    _, target, clear = batch(16, 16)
    fuzzy = (1 - clear)[:, None, None, None]
    features = normal(4, 6, 16, 16) + fuzzy
    shift = torch.zeros(1, 6, 1, 1, requires_grad=True)  # what the network can learn here
    alignment = make_alignment("adversarial", 6, 2, 0)
    assert separability(features, target) > 0.85
    optimizers = torch.optim.Adam(alignment.parameters(), lr=0.01), torch.optim.SGD([shift], lr=0.3)
    for _ in range(150):
        for optimizer in optimizers:
            optimizer.zero_grad()
        alignment(features + shift * fuzzy, target, clear).backward()
        for optimizer in optimizers:
            optimizer.step()
    assert separability(features + shift * fuzzy, target) < 0.65


@pytest.mark.parametrize("kind", KINDS)
def test_classes_are_aligned_with_their_own_kind(kind: str) -> None:
    label = (torch.rand(4, 16, 16, generator=generator(1)) < 0.5).long()
    features = normal(4, 6, 16, 16) + 3 * label[:, None]
    swapped = torch.cat([label[:2], 1 - label[2:]])
    clear = torch.tensor([1.0, 1.0, 0.0, 0.0])
    losses = []
    for target in (one_hot(label), one_hot(swapped)):  # the features of a side as a whole are the same in both
        alignment = make_alignment(kind, 6, 2, 0)
        if kind == "adversarial":
            optimizer = torch.optim.Adam(alignment.parameters(), lr=0.02)
            for _ in range(60):
                optimizer.zero_grad()
                alignment(features, target, clear).backward()
                optimizer.step()
        losses.append(alignment(features, target, clear).item())
    if kind == "adversarial":
        assert losses[0] > 0.5 * math.log(2) and losses[1] < 0.1
    else:
        assert losses[1] > 10 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spatial", [(8, 8), (4, 6, 5)])
def test_bfloat16_and_autocast_keep_the_statistics_in_float32(kind: str, spatial: tuple[int, ...]) -> None:
    features, target, clear = batch(*spatial)
    alignment = make_alignment(kind, 6, 2, 0)
    reference = alignment(features, target, clear)
    half = features.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = alignment(half, target.bfloat16(), clear.bfloat16())
    loss.backward()
    assert loss.dtype == torch.float32 and loss.ndim == 0 and loss > 0
    torch.testing.assert_close(loss, reference, rtol=0.02, atol=0.002)
    assert half.grad.dtype == torch.bfloat16 and half.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_scale_and_offset_of_the_features_do_not_matter(kind: str, factor: float) -> None:
    features, target, clear = batch(8, 8)
    alignment = make_alignment(kind, 6, 2, 0)
    torch.testing.assert_close(
        alignment(factor * (features + 3), target, clear), alignment(features, target, clear), rtol=0.01, atol=0
    )


def test_standardised_points_have_zero_mean_and_unit_variance() -> None:
    fuzzy, clear = standardise(5 * normal(2, 30, 4) + 3, normal(2, 30, 4, seed=1))
    points = torch.cat([fuzzy, clear], 1).numpy()
    np.testing.assert_allclose(points.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(points.var(1), 1, atol=2e-3)


def test_standardisation_is_a_constant_to_gradients_and_spares_nearly_dead_channels() -> None:
    fuzzy, clear = 5 * normal(2, 30, 4) + 3, normal(2, 30, 4, seed=1)
    fuzzy[..., 3], clear[..., 3] = 1e-3 * fuzzy[..., 3], 1e-3 * clear[..., 3]
    fuzzy.requires_grad_()
    scaled, _ = standardise(fuzzy, clear)
    assert scaled[..., :3].std() > 0.9 and scaled[..., 3].std() < 0.1
    (gradient,) = torch.autograd.grad(scaled.square().sum() / 2, fuzzy)
    slope = (scaled[:, 1] - scaled[:, 0]) / (fuzzy[:, 1] - fuzzy[:, 0])  # (C, K)
    torch.testing.assert_close(gradient, scaled * slope[:, None], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["all clear", "all fuzzy", "a class on each side"])
def test_one_sided_batches_give_nothing(kind: str, case: str) -> None:
    features, target, clear = batch(8, 8)
    features.requires_grad_()
    if case == "a class on each side":
        target = one_hot(torch.tensor([0, 0, 1, 1])[:, None, None].expand(4, 8, 8))
    else:
        clear = torch.full((4,), float(case == "all clear"))
    alignment = make_alignment(kind, 6, 2, 0)
    loss = alignment(features, target, clear)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in alignment.parameters())


@pytest.mark.parametrize("kind", DISTANCES)
def test_a_class_that_only_one_side_has_is_left_out(kind: str) -> None:
    features, target, clear = batch(8, 8)
    without = target.clone()
    without[2:, 0], without[2:, 1] = 1, 0  # the fuzzy samples have no lesions
    both = make_alignment(kind, 6, 3, 0)
    empty = torch.zeros(4, 1, 8, 8)
    background = both(features, torch.cat([without[:, :1], empty, empty], 1), clear)
    torch.testing.assert_close(both(features, torch.cat([without, empty], 1), clear), background)


@pytest.mark.parametrize("kind", KINDS)
def test_dead_features_have_finite_gradients(kind: str) -> None:
    features, target, clear = batch(8, 8)
    for dead in (slice(2, 3), slice(None)):  # one channel, then all
        features[:, dead] = 0.25
        leaf = features.clone().requires_grad_()
        loss = make_alignment(kind, 6, 2, 0)(leaf, target, clear)
        loss.backward()
        assert loss.isfinite() and leaf.grad.isfinite().all() and leaf.grad.abs().max() < 100


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind: str) -> None:
    features, target, clear = batch(8, 8)
    state = torch.get_rng_state()
    first, again, other = (make_alignment(kind, 6, 2, seed)(features, target, clear).item() for seed in (3, 3, 4))
    assert first == again != other
    assert torch.equal(state, torch.get_rng_state())  # the run's own random numbers are left alone


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'mmd', 'adversarial' or 'wasserstein'"):
        make_alignment("coral", 6, 2, 0)
