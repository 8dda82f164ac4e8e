"""The faults that readers commit when they draw a mask: one function `(mask, radius, strength, rng)` each.

Masks are (H, W) class indices. `radius` is the equivalent radius of the lesion, `strength` 1 for a first try.
What they guarantee together is the business of `dale.noise`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[Any]
Region = NDArray[np.bool_]
Field = NDArray[np.float64]

MAX_DICE = 0.85
# From this strength on a polygon has only three corners.
TRIANGLE = 2.0
# A component below this many pixels is a click, not a shape: no polygon can be coarser.
SMALLEST_POLYGON = 12


def dice(first: Mask, second: Mask) -> float:
    """Mean Dice over the lesion classes that occur in either mask; 1 where both are empty. In [0, 1]."""
    classes = np.union1d(np.unique(first), np.unique(second))
    scores = []
    for value in classes[classes != 0]:
        a, b = first == value, second == value
        scores.append(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
    return float(np.mean(scores)) if scores else 1.0


def equivalent_radius(mask: Mask) -> float:
    """Radius in pixels of the mean component (weighted by area) as a disk; 0 for an empty mask."""
    labels, count = ndimage.label(mask != 0)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(float)
    return float(np.average(np.sqrt(areas / np.pi), weights=areas)) if count else 0.0


def _distances(foreground: Region) -> tuple[Field, Field]:
    """Distance of each pixel to the lesion (0 in it) and to the background (0 in it).

    The image's edge is no border of the lesion, except where there is no other.
    """
    if foreground.all():
        padded = np.pad(foreground, 1)
        return np.zeros(foreground.shape), ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    return ndimage.distance_transform_edt(~foreground), ndimage.distance_transform_edt(foreground)


def _relabel(mask: Mask, region: Region) -> Mask:
    """Fill the region with the class of the nearest lesion pixel."""
    nearest = ndimage.distance_transform_edt(mask == 0, return_distances=False, return_indices=True)
    return np.where(region, mask[tuple(nearest)], 0).astype(mask.dtype)


def _smooth_noise(shape: tuple[int, ...], wavelength: float, rng: np.random.Generator) -> Field:
    """Noise of zero mean and unit spread that varies over about `wavelength` pixels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), max(wavelength / 4, 0.5), mode="reflect")
    spread = field.std()
    noise: Field = (field - field.mean()) / (spread if spread > 0 else 1.0)
    return noise


def _dilate(mask: Mask, radius: float, strength: float, rng: np.random.Generator) -> Mask:
    """Drawn too wide, by a quarter to a half of the radius."""
    outside, _ = _distances(mask != 0)
    return _relabel(mask, outside <= max(1.0, rng.uniform(0.25, 0.5) * strength * radius))


def _erode(mask: Mask, radius: float, strength: float, rng: np.random.Generator) -> Mask:
    """Drawn too narrow, by a fifth to two fifths of the radius; the core always stays."""
    _, inside = _distances(mask != 0)
    depth = max(1.0, rng.uniform(0.2, 0.4) * strength * radius)
    return np.where(inside > min(depth, 0.8 * inside.max()), mask, 0).astype(mask.dtype)


