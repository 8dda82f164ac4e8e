"""The guarantees of docs/method.md, each checked numerically against something that does not use the closed form.

Where a test solves for the best confidence or the best parameter, it does so with scipy, scikit-learn or a dense grid.
The bound under adversarial labels, (c), is in test_corruption_bound.py.
"""

import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, xlogy
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence

import dale
from dale.joint import gradient_confidence, joint_objective, robust_loss

Array = NDArray[np.float64]

SETTINGS = pytest.mark.parametrize(("tau", "temperature"), [(0.4, 0.03), (0.4, 0.1), (0.1, 0.5), (2.0, 1.0)])
# in temperatures above the threshold: from far below, past rounding of c to 1, to c = 1e-130
DISTANCES = torch.tensor([-300, -40, -12, -5, -1, -0.1, 0, 0.1, 1, 5, 12, 40, 300], dtype=torch.float64)


def charge(c: Array, loss: float, tau: float, temperature: float) -> Array:
    """One sample's share of J by its definition, in numpy."""
    return c * (loss - tau) + temperature * (xlogy(c, c) + xlogy(1 - c, 1 - c))


def best_by_search(loss: float, tau: float, temperature: float) -> tuple[float, float]:
    """The least charge over c and where it is, by scipy's search without derivatives, which leaves out the ends."""
    found = minimize_scalar(
        charge, bounds=(0, 1), args=(loss, tau, temperature), method="bounded", options={"xatol": 1e-12}
    )
    return min((float(charge(np.float64(c), loss, tau, temperature)), float(c)) for c in (0.0, found.x, 1.0))


# --- the joint objective and its minimiser over c -------------------------------------------------------------------


def test_joint_objective_is_its_definition_up_to_the_boundary() -> None:
    rng = np.random.default_rng(0)
    losses, confidence = rng.exponential(size=50), rng.random(50)
    confidence[:2] = [0, 1]
    expected = charge(confidence, losses, 0.4, 0.1).sum()
    assert float(joint_objective(torch.tensor(losses), torch.tensor(confidence), 0.4, 0.1)) == pytest.approx(expected)


def test_half_precision_is_computed_in_full() -> None:
    losses, confidence = torch.rand(4000).bfloat16(), torch.rand(4000).bfloat16()
    full = float(joint_objective(losses.double(), confidence.double(), 0.4, 0.1))
    assert float(joint_objective(losses, confidence, 0.4, 0.1)) == pytest.approx(full, rel=1e-4)
    assert robust_loss(losses, 0.4, 0.1).dtype == gradient_confidence(losses, losses, 0.4, 0.1, 0.5).dtype
    torch.testing.assert_close(robust_loss(losses, 0.4, 0.1), robust_loss(losses.double(), 0.4, 0.1).float())


@SETTINGS
def test_closed_form_is_the_minimiser(tau: float, temperature: float) -> None:
    """Against a search over c, and against every c of a dense grid with both ends, extreme losses included."""
    losses = tau + temperature * DISTANCES
    ours = dale.closed_form_confidence(losses, tau, temperature)
    logits = np.linspace(-700, 700, 20001)
    grid = np.concatenate([[0.0], expit(logits), [1.0]])
    for loss, c in zip(losses.tolist(), ours.tolist(), strict=True):
        at_best = charge(np.float64(c), loss, tau, temperature)
        assert c == pytest.approx(best_by_search(loss, tau, temperature)[1], abs=1e-6)
        assert at_best <= charge(grid, loss, tau, temperature).min() + 1e-14 * max(1, abs(loss))


@SETTINGS
def test_objective_is_strictly_convex_in_the_confidences(tau: float, temperature: float) -> None:
    """Second differences are positive and equal T / (c (1 - c)), which is never below 4 T."""
    c = torch.linspace(0.02, 0.98, 97, dtype=torch.float64)
    h = 1e-4

    def at(shifted: Tensor) -> Tensor:
        return torch.stack([joint_objective(torch.tensor([0.7]), value[None], tau, temperature) for value in shifted])

    curvature = (at(c + h) - 2 * at(c) + at(c - h)) / h**2
    assert curvature.min() > 0
    torch.testing.assert_close(curvature, temperature / (c * (1 - c)), rtol=1e-3, atol=0)
    assert curvature.min() >= 4 * temperature * (1 - 1e-4)


