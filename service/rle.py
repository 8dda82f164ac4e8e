"""COCO's run lengths: column by column, background first, and the text that its tools pack them into.

The packing is that of `rleToString` in COCO's own `maskApi.c`: from the third run on the difference to the run two
before, in groups of 5 bits, least first, bit 5 for "more follow", each plus 48 as a character.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
MOST_GROUPS = 7  # of one run: 35 bits


def encode(mask: Bools) -> str:
    """The packed run lengths of a mask, (H, W)."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(bounds).tolist()
    if flat.size and flat[0]:
        counts.insert(0, 0)
    return "".join(_packed(run - counts[at - 2] if at > 2 else run) for at, run in enumerate(counts))


def decode(text: str, height: int, width: int) -> Bools:
    """The mask of packed run lengths, (H, W); nothing is allocated before they are known to fill it.

    Raises:
        ValueError: they are no run lengths of a mask of this size.
    """
    return fill(unpack(text), height, width)


def fill(counts: list[int], height: int, width: int) -> Bools:
    """The mask of run lengths, (H, W).

    Raises:
        ValueError: they do not fill a mask of this size.
    """
    if any(run < 0 for run in counts) or sum(counts) != height * width:
        raise ValueError(f"the runs do not add up to {height} x {width} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def unpack(text: str) -> list[int]:
    """The run lengths in a packed text; raises `ValueError`."""
    counts: list[int] = []
    value = groups = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or groups == MOST_GROUPS:
            raise ValueError(f"{character!r} has no place in packed run lengths")
        value |= (code & 31) << (5 * groups)
        groups += 1
        if code & 32:
            continue
        if code & 16:
            value -= 1 << (5 * groups)
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = groups = 0
    if groups:
        raise ValueError("the packed run lengths end in the middle of one")
    return counts


def _packed(value: int) -> str:
    characters = []
    while True:
        group, value = value & 31, value >> 5
        more = value != (-1 if group & 16 else 0)
        characters.append(chr(group + 48 + (32 if more else 0)))
        if not more:
            return "".join(characters)
