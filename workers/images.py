"""From the bytes of an image or a mask to arrays of the size that the network sees, and back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.contract.inference import decode_image, encode_image, to_own_size
from workers.contract.inference import image_channels as decode_channels

__all__ = ["decode_channels", "decode_image", "decode_mask", "encode_mask"]


def decode_mask(source: bytes | Path, size: int | None, mask_values: list[int]) -> NDArray[np.uint8]:
    """Decode a mask to class indices.

    Args:
        source: an encoded mask or the path of one.
        size: edge of the square to resize to, or None to keep the mask's own size.
        mask_values: the pixel value of each class, by class index.

    Returns:
        (size, size) or (H, W), class indices.

    Raises:
        ValueError: a pixel has a value that stands for no class.
    """
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        plain = image.convert("L") if image.mode not in {"L", "P"} else image
        if size is not None:
            plain = plain.resize((size, size), Image.Resampling.NEAREST)
        values = np.asarray(plain, dtype=np.uint8)
    lookup = np.full(256, 255, dtype=np.uint8)
    lookup[mask_values] = np.arange(len(mask_values), dtype=np.uint8)
    classes: NDArray[np.uint8] = lookup[values]
    if (classes == 255).any():
        unknown = sorted(set(np.unique(values).tolist()) - set(mask_values))
        raise ValueError(f"mask values {unknown[:5]} stand for no class; known values are {mask_values}")
    return classes


def encode_mask(classes: NDArray[np.uint8], width: int, height: int) -> bytes:
    """Encode class indices (H, W) as an 8-bit PNG, resized (nearest) to an image's own size."""
    return encode_image(to_own_size(classes, width, height))