@SETTINGS
def test_objective_exceeds_the_robust_loss_by_a_divergence(tau: float, temperature: float) -> None:
    """J(theta, c) = sum rho(l) + T sum KL(c, c*), with torch's own divergence of Bernoulli distributions."""
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(200, generator=generator, dtype=torch.float64) * 3
    confidence = torch.rand(200, generator=generator, dtype=torch.float64)
    best = Bernoulli(logits=(tau - losses) / temperature)
    gap = temperature * kl_divergence(Bernoulli(probs=confidence), best).sum()
    torch.testing.assert_close(
        joint_objective(losses, confidence, tau, temperature), robust_loss(losses, tau, temperature).sum() + gap
    )


# --- the gradient form ----------------------------------------------------------------------------------------------


@SETTINGS
def test_gradient_form_is_the_preconditioned_gradient(tau: float, temperature: float) -> None:
    """Autograd of J through the sigmoid, divided by T c (1 - c), is the direction of the step."""
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(100, generator=generator, dtype=torch.float64) * 2 * tau
    logits = torch.randn(100, generator=generator, dtype=torch.float64).mul(3).requires_grad_()
    confidence = torch.sigmoid(logits)
    (slope,) = torch.autograd.grad(joint_objective(losses, confidence, tau, temperature), logits)
    fisher = (confidence * (1 - confidence)).detach()
    torch.testing.assert_close(slope, fisher * (losses - tau + temperature * logits.detach()))
    step = gradient_confidence(logits.detach(), losses, tau, temperature, 0.3)
    torch.testing.assert_close(step, logits.detach() - 0.3 * slope / (temperature * fisher))


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_gradient_form_reaches_the_closed_form_and_never_climbs(rate: float) -> None:
    tau, temperature = 0.4, 0.1
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(100, generator=generator, dtype=torch.float64)
    start = logits = torch.randn(100, generator=generator, dtype=torch.float64) * 20
    objective = []
    steps = 1 if rate == 1 else math.ceil(math.log(1e-10) / math.log(1 - rate))
    for _ in range(steps):
        objective.append(float(joint_objective(losses, torch.sigmoid(logits), tau, temperature)))
        logits = gradient_confidence(logits, losses, tau, temperature, rate)
    objective.append(float(joint_objective(losses, torch.sigmoid(logits), tau, temperature)))
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(objective))
    torch.testing.assert_close(torch.sigmoid(logits), dale.closed_form_confidence(losses, tau, temperature))
    best = (tau - losses) / temperature
    torch.testing.assert_close(logits - best, (1 - rate) ** steps * (start - best), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1])
def test_a_rate_that_could_climb_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        gradient_confidence(torch.zeros(1), torch.zeros(1), 0.4, 0.1, rate)


# --- the robust loss ------------------------------------------------------------------------------------------------


@SETTINGS
def test_robust_loss_is_the_least_objective_over_the_confidences(tau: float, temperature: float) -> None:
    losses = tau + temperature * DISTANCES
    searched = sum(best_by_search(loss, tau, temperature)[0] for loss in losses.tolist())
    assert float(robust_loss(losses, tau, temperature).sum()) == pytest.approx(searched, rel=1e-8)


@SETTINGS
def test_robust_loss_is_increasing_concave_and_below_zero(tau: float, temperature: float) -> None:
    losses = torch.linspace(0, tau + 20 * temperature, 2001, dtype=torch.float64)
    rho = robust_loss(losses, tau, temperature)
    assert rho.max() < 0
    assert rho.diff().min() > 0
    assert rho.diff().diff().max() < 0
    assert float(rho[0]) == pytest.approx(-temperature * math.log1p(math.exp(tau / temperature)))
    assert float(robust_loss(torch.tensor([1e6]), tau, temperature)) == 0


@SETTINGS
def test_slope_of_the_robust_loss_is_the_confidence(tau: float, temperature: float) -> None:
    losses = (tau + temperature * DISTANCES).requires_grad_()
    (slope,) = torch.autograd.grad(robust_loss(losses, tau, temperature).sum(), losses)
    expected = dale.closed_form_confidence(losses.detach(), tau, temperature)
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=0)


