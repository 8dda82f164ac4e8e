"""Draws a sample for people: the image with the outline of its label and of the prediction, and what is doubted.

The two outlines differ in colour (blue and orange, apart for colour-blind eyes as well), in halo (light and dark, so
that one of each pair shows on any tissue) and in style (solid and dashed, so that both show where they coincide).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service import heat
from service.datasets.pixels import MEDIA_TYPES

Bools = NDArray[np.bool_]
Format = Literal["webp", "png"]
LABEL, LABEL_HALO = (0, 114, 178), (255, 255, 255)
PREDICTION, PREDICTION_HALO = (230, 159, 0), (20, 20, 20)
DASH, GAP = 7, 5  # in units of the line's width, so that dashes look alike at every size
MAX_DASHED = 60_000  # pixels of outline; a mask with more is noise, and is drawn solid
VERSION = 1  # part of every overlay's ETag: raise it when pictures change


@dataclass(frozen=True)
class Picture:
    """What there is to draw of a sample."""

    image: NDArray[np.uint8]  # (H, W, 3)
    label: NDArray[np.uint8] | None  # (H, W)
    prediction: NDArray[np.uint8] | None  # (H, W)
    doubt: NDArray[np.uint8] | None  # (h, w), of all of the image
    aspect: float = 1.0  # height of a pixel in units of its width


@dataclass(frozen=True)
class Style:
    """Widths in output pixels."""

    line: int
    halo: int


def style_for(size: int) -> Style:
    """Crisp at every size: one pixel in thumbnails, two where there is room."""
    return Style(line=1, halo=1) if size < 240 else Style(line=2, halo=1)


def decode_image(source: IO[bytes]) -> NDArray[np.uint8]:
    """Decode an image to (H, W, 3), RGB; more than 8 bits a pixel are stretched to 8."""
    with Image.open(source, formats=list(MEDIA_TYPES)) as image:
        if image.mode in {"I", "I;16", "I;16B", "F"}:
            values = np.asarray(image, dtype=np.float32)
            low, high = float(values.min()), float(values.max())
            grey = ((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return np.asarray(image.convert("RGB"))


def decode_mask(source: IO[bytes]) -> NDArray[np.uint8]:
    """Decode a stored mask or a prediction to (H, W), the values as they are."""
    with Image.open(source, formats=list(MEDIA_TYPES)) as image:
        return np.asarray(image if image.mode in ("L", "P") else image.convert("L"), dtype=np.uint8)


def render(
    image: NDArray[np.uint8],
    label: NDArray[np.uint8] | None,
    prediction: NDArray[np.uint8] | None,
    size: int,
    kind: Format = "webp",
    aspect: float = 1.0,
    doubt: NDArray[np.uint8] | None = None,
    opacity: float = heat.OPACITY,
) -> bytes:
    """Scale the image so that its longer side has `size` pixels, and draw the outlines at that resolution.

    Args:
        image: (H, W, 3), RGB.
        label: (H, W), any two different values are different classes, 0 is background; None draws none.
        prediction: as `label`.
        size: longer side of the result; a smaller image is enlarged, so that lines stay thin beside it.
        kind: of the encoded result.
        aspect: height of a pixel of the image in units of its width.
        doubt: (h, w), of all of the image: 0 is none, 255 the strongest. It lies under the outlines.
        opacity: of the strongest doubt, in [0, 1].
    """
    height, width = image.shape[0] * aspect, image.shape[1]
    scale = size / max(height, width)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = Image.fromarray(image).resize(target, Image.Resampling.LANCZOS)
    canvas = np.array(resized)
    if doubt is not None:
        heat.lay(canvas, doubt, opacity)
    style = style_for(size)
    lines = {
        name: outline(_scaled(mask, target))
        for name, mask in (("label", label), ("prediction", prediction))
        if mask is not None
    }
    for name, halo in (("label", LABEL_HALO), ("prediction", PREDICTION_HALO)):
        if name in lines:
            _tint(canvas, thicken(lines[name], style.line // 2 + style.halo), halo, 0.6)
    if "label" in lines:
        _tint(canvas, thicken(lines["label"], style.line // 2), LABEL, 1.0)
    if "prediction" in lines:
        line = lines["prediction"]
        _tint(canvas, thicken(line, style.line // 2) & thicken(dashes(line, style), style.line // 2), PREDICTION, 1.0)
    return _encoded(canvas, kind)


def outline(mask: NDArray[np.uint8]) -> Bools:
    """Pixels of a class that touch another class or background by a side; the image's own edge is no outline.

    Args:
        mask: (H, W), 0 is background.

    Returns:
        (H, W)
    """
    edge = np.zeros(mask.shape, dtype=bool)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    inside: Bools = mask != 0
    return np.logical_and(edge, inside)


def thicken(line: Bools, radius: int) -> Bools:
    """Widen a line by `radius` pixels on every side, diagonals included."""
    wide = line
    for _ in range(radius):
        grown = wide.copy()
        grown[1:] |= wide[:-1]
        grown[:-1] |= wide[1:]
        wide = grown.copy()
        wide[:, 1:] |= grown[:, :-1]
        wide[:, :-1] |= grown[:, 1:]
    return wide


def dashes(line: Bools, style: Style) -> Bools:
    """Part of a thin line, in even dashes along its course: follow it from pixel to neighbour, and count."""
    remaining = {(int(row), int(column)) for row, column in np.argwhere(line)}
    if len(remaining) > MAX_DASHED:
        return line
    on = np.zeros(line.shape, dtype=bool)
    dash, period = DASH * style.line, (DASH + GAP) * style.line
    for start in sorted(remaining):
        place: tuple[int, int] | None = start
        step = 0
        while place is not None and place in remaining:
            remaining.discard(place)
            on[place] = step % period < dash
            step += 1
            place = _next(place, remaining)
    return on


# Sides before corners: so the walk does not cut corners and leave single pixels behind.
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))


def _next(place: tuple[int, int], remaining: set[tuple[int, int]]) -> tuple[int, int] | None:
    row, column = place
    for down, right in _STEPS:
        if (row + down, column + right) in remaining:
            return row + down, column + right
    return None


def _scaled(mask: NDArray[np.uint8], target: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(mask).resize(target, Image.Resampling.NEAREST))


def _tint(canvas: NDArray[np.uint8], where: Bools, colour: tuple[int, int, int], opacity: float) -> None:
    mixed = canvas[where] * (1 - opacity) + np.array(colour) * opacity
    canvas[where] = np.round(mixed).astype(np.uint8)


def _encoded(canvas: NDArray[np.uint8], kind: Format) -> bytes:
    sink = io.BytesIO()
    if kind == "png":
        Image.fromarray(canvas).save(sink, "PNG")
    else:
        Image.fromarray(canvas).save(sink, "WEBP", quality=88, method=2)
    return sink.getvalue()
