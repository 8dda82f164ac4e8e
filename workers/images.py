"""From the bytes of an image or a mask to arrays of the size that the network sees, and back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def decode_image(source: bytes | Path, size: int) -> NDArray[np.uint8]:
    """Decode an image and resize it to a square.

    Args:
        source: an encoded image (PNG, JPEG, TIFF) or the path of one.
        size: edge of the square, in pixels.

    Returns:
        (size, size, 3), RGB.
    """
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        plain: Image.Image = image
        if image.mode in {"I", "I;16", "F"}:  # more than 8 bits: stretch what is there to 8
            values = np.asarray(image, dtype=np.float32)
            low, high = float(values.min()), float(values.max())
            plain = Image.fromarray(((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8))
        resized = plain.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(resized, dtype=np.uint8)


def decode_channels(sources: Sequence[bytes | Path], size: int) -> NDArray[np.uint8]:
    """The files of one sample as (channels, size, size): red, green and blue of a single file, else one of each.

    Args:
        sources: one encoded image, or several grey ones in the order of their channels.
        size: as for `decode_image`.
    """
    decoded = [decode_image(source, size) for source in sources]
    return decoded[0].transpose(2, 0, 1) if len(decoded) == 1 else np.stack([image[..., 0] for image in decoded])


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
    image = Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST)
    sink = io.BytesIO()
    image.save(sink, "PNG", compress_level=1)
    return sink.getvalue()