def _displace(mask: Mask, radius: float, strength: float, rng: np.random.Generator) -> Mask:
    """Drawn beside the lesion: shifted by 0.4 to 0.8 of the radius in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    length = max(1.0, rng.uniform(0.4, 0.8) * strength * radius)
    shift = np.rint(length * np.array([np.sin(angle), np.cos(angle)])).astype(int)
    return np.asarray(ndimage.shift(mask, shift, order=0, mode="constant", cval=0)).astype(mask.dtype)


def _elastic(mask: Mask, radius: float, strength: float, rng: np.random.Generator) -> Mask:
    """An unsteady hand: the border wanders in and out by about a third of the radius."""
    outside, inside = _distances(mask != 0)
    wander = _smooth_noise(mask.shape, 1.5 * radius, rng) * max(1.0, rng.uniform(0.3, 0.45) * strength * radius)
    labels, _ = ndimage.label(inside - outside + wander > 0.5)
    kept = np.unique(labels[mask != 0])  # islands that touch no lesion are another fault
    return _relabel(mask, np.isin(labels, kept[kept != 0]))


def _polygon(mask: Mask, radius: float, strength: float, rng: np.random.Generator) -> Mask:
    """A few hasty clicks around each component: three to five corners."""
    labels, _ = ndimage.label(mask != 0)
    region = np.zeros(mask.shape, bool)
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        component = labels[window] == number
        if np.count_nonzero(component) < SMALLEST_POLYGON:
            region[window] |= component
            continue
        corners = 3 if strength > TRIANGLE else int(rng.integers(4, 6))
        region[window] |= _coarse_outline(component, corners, rng)
    return _relabel(mask, region)


def _coarse_outline(component: Region, corners: int, rng: np.random.Generator) -> Region:
    """The polygon through `corners` points of the outline, seen from the centre of mass."""
    ys, xs = np.nonzero(component)
    cy, cx = ys.mean(), xs.mean()
    angles = rng.uniform(0, 2 * np.pi) + (np.arange(corners) + rng.uniform(-0.2, 0.2, corners)) * 2 * np.pi / corners
    reach = np.hypot(ys - cy, xs - cx)
    bearing = np.arctan2(ys - cy, xs - cx)
    points = []
    for angle in angles:
        away = np.abs((bearing - angle + np.pi) % (2 * np.pi) - np.pi)
        near = away < np.pi / 12
        points.append(0.5 + (reach[near].max() if near.any() else 0.0))
    clicked = np.stack([np.sin(angles), np.cos(angles)]) * np.array(points)  # (2, corners) around the centre
    dy, dx = np.indices(component.shape) - np.array([cy, cx]).reshape(2, 1, 1)
    region = np.zeros(component.shape, bool)
    for i in range(corners):
        (ay, ax), (by, bx) = clicked[:, i], clicked[:, (i + 1) % corners]
        area = ax * by - ay * bx
        if abs(area) > 1e-9:  # barycentric: the pixel lies in the triangle of the centre and two clicks
            u, v = (dx * by - dy * bx) / area, (ax * dy - ay * dx) / area
            region |= (u >= 0) & (v >= 0) & (u + v <= 1)
    return region


def _box(mask: Mask, radius: float, strength: float, rng: np.random.Generator) -> Mask:
    """A loose rectangle around each component instead of an outline."""
    labels, _ = ndimage.label(mask != 0)
    margin = round(max(1.0, rng.uniform(0.05, 0.25) * strength * radius))
    region = np.zeros(mask.shape, bool)
    for rows, columns in ndimage.find_objects(labels):
        top, left = max(0, rows.start - margin), max(0, columns.start - margin)
        region[top : rows.stop + margin, left : columns.stop + margin] = True
    return _relabel(mask, region)


def _missed(mask: Mask, radius: float, strength: float, rng: np.random.Generator) -> Mask:
    """Overlooked: as many components, in random order, as it takes to matter; often the only one."""
    labels, count = ndimage.label(mask != 0)
    result = mask.copy()
    for number in rng.permutation(np.arange(1, count + 1)):
        result[labels == number] = 0
        if dice(result, mask) < MAX_DICE:
            break
    return result


def _extra(mask: Mask, radius: float, strength: float, rng: np.random.Generator) -> Mask:
    """A lesion drawn where none is: a blob about as large as the true one, of one of its classes."""
    size = radius * rng.uniform(0.8, 1.2) if radius else rng.uniform(0.06, 0.15) * min(mask.shape)
    size = max(1.0, size * strength)
    outside, _ = _distances(mask != 0) if mask.any() else (np.full(mask.shape, np.inf), None)
    ys, xs = np.nonzero(outside > size + 1)
    if not len(ys):
        return mask.copy()  # no room
    at = rng.integers(len(ys))
    dy, dx = np.indices(mask.shape) - np.array([ys[at], xs[at]]).reshape(2, 1, 1)
    blob = np.hypot(dy, dx) <= size * (1 + 0.2 * _smooth_noise(mask.shape, 2 * size, rng).clip(-2, 2))
    present = np.unique(mask[mask != 0])
    value = rng.choice(present) if len(present) else 1
    return np.where(blob & (mask == 0), value, mask).astype(mask.dtype)


def swapped(mask: Mask, donor: Mask) -> Mask:
    """The mask of another sample, stretched to this image's size."""
    rows = np.arange(mask.shape[0]) * donor.shape[0] // mask.shape[0]
    columns = np.arange(mask.shape[1]) * donor.shape[1] // mask.shape[1]
    return donor[np.ix_(rows, columns)].astype(mask.dtype)


FAULTS: dict[str, Callable[[Mask, float, float, np.random.Generator], Mask]] = {
    "dilate": _dilate,
    "erode": _erode,
    "displace": _displace,
    "elastic": _elastic,
    "polygon": _polygon,
    "box": _box,
    "missed": _missed,
    "extra": _extra,
}
