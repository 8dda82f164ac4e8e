"""What a doubted sample teaches: by sample and by pixel, against the formulas written out."""

import numpy as np
import pytest
import torch

import dale


@pytest.fixture(params=[(6, 5), (4, 3, 5)], ids=["2D", "3D"])
def case(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels of three classes, a teacher's probabilities, and a belief of 1, 0 and in between."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(3, (3, *request.param), generator=generator)
    labels = torch.nn.functional.one_hot(classes, 3).movedim(-1, 1).float()
    prediction = torch.softmax(2 * torch.randn(3, 3, *request.param, generator=generator), 1)
    return labels, prediction, torch.tensor([1.0, 0.0, 0.6])


@pytest.mark.parametrize("kind", ["sample", "pixel"])
def test_the_target_is_the_formula(case, kind: str) -> None:
    labels, prediction, belief = case
    y, p = labels.numpy(), prediction.numpy()
    w = belief.numpy().reshape(-1, *[1] * (y.ndim - 1))
    if kind == "pixel":
        of_label = np.take_along_axis(p, y.argmax(1)[:, None], axis=1)
        w = 1 - (1 - w) * (p.max(1, keepdims=True) - of_label)
    target = dale.refine(labels, prediction, belief, kind)
    np.testing.assert_allclose(target.numpy(), w * y + (1 - w) * p, atol=1e-6)
    np.testing.assert_allclose(target.sum(1).numpy(), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["sample", "pixel"])
def test_the_target_is_linear_in_the_belief(case, kind: str) -> None:
    """A mixture of the label and of what an unbelieved label teaches: docs/method.md builds on it."""
    labels, prediction, belief = case
    unbelieved = dale.refine(labels, prediction, torch.zeros(3), kind)
    b = belief.view(-1, *[1] * (labels.ndim - 1))
    torch.testing.assert_close(dale.refine(labels, prediction, belief, kind), b * labels + (1 - b) * unbelieved)


def test_by_pixel_what_both_agree_on_stays_as_it_is_drawn(case) -> None:
    labels, prediction, _ = case
    agreed = (prediction.argmax(1) == labels.argmax(1)).unsqueeze(1)
    target = dale.refine(labels, prediction, torch.zeros(3), "pixel")
    assert torch.equal(target.where(agreed, 0), labels.where(agreed, 0))
    assert not torch.equal(target, labels)


def test_by_pixel_a_sure_teacher_replaces_a_label_that_is_not_believed() -> None:
    label = torch.tensor([[[[1.0]], [[0.0]]]])
    sure = torch.tensor([[[[0.0]], [[1.0]]]])
    assert torch.equal(dale.refine(label, sure, torch.zeros(1), "pixel"), sure)
    assert torch.equal(dale.refine(label, sure, torch.ones(1), "pixel"), label)
