"""Whole volumes by windows: a network that looks at single voxels answers as if it saw all at once."""

import pytest
import torch
from torch import Tensor, nn

from workers.sliding import predict_volume


class Threshold(nn.Module):
    """Three classes: below -0.5, between, above 0.5. Refuses any window that is not a whole one."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.level = size, nn.Parameter(torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1:] == (1, self.size, self.size, self.size)
        return torch.cat([-self.level - images, 0.0 * images, images - self.level], dim=1)


@pytest.mark.parametrize("shape", [(8, 8, 8), (20, 9, 31), (3, 40, 5)])
def test_every_voxel_is_answered_once(shape: tuple[int, ...]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0)).half()
    found = predict_volume(Threshold(8).eval(), image[None], 8)
    assert (found.dtype, tuple(found.shape)) == (torch.uint8, shape)
    expected = 1 + (image > 0.5).byte() - (image < -0.5).byte()
    near = (image.float().abs() - 0.5).abs() < 1e-3
    assert torch.equal(found[~near], expected[~near])
