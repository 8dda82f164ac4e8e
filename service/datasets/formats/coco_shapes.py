"""The shapes of COCO's annotations: checked as plain numbers, then drawn into pixels.

Runs count pixels down the columns of an image, background first. They are read here; polygons are drawn by pycocotools,
whose corners and edges are those that everybody knows. It is C, and believes what it is given: only numbers that passed
`outline` come to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service import rle

MAX_OUTLINE = 2_000_000  # pixels along the edges of one annotation; time and memory of drawing grow with it


class ShapeFault(Exception):
    """A segmentation that cannot be drawn; says why."""


@dataclass(frozen=True)
class Outline:
    """Polygons that belong together; each is x, y, x, y, … in pixels."""

    parts: tuple[NDArray[np.float64], ...]
    length: float  # pixels along all edges


@dataclass(frozen=True)
class Runs:
    """Lengths of runs of background, foreground, background, …; together all pixels."""

    counts: NDArray[np.int64]


Shape = Outline | Runs


def read_shape(segmentation: Any, height: int, width: int) -> Shape:
    """A segmentation as it is in the JSON, checked against the size of its image.

    Raises:
        ShapeFault: it is malformed.
    """
    if isinstance(segmentation, dict):
        return _runs(segmentation, height, width)
    if not isinstance(segmentation, list) or not segmentation:
        raise ShapeFault("has no segmentation (a box alone is no mask)")
    return _outline(segmentation, height, width)


class Drawn:
    """A shape in an image of a size; its area is known before it is unpacked into pixels."""

    def __init__(self, shape: Shape, height: int, width: int) -> None:
        self._size = (height, width)
        self._counts = shape.counts if isinstance(shape, Runs) else _filled(shape, height, width)
        self.area = int(self._counts[1::2].sum())

    def pixels(self) -> NDArray[np.bool_]:
        """Where it is, (H, W)."""
        foreground = np.arange(len(self._counts)) % 2 == 1
        return np.repeat(foreground, self._counts).reshape(self._size, order="F")


def _filled(outline: Outline, height: int, width: int) -> NDArray[np.int64]:
    """The runs of pixels inside of any of the polygons."""
    from pycocotools import mask

    packed = mask.merge(mask.frPyObjects([part.tolist() for part in outline.parts], height, width))
    return np.array(_unpacked(packed["counts"].decode()), dtype=np.int64)


def _outline(segmentation: list[Any], height: int, width: int) -> Outline:
    parts, length = [], 0.0
    for polygon in segmentation:
        if not isinstance(polygon, list) or not all(type(number) in (int, float) for number in polygon):
            raise ShapeFault("has a polygon that is no list of numbers")
        if len(polygon) < 6 or len(polygon) % 2:
            raise ShapeFault(f"has a polygon of {len(polygon)} numbers; three points or more make one")
        try:
            points = np.array(polygon, dtype=np.float64)
        except OverflowError as error:
            raise ShapeFault("has a polygon far outside of its image") from error
        size = np.array([width, height])
        xy = points.reshape(-1, 2)
        if not ((xy >= -size) & (xy <= 2 * size)).all():  # not a number is in no range
            raise ShapeFault("has a polygon far outside of its image")
        length += float(np.abs(xy - np.roll(xy, 1, axis=0)).max(axis=1).sum())
        parts.append(points)
    if length > MAX_OUTLINE:
        raise ShapeFault(f"has an outline of {length:.0f} pixels, more than {MAX_OUTLINE}")
    return Outline(tuple(parts), length)


def _runs(segmentation: dict[str, Any], height: int, width: int) -> Runs:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ShapeFault(f"has a mask of size {str(size)[:40]}, its image [{height}, {width}] (height, width)")
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ShapeFault("has counts that are neither packed nor whole numbers from 0 on")
    if sum(counts) != height * width:
        raise ShapeFault(f"has counts of {sum(counts)} pixels in all, its image has {height * width}")
    return Runs(np.array(counts, dtype=np.int64))


def _unpacked(text: str) -> list[int]:
    """The counts in COCO's string."""
    try:
        return rle.unpack(text)
    except ValueError as error:
        raise ShapeFault(f"has packed counts that cannot be read: {error}") from error
