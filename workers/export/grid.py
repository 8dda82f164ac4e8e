"""What the MONAI bundle of a model of images does besides MONAI's own transforms; it ships this as `scripts/grid.py`.

Pillow resizes otherwise than MONAI's `Resize`, and it is with Pillow that the network was trained.
"""

from __future__ import annotations

import numpy as np
from monai.data import MetaTensor
from monai.utils import convert_to_dst_type
from PIL import Image

from workers.contract import inference


def to_network_size(image: MetaTensor, size: int, files: int) -> MetaTensor:
    """An image as MONAI reads it as the network was trained on it.

    Args:
        image: (3 * files, W, H), values 0 to 255, of each file red, green and blue.
        size: edge of the square, in pixels.
        files: 1: all three channels are used; more: of each file the first.

    Returns:
        (channels, size, size), rows first.
    """
    planes = image.numpy().astype(np.uint8).transpose(2, 1, 0)
    squares = [
        inference.to_square(Image.fromarray(np.ascontiguousarray(planes[..., 3 * n : 3 * n + 3])), size)
        for n in range(files)
    ]
    channels = squares[0].transpose(2, 0, 1) if files == 1 else np.stack([square[..., 0] for square in squares])
    answer: MetaTensor = convert_to_dst_type(np.ascontiguousarray(channels), image)[0]
    return answer


def to_own_size(mask: MetaTensor) -> MetaTensor:
    """Class indices (1, size, size), rows first, as (1, W, H) in the size of the image that was read."""
    width, height = (int(extent) for extent in mask.meta["spatial_shape"])
    plane = inference.to_own_size(mask[0].numpy().astype(np.uint8), width, height)
    answer: MetaTensor = convert_to_dst_type(np.ascontiguousarray(plane.T[None]), mask)[0]
    return answer
