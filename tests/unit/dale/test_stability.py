"""Multi-scale stability."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from dale.stability import half_resolution, stability_loss


def blocks(array: np.ndarray) -> np.ndarray:
    """Means of blocks of 2 pixels along every spatial axis; what is left over at the end of an axis is dropped."""
    for axis in range(2, array.ndim):
        pairs = array.shape[axis] // 2
        first = np.take(array, range(0, 2 * pairs, 2), axis)
        array = (first + np.take(array, range(1, 2 * pairs, 2), axis)) / 2
    return array


@pytest.mark.parametrize("spatial", [(8, 6), (7, 10), (4, 6, 8), (5, 7, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stability_is_numpys(spatial: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 2, *spatial, generator=generator).to(dtype)
    teacher = torch.softmax(torch.randn(3, 4, *spatial, generator=generator), 1).to(dtype)
    logits = torch.randn(3, 4, *(size // 2 for size in spatial), generator=generator).to(dtype)
    weight = torch.tensor([0.0, 0.3, 2.0])

    halved = half_resolution(images)
    assert halved.dtype == dtype
    np.testing.assert_allclose(
        halved.double().numpy(), blocks(images.double().numpy()), rtol=1e-6 if dtype == torch.float32 else 2**-8
    )

    squares = (softmax(logits.double().numpy(), 1) - blocks(teacher.double().numpy())) ** 2
    expected = weight.numpy() * squares.reshape(3, -1).mean(1)
    loss = stability_loss(logits, teacher, weight)
    assert loss.dtype == torch.float32  # statistics in float32, whatever the network computes in
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_gradients_pull_towards_the_pooled_teacher() -> None:
    teacher = torch.softmax(2 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), 1)
    target = half_resolution(teacher)
    logits = torch.zeros_like(target, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        stability_loss(logits, teacher, torch.ones(2)).sum().backward()
        optimizer.step()
    torch.testing.assert_close(torch.softmax(logits.detach(), 1), target, atol=1e-2, rtol=0)


def test_other_resolutions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(1, 2, 4, 4\)"):
        stability_loss(torch.zeros(1, 2, 8, 8), torch.full((1, 2, 8, 8), 0.5), torch.ones(1))
    with pytest.raises(ValueError, match=r"\(1, 8, 8\) cannot be halved"):
        half_resolution(torch.zeros(2, 1, 1, 8, 8))
