"""The paradigm: what a network step learns from, when the confidences act, and the guarantee of monotone descent."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import dale

IDENTITY = dale.Views(torch.eye(2, 3)[None].repeat(3, 1, 1), torch.ones(3), torch.zeros(3))


class Fixed(nn.Module):
    """Answers with the same logits whatever it sees."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1, -1, -1)


@pytest.fixture
def parts() -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    network, teacher = (Fixed(torch.randn(1, 2, 8, 8, generator=generator)) for _ in range(2))
    label = torch.rand(3, 8, 8, generator=generator) > 0.5
    return network, teacher, torch.rand(3, 3, 8, 8, generator=generator), torch.stack([~label, label], 1).float()


def test_a_believed_label_is_learned_and_a_doubted_one_gives_way_to_the_teacher(parts) -> None:
    network, teacher, images, labels = parts
    confidence = torch.tensor([1.0, 0.0, 0.3])
    step = dale.network_step(network, teacher, images, labels, confidence, IDENTITY, strength=1.0, consistency=0.0)
    guess = torch.softmax(teacher(images), 1)
    targets = [labels[0], guess[1], 0.3 * labels[2] + 0.7 * guess[2]]
    torch.testing.assert_close(step.loss, dale.segmentation_loss(network(images), torch.stack(targets)))
    torch.testing.assert_close(step.dice, dale.soft_dice(guess, labels))


def test_before_the_start_confidences_have_no_effect(parts) -> None:
    network, teacher, images, labels = parts
    step = dale.network_step(network, teacher, images, labels, torch.zeros(3), IDENTITY, strength=0.0, consistency=1.0)
    torch.testing.assert_close(step.loss, dale.plain_step(network, images, labels, IDENTITY).loss)


def test_the_teacher_gets_no_gradient(parts) -> None:
    network, teacher, images, labels = parts
    step = dale.network_step(
        network, teacher, images, labels, torch.full((3,), 0.5), IDENTITY, strength=1.0, consistency=1.0
    )
    step.loss.sum().backward()
    assert next(network.parameters()).grad is not None
    assert next(teacher.parameters()).grad is None


def test_strength_waits_then_grows_to_one() -> None:
    config = dale.DaleConfig(start=0.5, ramp=0.2)
    values = [dale.strength(config, epoch, 20) for epoch in range(20)]
    assert values[:10] == [0.0] * 10
    assert values[10:14] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert values[14:] == [1.0] * 6
    assert dale.strength(dale.DaleConfig(start=1.0), 19, 20) == 0.0


def test_alternation_descends_monotonously_on_a_convex_problem() -> None:
    """Weighted least squares solved exactly, then the closed-form step: the joint objective never rises."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    y = x @ torch.randn(4, 1, generator=generator, dtype=torch.float64)
    y[:20] += 5 * torch.randn(20, 1, generator=generator, dtype=torch.float64)
    tau, temperature = 0.5, 0.2
    confidence = torch.full((60,), 0.5, dtype=torch.float64)
    objective = []
    for _ in range(30):
        root = confidence.sqrt()[:, None]
        theta = torch.linalg.lstsq(root * x, root * y).solution
        loss = (x @ theta - y).square().flatten()
        confidence = dale.closed_form_confidence(loss, tau, temperature)
        entropy = torch.special.xlogy(confidence, confidence) + torch.special.xlogy(1 - confidence, 1 - confidence)
        objective.append(float((confidence * (loss - tau) + temperature * entropy).sum()))
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(objective))
    assert confidence[20:].mean() > 0.8
    assert confidence[:20].mean() < 0.5
