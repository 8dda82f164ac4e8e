"""What is wrong with one label, in the eyes of the network: a reason in words.

The prediction that the label is compared with should come from a network that has not memorised the label. Where in
the image the doubt lies is told by `dale.doubt_map`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from dale.consistency import check_shapes

Classes = NDArray[np.int64]  # class of each pixel, 0 = background
Region = NDArray[np.bool_]
Kind = Literal["none", "missing", "extra", "disjoint", "displaced", "wide", "narrow", "border", "wrong_class"]

# From this Dice on, borders and classes agree: two careful readers do not agree more closely.
AGREE = 0.9
# A whole lesion is worth a word from this share of all lesion pixels on, even where the rest agrees.
SPECK = 0.05
# A shift explains a disagreement where it removes this share of it.
EXPLAINED = 0.5
# A border lies evenly within or without where the spread of its distance is at most this share of the mean.
EVEN = 0.5


@dataclass(frozen=True)
class Reason:
    """Why a label is doubted.

    Attributes:
        kind: `none`: they agree; `missing`, `extra`: whole lesions that the label lacks, or that it alone has;
            `disjoint`: both have lesions, which nowhere overlap; `displaced`: the label lies beside what the model
            sees; `wide`, `narrow`: its border runs evenly outside, or inside; `border`: it is off unevenly;
            `wrong_class`: a lesion of another class (the pair that is confused most).
        amount: how much, in `unit`, not negative: a size for `missing`, `extra` and `wrong_class`, else a distance.
        unit: px or mm for distances; px² or mm² (px³ or mm³ in 3D) for sizes.
        text: the reason as a sentence without a full stop.
    """

    kind: Kind
    amount: float
    unit: str
    text: str


def review(probabilities: Tensor, label: Tensor, spacing: Sequence[float] | None = None) -> Reason:
    """The main reason to doubt a label, from the lesions (connected components) in it and in the prediction.

    Both are maps of the likeliest class. Agreement is 2 |same lesion class| / (|label| + |prediction|), the Dice
    where there is one lesion class. The first rule that applies gives the reason:

    1. no lesion in either: `none`; in one only: `missing` or `extra`; in both, without overlap: `disjoint`, with
       the gap between them.
    2. `displaced`: agreement is below `AGREE`, and moving the label by the difference of the centroids removes at
       least `EXPLAINED` of the disagreement.
    3. What covers most pixels: whole lesions of the prediction only (`missing`) or of the label only (`extra`),
       lesion pixels of other classes (`wrong_class`), or all other pixels that are lesion in one of the two (the
       border). Whole is a lesion that the other does not touch, or that reaches further out of the other than
       the equivalent radius. `none` instead where agreement reaches `AGREE`, unless whole lesions of at least
       `SPECK` of all lesion pixels are missing or extra.
    4. A border, whole lesions left out, is judged by the signed distances d of its pixels in the label to that of
       the prediction (outside > 0): `wide` or `narrow` by |mean d| where std d <= `EVEN` |mean d|, else `border`
       by the average symmetric surface distance.

    Args:
        probabilities: (C, *spatial), of the network; spatial = (H, W) or (D, H, W).
        label: (C, *spatial), one-hot or soft.
        spacing: mm per pixel along each spatial axis; None gives amounts in pixels.

    Raises:
        ValueError: the shapes differ, are neither 2D nor 3D, or do not fit the spacing.
    """
    check_shapes(probabilities, label)
    axes = label.ndim - 1
    if axes not in (2, 3):
        raise ValueError(f"a label is (C, H, W) or (C, D, H, W); got shape {tuple(label.shape)}")
    if spacing is not None and (len(spacing) != axes or min(spacing) <= 0):
        raise ValueError(f"spacing {tuple(spacing)} is not {axes} positive numbers")
    if spacing is None:
        return review_masks(_classes(probabilities), _classes(label), (1.0,) * axes, "px")
    return review_masks(_classes(probabilities), _classes(label), spacing, "mm")


def review_masks(
    prediction: NDArray[np.integer], label: NDArray[np.integer], spacing: Sequence[float], unit: str
) -> Reason:
    """As `review`, of maps of classes.

    Args:
        prediction: (*spatial), the class of each pixel, 0 = background.
        label: (*spatial), likewise.
        spacing: from pixel to pixel along each axis, in `unit`.
        unit: px or mm.
    """
    seen, drawn = _crop(prediction.astype(np.int64), label.astype(np.int64))
    return _Comparison(seen, drawn, tuple(map(float, spacing)), unit).reason()


@dataclass(frozen=True)
class _Comparison:
    seen: Classes  # what the model sees
    drawn: Classes  # the label
    spacing: tuple[float, ...]
    unit: str

    def reason(self) -> Reason:
        seen, drawn = self.seen > 0, self.drawn > 0
        if not (seen & drawn).any():
            return self.without_overlap(seen, drawn)
        agreement = _agreement(self.seen, self.drawn)
        shift = np.subtract(ndimage.center_of_mass(drawn), ndimage.center_of_mass(seen))  # of the label, in pixels
        moved = ndimage.shift(self.drawn, -np.rint(shift), order=0, cval=0)
        if agreement < AGREE and 1 - _agreement(self.seen, moved) <= (1 - EXPLAINED) * (1 - agreement):
            way = shift * self.spacing
            length = float(np.linalg.norm(way))
            text = f"the label lies {_number(length)} {self.unit} {_direction(way / length)}"
            return Reason("displaced", length, self.unit, text)
        missing, extra = _whole(seen, drawn, self.spacing), _whole(drawn, seen, self.spacing)
        wrong = seen & drawn & (self.seen != self.drawn)
        border = (seen ^ drawn) & ~missing & ~extra
        regions: dict[Kind, Region] = {"missing": missing, "extra": extra, "wrong_class": wrong, "border": border}
        pixels = {kind: int(np.count_nonzero(region)) for kind, region in regions.items()}
        kind = max(pixels, key=lambda name: pixels[name])
        whole = kind in {"missing", "extra"} and pixels[kind] >= SPECK * np.count_nonzero(seen | drawn)
        if agreement >= AGREE and not whole:
            return self.none()
        if kind == "wrong_class":
            return self.wrong_class(wrong)
        if kind == "border":
            return self.border(seen & ~missing, drawn & ~extra)
        return self.whole_lesions(kind, regions[kind])

    def without_overlap(self, seen: Region, drawn: Region) -> Reason:
        if not seen.any() or not drawn.any():
            return self.whole_lesions("missing", seen) if seen.any() else self.whole_lesions("extra", drawn)
        gap = float(ndimage.distance_transform_edt(~seen, sampling=self.spacing)[drawn].min())
        text = f"label and prediction do not overlap: they lie {_number(gap)} {self.unit} apart"
        return Reason("disjoint", gap, self.unit, text)

    def none(self) -> Reason:
        return Reason("none", 0.0, self.unit, "label and prediction agree")

    def whole_lesions(self, kind: Kind, region: Region) -> Reason:
        if not region.any():
            return self.none()
        count = ndimage.label(region, np.ones([3] * region.ndim))[1]
        size, unit = self.size(int(np.count_nonzero(region)))
        lesions = f"{'a lesion of' if count == 1 else f'{count} lesions, together'} {_number(size)} {unit}"
        one, other = ("model sees", "label has") if kind == "missing" else ("label has", "model sees")
        return Reason(kind, size, unit, f"the {one} {lesions} where the {other} none")

    def wrong_class(self, region: Region) -> Reason:
        pairs, counts = np.unique(np.stack([self.drawn[region], self.seen[region]]), axis=1, return_counts=True)
        drawn, seen = pairs[:, counts.argmax()]
        size, unit = self.size(int(counts.max()))
        text = f"the label has class {drawn} where the model sees class {seen}, on {_number(size)} {unit}"
        return Reason("wrong_class", size, unit, text)

    def border(self, seen: Region, drawn: Region) -> Reason:
        if seen.all() or drawn.all():  # then the image's edge is a border after all
            seen, drawn = np.pad(seen, 1), np.pad(drawn, 1)
        outside = _signed_distances(drawn, seen, self.spacing)
        mean, spread = float(outside.mean()), float(outside.std())
        if mean and spread <= EVEN * abs(mean):
            kind: Kind = "wide" if mean > 0 else "narrow"
            word = "wider" if mean > 0 else "narrower"
            text = f"the label is {_number(abs(mean))} {self.unit} {word} all around"
            return Reason(kind, abs(mean), self.unit, text)
        both = np.concatenate([outside, _signed_distances(seen, drawn, self.spacing)])
        off = float(np.abs(both).mean())
        if off == 0:  # one is the mere outline of the other
            return self.whole_lesions("missing" if (seen & ~drawn).any() else "extra", seen ^ drawn)
        return Reason("border", off, self.unit, f"the border is off by {_number(off)} {self.unit} on average")

    def size(self, pixels: int) -> tuple[float, str]:
        return float(pixels * np.prod(self.spacing)), self.unit + ("²" if len(self.spacing) == 2 else "³")


def _classes(scores: Tensor) -> Classes:
    classes: Classes = scores.detach().float().argmax(0).cpu().numpy()
    return classes


def _crop(seen: Classes, drawn: Classes) -> tuple[Classes, Classes]:
    """Both, around all lesions, with a pixel of background where the image has one: volumes are mostly empty."""
    found = ndimage.find_objects(((seen > 0) | (drawn > 0)).astype(np.int8))
    if not found:
        return seen, drawn
    window = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in found[0])
    return seen[window], drawn[window]


def _agreement(seen: Classes, drawn: Classes) -> float:
    same = np.count_nonzero((seen == drawn) & (seen > 0))
    return 2 * same / (np.count_nonzero(seen) + np.count_nonzero(drawn))


def _whole(region: Region, other: Region, spacing: tuple[float, ...]) -> Region:
    """The pixels of whole lesions of a region that the other lacks; connected components, diagonals connect.

    A lesion is whole where it does not touch the other. Two lesions may touch and be one component: so what is
    left of a component without the other is a lesion of its own as well, where it reaches further away from the
    other than the component's equivalent radius (that of the disk or ball of its size).
    """
    near = np.ones([3] * region.ndim)
    components, _ = ndimage.label(region, near)
    alone = np.ones(components.max() + 1, bool)
    alone[components[other]] = False
    size = np.bincount(components.ravel()) * np.prod(spacing)
    radius = np.sqrt(size / np.pi) if region.ndim == 2 else np.cbrt(0.75 * size / np.pi)
    pieces, count = ndimage.label(region & ~other, near)
    reach = ndimage.maximum(ndimage.distance_transform_edt(~other, sampling=spacing), pieces, np.arange(count + 1))
    result: Region = (pieces > 0) & (alone[components] | (reach[pieces] > radius[components]))
    return result


def _signed_distances(region: Region, other: Region, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """From each border pixel of the region to the border of the other: > 0 outside of it, < 0 inside.

    Border pixels belong to the region and have a neighbour that does not; the image's edge is no border.
    """
    mine, theirs = (mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (region, other))
    away = ndimage.distance_transform_edt(~theirs, sampling=spacing)
    signed: NDArray[np.float64] = np.where(other, -away, away)[mine]
    return signed


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _direction(way: NDArray[Any]) -> str:
    """Words for a unit vector (depth,) row, column; a part below sin 22.5° of it is left out."""
    steps = [int(np.sign(part)) if abs(part) > np.sin(np.pi / 8) else 0 for part in way]
    down, right = steps[-2:]
    words = ("off", "below", "above")[down]
    if right:
        words = f"to the {('', 'lower ', 'upper ')[down]}{('', 'right', 'left')[right]} of"
    depth = steps[0] if len(steps) == 3 else 0
    return f"{words} what the model sees{('', ', toward the last slice', ', toward the first slice')[depth]}"
