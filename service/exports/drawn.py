"""What somebody drew in a tool, apart from how the tool writes it: areas of classes, by where they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import FieldError
from service.exports.rows import Incoming, parse
from service.reviews.decisions import Decision

Mask = NDArray[np.uint8]
Bools = NDArray[np.bool_]
EMPTY = "empty"  # beside the decisions: the mask that is to take the label's place has nothing in it
UNDECIDED = "undecided"
CLASS = re.compile(r"class-(\d{1,3})")


@dataclass(frozen=True)
class Area:
    """Pixels of one class; `pixels(height, width)` draws them, and raises `ValueError` if they are not of that size.

    Without a `value` it gives a whole mask, whose pixels have the values of their classes.
    """

    value: int | None
    pixels: Callable[[int, int], NDArray[Any]]


@dataclass(frozen=True)
class Drawn:
    """One image of a tool's file: what was decided there, and what is drawn on it.

    `groups` has areas by their `kinds.Source`, label and prediction as they were exported, "" for a mask that
    is new whatever was exported. Without areas a source says nothing; an empty mask has to be decided (`blank`).
    """

    place: str
    said: Incoming
    groups: dict[str, list[Area]] = field(default_factory=dict)
    blank: bool = False


def said(place: str, content: dict[str, Any], groups: dict[str, list[Area]], faults: list[FieldError]) -> Drawn | None:
    """An image of a file, its facts checked; what is wrong with them is added to `faults`.

    Args:
        place: of the image, for people.
        content: sample, mask_sha256, revision, note, and a decision, which may also be `EMPTY` or `UNDECIDED`.
        groups: what is drawn, as `Drawn` has it.
        faults: of the file so far.
    """
    given = content.get("decision")
    decision = {EMPTY: Decision.CORRECTED, UNDECIDED: None}.get(given, given) if isinstance(given, str) else given
    lines, wrong = parse([(place, content | {"decision": decision})])
    faults += wrong
    return Drawn(place, lines[0].said, groups, blank=given == EMPTY) if lines else None


def class_name(value: int) -> str:
    """What the class of a mask's value is called in tools: classes have no names here."""
    return f"class-{value}"


def class_value(name: str, mask_values: Sequence[int] | None = None) -> int:
    """The value of a class by its name in tools; raises `ValueError`."""
    found = CLASS.fullmatch(name)
    if found is None or (mask_values is not None and int(found[1]) not in mask_values):
        raise ValueError(f"{name!r} is no class of the dataset")
    return int(found[1])


def classes(mask: Mask) -> Iterator[tuple[int, Bools]]:
    """Each class of a mask with its pixels, (H, W); the background is none."""
    for value in np.unique(mask).tolist():
        if value:
            yield value, mask == value


def painted(areas: Sequence[Area], height: int, width: int, mask_values: list[int]) -> Mask:
    """The mask of areas, (H, W); where they overlap the later one is on top.

    Raises:
        ValueError: one is of another size or class, or is no mask.
    """
    mask = np.zeros((height, width), np.uint8)
    for one in areas:
        if one.value is not None and one.value not in mask_values:
            raise ValueError(f"class {one.value} is none of the dataset's values")
        drawn = one.pixels(height, width)
        if one.value is not None:
            mask[drawn] = one.value
            continue
        if other := sorted(set(np.unique(drawn).tolist()) - set(mask_values)):
            raise ValueError(f"the values {other[:5]} are none of the dataset's")
        mask[drawn != 0] = drawn[drawn != 0]
    return mask
