"""Doubt drawn over a picture: nothing where there is none, then violet, blue, and cyan where the network is sure.

Tissue is red, scans are grey, outlines are dark blue and orange. The usual maps of heat end in yellow, which the
colour-blind cannot tell from red tissue; these colours lie on the other side of it for every kind of eye, grow lighter
with doubt on dark pictures, and are no greys.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]
OPACITY = 0.6  # of the strongest doubt, unless asked otherwise: what is under it is still to be seen
# From doubt 0 to 255, evenly spaced; between them they mix.
COLOURS = ((72, 30, 170), (60, 70, 215), (30, 120, 240), (0, 170, 250), (0, 215, 250), (110, 245, 255))
_PLACES = np.linspace(0, 255, len(COLOURS))
TABLE = np.stack([np.interp(np.arange(256), _PLACES, channel) for channel in zip(*COLOURS, strict=True)], axis=1)


def lay(canvas: Bytes, doubt: Bytes, opacity: float) -> None:
    """Draw a map over a picture, stretched to its size.

    Args:
        canvas: (H, W, 3), RGB; changed in place.
        doubt: (h, w), of all of it: 0 is left as it is, 255 is covered with `opacity`.
        opacity: in [0, 1].
    """
    height, width = canvas.shape[:2]
    stretched = np.asarray(Image.fromarray(doubt).resize((width, height), Image.Resampling.BILINEAR))
    where = stretched > 0
    found = stretched[where]
    cover = (found / np.float32(255) * opacity)[:, None]
    canvas[where] = np.round(canvas[where] * (1 - cover) + TABLE[found] * cover).astype(np.uint8)