@SETTINGS
def test_the_objective_majorises_the_robust_loss(tau: float, temperature: float) -> None:
    """With c fixed at the best for losses k, J lies above sum rho at any losses l, and touches it at l = k."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        k, other = (torch.rand(30, generator=generator, dtype=torch.float64) * 3 * tau for _ in range(2))
        c = dale.closed_form_confidence(k, tau, temperature)
        assert joint_objective(other, c, tau, temperature) > robust_loss(other, tau, temperature).sum()
        torch.testing.assert_close(joint_objective(k, c, tau, temperature), robust_loss(k, tau, temperature).sum())


def test_a_small_temperature_cuts_the_loss_off_at_the_threshold() -> None:
    """rho is within T ln 2 of min(l - tau, 0): self-paced learning with a hard threshold."""
    losses = torch.linspace(0, 1, 501, dtype=torch.float64)
    for temperature in (0.1, 0.01, 0.001):
        gap = (losses - 0.4).clamp_max(0) - robust_loss(losses, 0.4, temperature)
        assert gap.min() >= -1e-15
        assert gap.max() <= temperature * math.log(2) + 1e-12


# --- (a) monotone descent -------------------------------------------------------------------------------------------


def alternate(
    solve: Callable[[Array], Array],
    losses_at: Callable[[Array], Array],
    confidence: Array,
    *,
    tau: float,
    temperature: float,
    rounds: int,
    regulariser: Callable[[Array], float] = lambda theta: 0.0,
) -> tuple[list[float], Array, Array]:
    """Alternate from given confidences; J after each half step, and the last theta and confidences."""
    objective = []
    for _ in range(rounds):
        theta = solve(confidence)
        losses = torch.from_numpy(losses_at(theta))
        for c in (torch.from_numpy(confidence), dale.closed_form_confidence(losses, tau, temperature)):
            objective.append(float(joint_objective(losses, c, tau, temperature)) + regulariser(theta))
        confidence = c.numpy()
    return objective, theta, confidence


def regression(rng: np.random.Generator, wrong: int = 30) -> tuple[Array, Array]:
    x = rng.normal(size=(100, 4))
    y = x @ rng.normal(size=4) + 0.1 * rng.normal(size=100)
    y[:wrong] += rng.choice([-1, 1], wrong) * rng.uniform(3, 9, wrong)
    return x, y


@pytest.mark.parametrize("seed", range(5))
def test_alternation_descends_when_least_squares_is_solved_exactly(seed: int) -> None:
    """From random confidences; it ends where the gradient of the robust loss is zero and the wrong are doubted."""
    rng = np.random.default_rng(seed)
    x, y = regression(rng)
    tau, temperature = 0.5, 0.2

    def solve(c: Array) -> Array:
        root = np.sqrt(c)[:, None]
        return np.linalg.lstsq(root * x, root[:, 0] * y, rcond=None)[0]

    objective, theta, confidence = alternate(
        solve, lambda theta: (x @ theta - y) ** 2, rng.random(100), tau=tau, temperature=temperature, rounds=100
    )
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(objective))
    assert objective[-1] < objective[0] - 1
    parameter = torch.from_numpy(theta).requires_grad_()
    residuals = torch.from_numpy(x) @ parameter - torch.from_numpy(y)
    (slope,) = torch.autograd.grad(robust_loss(residuals.square(), tau, temperature).sum(), parameter)
    assert slope.abs().max() < 1e-5
    assert confidence[30:].mean() > 0.8
    assert confidence[:30].mean() < 0.1


def test_alternation_descends_when_logistic_regression_is_solved_exactly() -> None:
    """A term that depends on theta alone (here a ridge) joins both sides and changes nothing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = np.where(x @ np.array([2.0, -1.0, 0.5]) + 0.3 * rng.normal(size=200) > 0, 1.0, -1.0)
    y[:40] *= -1

    def solve(c: Array) -> Array:
        model = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=10_000)
        return model.fit(x, y, sample_weight=c).coef_[0]

    objective, _, confidence = alternate(
        solve,
        lambda theta: np.logaddexp(0, -y * (x @ theta)),
        rng.random(200),
        tau=0.7,
        temperature=0.2,
        rounds=20,
        regulariser=lambda theta: float(theta @ theta) / 2,
    )
    assert all(later <= earlier + 1e-7 for earlier, later in pairwise(objective))
    assert confidence[40:].mean() > confidence[:40].mean() + 0.5


def test_a_network_step_need_only_not_raise_the_weighted_loss() -> None:
    """One gradient step of size 1 / L for each confidence step: the descent is as monotone."""
    rng = np.random.default_rng(0)
    x, y = regression(rng)
    theta = rng.normal(size=4) * 5

    def solve(c: Array) -> Array:
        nonlocal theta
        weighted = x * c[:, None]
        theta = theta - weighted.T @ (x @ theta - y) / np.linalg.eigvalsh(weighted.T @ x)[-1]
        return theta

    objective, _, _ = alternate(
        solve, lambda theta: (x @ theta - y) ** 2, rng.random(100), tau=0.5, temperature=0.2, rounds=100
    )
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(objective))
    assert objective[-1] < objective[0] - 1


