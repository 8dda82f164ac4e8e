"""Images that are nearly the same: found by the signs of their low frequencies, whatever their size and encoding.

The fingerprint is a perceptual hash of 256 bits: the image in 32 x 32 grey values, of its cosine transform the 16 x 16
lowest frequencies, of each whether it is above their median. Decision 31 says how `DISTANCE` was chosen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.datasets.checked import CheckedSample, Findings

EDGE, FREQUENCIES = 32, 16
DISTANCE = 24  # bits of 256 in which the fingerprints of nearly equal images may differ
MOST_COMPARED = 50_000  # different images; half a minute
MOST_LISTED = 50
ROWS_AT_ONCE = 256
_steps = np.arange(EDGE)
_COSINES = np.cos(np.pi * (2 * _steps[None] + 1) * _steps[:FREQUENCIES, None] / (2 * EDGE))
Link = tuple[int, int, int]  # two places, the first the smaller, and in how many bits they differ


def fingerprint(image: Image.Image) -> bytes | None:
    """What nearly equal images have nearly in common, 32 bytes; None where every pixel is the same."""
    if image.mode in {"I", "I;16", "I;16B", "F"}:
        image = Image.fromarray(_stretched(np.asarray(image, dtype=np.float32)))
    small = image.convert("L").resize((EDGE, EDGE), Image.Resampling.BOX, reducing_gap=2.0)
    grey = np.asarray(small, dtype=np.float64)
    if grey.min() == grey.max():
        return None
    waves = (_COSINES @ grey @ _COSINES.T).ravel()
    return np.packbits(waves > np.median(waves)).tobytes()


def fingerprint_of_plane(plane: NDArray[Any]) -> bytes | None:
    """The same of one plane of a volume, (H, W), of any intensities."""
    return fingerprint(Image.fromarray(_stretched(np.asarray(plane, dtype=np.float32))))


def find_alike(samples: Sequence[CheckedSample], found: Findings) -> list[tuple[int, int]]:
    """Places of samples whose images are nearly the same, and a warning about each pair that is not equal byte by byte.

    Of more than two that are alike, not every pair comes, but so many that all hang together.
    """
    kinds = [(sample.width, sample.height, sample.depth) if sample.depth else None for sample in samples]
    links = list(alike([sample.fingerprint for sample in samples], kinds, found))
    shown = [link for link in links if samples[link[0]].image_sha256 != samples[link[1]].image_sha256]
    for first, second, bits in shown[:MOST_LISTED]:
        reason = f"is nearly the same image as {samples[first].pair.image.path} ({bits} of 256 bits differ)"
        found.warn(samples[second].pair.image.path, reason, "keep one of them, or at least both in one split")
    if len(shown) > MOST_LISTED:
        found.warn("", f"{len(shown) - MOST_LISTED} more pairs of images are nearly the same")
    return [(first, second) for first, second, _ in links]


def alike(fingerprints: Sequence[bytes | None], kinds: Sequence[Hashable], found: Findings) -> Iterator[Link]:
    """So many pairs of nearly equal fingerprints that all that are alike hang together.

    Args:
        fingerprints: of each image.
        kinds: only images of one kind are compared.
        found: is told where there are too many to compare.
    """
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, (mark, kind) in enumerate(zip(fingerprints, kinds, strict=True)):
        if mark is not None:
            members[kind].append(place)
    for places in members.values():
        words = np.frombuffer(b"".join(fingerprints[place] or b"" for place in places), dtype=np.uint64).reshape(-1, 4)
        different, first, which = np.unique(words, axis=0, return_index=True, return_inverse=True)
        for place, twin in enumerate(first[which.ravel()].tolist()):
            if twin != place:
                yield places[twin], places[place], 0
        if len(different) > MOST_COMPARED:
            reason = f"holds {len(different)} different images: only equal ones were looked for, not nearly equal ones"
            found.warn("", reason, f"up to {MOST_COMPARED} are compared")
            continue
        order = np.sort(first)
        for a, b, bits in _near(words[order]):
            yield places[order[a]], places[order[b]], bits


def _near(words: NDArray[np.uint64]) -> Iterator[Link]:
    """Pairs of rows within `DISTANCE`, without those that hang together by others already."""
    component = np.arange(len(words))
    for begin in range(0, len(words), ROWS_AT_ONCE):
        block = words[begin : begin + ROWS_AT_ONCE]
        bits = np.zeros((len(block), len(words) - begin), dtype=np.uint16)
        for word in range(words.shape[1]):
            bits += np.bitwise_count(block[:, word, None] ^ words[None, begin:, word])
        rows, columns = np.nonzero(bits <= DISTANCE)
        later = columns > rows
        rows, columns = rows[later], columns[later]
        while len(rows):
            apart = component[begin + rows] != component[begin + columns]
            rows, columns = rows[apart], columns[apart]
            if len(rows):
                a, b = int(begin + rows[0]), int(begin + columns[0])
                component[component == component[b]] = component[a]
                yield a, b, int(bits[rows[0], columns[0]])


def _stretched(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
