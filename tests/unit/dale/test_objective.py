"""The losses against MONAI's and torch's own."""

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss

import dale
from dale.objective import SMOOTH


def problem(classes: int = 3, spatial: tuple[int, ...] = (12, 10)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, classes, *spatial, generator=generator)
    labels = torch.randint(classes, (4, *spatial), generator=generator)
    return logits, F.one_hot(labels, classes).movedim(-1, 1).float()


@pytest.mark.parametrize("spatial", [(12, 10), (6, 5, 4)])
def test_dice_loss_is_monais(spatial: tuple[int, ...]) -> None:
    logits, target = problem(spatial=spatial)
    smooth = SMOOTH * target[0, 0].numel()
    monai = DiceLoss(include_background=False, softmax=True, squared_pred=True, smooth_nr=smooth, smooth_dr=smooth)
    ours = dale.dice_loss(torch.softmax(logits, 1), target)
    torch.testing.assert_close(ours.mean(), monai(logits, target))


@pytest.mark.parametrize("spatial", [(12, 10), (6, 5, 4)])
def test_segmentation_loss_is_half_cross_entropy_and_half_dice(spatial: tuple[int, ...]) -> None:
    logits, target = problem(spatial=spatial)
    cross_entropy = F.cross_entropy(logits, target.argmax(1), reduction="none").flatten(1).mean(1)
    dice = dale.dice_loss(torch.softmax(logits, 1), target)
    torch.testing.assert_close(dale.segmentation_loss(logits, target), (cross_entropy + dice) / 2)


def test_soft_targets_are_learned_as_they_are() -> None:
    """The minimum over predictions lies at the soft target itself, not at its rounding."""
    generator = torch.Generator().manual_seed(1)
    target = torch.softmax(torch.randn(1, 2, 8, 8, generator=generator), 1)
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = dale.segmentation_loss(logits, target).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(torch.softmax(logits, 1).detach(), target, atol=2e-3, rtol=0)


def test_consistency_loss_is_the_mean_squared_difference() -> None:
    logits, _ = problem()
    guide = torch.softmax(torch.flip(logits, [2]), 1)
    expected = [F.mse_loss(torch.softmax(a, 0), b) for a, b in zip(logits, guide, strict=True)]
    torch.testing.assert_close(dale.consistency_loss(logits, guide), torch.stack(expected))
    assert dale.consistency_loss(logits, torch.softmax(logits, 1)).max() == 0