# --- (b) bounded influence ------------------------------------------------------------------------------------------


def test_influence_of_an_outlier_vanishes() -> None:
    """Its pull c |grad l| under the robust loss, by autograd, stays below its bound; the plain pull |grad l| grows."""
    tau, temperature = 0.5, 0.2
    x, theta = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64, requires_grad=True)
    plain, robust, bounds = [], [], []
    for distance in (1.0, 2.0, 5.0, 10.0, 1e2, 1e4, 1e6):
        loss = (x @ theta - distance).square()[None] / 2
        plain.append(float(torch.autograd.grad(loss.sum(), theta, retain_graph=True)[0].norm()))
        robust.append(float(torch.autograd.grad(robust_loss(loss, tau, temperature).sum(), theta)[0].norm()))
        bounds.append(plain[-1] * math.exp((tau - loss.item()) / temperature))
    assert plain == pytest.approx([math.sqrt(5) * d for d in (1.0, 2.0, 5.0, 10.0, 1e2, 1e4, 1e6)])
    assert all(pull <= bound for pull, bound in zip(robust, bounds, strict=True))
    assert robust[2] < 1e-20
    assert robust[-1] == 0


# --- mixed targets, and the words of the document -------------------------------------------------------------------


def masks() -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a network, a label and a teacher's probabilities; (2, 3, 6, 5) each."""
    generator = torch.Generator().manual_seed(0)
    logits, other = (2 * torch.randn(2, 3, 6, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    label = torch.randint(3, (2, 6, 5), generator=generator)
    return logits, F.one_hot(label, 3).movedim(-1, 1).double(), torch.softmax(other, 1)


def test_a_mixed_target_is_a_weighted_sum_for_cross_entropy_and_not_for_dice() -> None:
    logits, label, teacher = masks()
    c = 0.3
    mixed = c * label + (1 - c) * teacher

    def sides(loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        return loss(mixed), c * loss(label) + (1 - c) * loss(teacher)

    torch.testing.assert_close(*sides(lambda target: F.cross_entropy(logits, target, reduction="none")))
    joined, summed = sides(lambda target: dale.dice_loss(torch.softmax(logits, 1), target))
    assert (joined - summed).abs().min() > 0.01


def test_with_mixed_targets_the_best_confidence_weighs_label_against_teacher() -> None:
    """min over c of c (l - tau) + (1 - c) m - T H(c): c = sigmoid((tau - (l - m)) / T), a soft minimum."""
    tau, temperature = 0.3, 0.1
    for of_label, of_teacher in [(0.2, 0.0), (0.9, 0.1), (0.9, 0.6), (0.4, 0.5)]:
        found = minimize_scalar(
            lambda c, y=of_label, p=of_teacher: charge(c, y, tau, temperature) + (1 - c) * p,
            bounds=(0, 1),
            method="bounded",
            options={"xatol": 1e-12},
        )
        best = dale.closed_form_confidence(torch.tensor([of_label - of_teacher]).double(), tau, temperature)
        assert float(best) == pytest.approx(found.x, abs=1e-6)
        soft = -temperature * np.logaddexp((tau - of_label) / temperature, -of_teacher / temperature)
        assert found.fun == pytest.approx(soft)


def test_doubt_weighs_the_label_against_the_networks_best_guess() -> None:
    """With l the disbelief 1 - p_t in a target: the doubt about a pixel is l(label) - l(guess); no target beats it."""
    _, label, network = masks()
    guess = F.one_hot(network.argmax(1), 3).movedim(-1, 1).double()

    def disbelief(target: Tensor) -> Tensor:
        return F.l1_loss(network, target, reduction="none").sum(1) / 2  # of one-hot targets: 1 - p_t

    torch.testing.assert_close(disbelief(label), 1 - (network * label).sum(1))
    found = dale.doubt_map(network, label).double()
    torch.testing.assert_close(found, disbelief(label) - disbelief(guess), rtol=1e-5, atol=1e-6)
    assert found.max() > 0.1
    assert (dale.doubt(network, guess) == 0).all()


def test_every_test_that_the_document_names_exists() -> None:
    root = Path(__file__).parents[3]
    named = set(re.findall(r"`(test_\w+)`", (root / "docs/method.md").read_text()))
    defined = {
        name
        for file in (root / "tests/unit/dale").glob("*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert len(named) > 15
    assert named <= defined, f"named in docs/method.md, but not defined: {sorted(named - defined)}"
