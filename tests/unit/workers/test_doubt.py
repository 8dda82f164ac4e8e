"""Maps of doubt as they are stored, beside numpy and Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from workers import doubt
from workers.doubt import doubts, doubts_of_volume, encode_doubts


def expected(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of logits (B, C, *spatial) and class indices (B, *spatial): 255 (max_k p_k - p_y), not rounded."""
    raised = np.exp(logits - logits.max(1, keepdims=True))
    p = raised / raised.sum(1, keepdims=True)
    given = np.take_along_axis(p, labels[:, None].astype(int), 1)[:, 0]
    return np.asarray(255 * (p.max(1) - given))


@pytest.mark.parametrize("shape", [(9, 7), (5, 6, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_doubted(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(2, 3, *shape, generator=generator)).to(dtype)
    labels = torch.randint(0, 3, (2, *shape), generator=generator, dtype=torch.uint8)
    found = doubts(logits, labels)
    assert (found.dtype, found.shape) == (np.uint8, (2, *shape))
    assert np.abs(found - expected(logits.float().numpy(), labels.numpy())).max() <= 0.501
    assert not found[logits.argmax(1).numpy() == labels.numpy()].any(), "where the label is what is predicted"
    assert found.max() > 200


@pytest.mark.parametrize("slab", [1, 60, 100, 1 << 20])  # voxels: less than a plane, two of 30, three, all
def test_volumes_go_by_planes(slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 7, 5, 6, generator=generator)
    label = torch.randint(0, 3, (7, 5, 6), generator=generator, dtype=torch.uint8)
    monkeypatch.setattr(doubt, "SLAB", slab)
    assert np.array_equal(doubts_of_volume(logits, label), doubts(logits[None], label[None])[0])


@pytest.mark.parametrize(
    ("image", "stored"), [((640, 480), (32, 32)), ((20, 100), (20, 32)), ((32, 32), (32, 32)), ((16, 8), (16, 8))]
)
def test_a_map_has_no_more_pixels_than_the_network_saw(image: tuple[int, int], stored: tuple[int, int]) -> None:
    seen = np.zeros((32, 32), np.uint8)
    seen[8:16, :] = 200  # a quarter of the height, from a quarter on
    data = encode_doubts(seen, *image)
    with Image.open(io.BytesIO(data)) as found:
        assert (found.format, found.mode, found.size) == ("PNG", "L", stored)
        pixels = np.asarray(found)
    height = stored[1]
    assert (pixels[height // 4 : height // 2] == 200).all()
    assert pixels.mean() == pytest.approx(50, abs=1)
