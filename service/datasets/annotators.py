"""Several masks of one image: how far their annotators agree.

Agreement is Dice of the foregrounds, 1 where both masks are empty. Masks lie as one bit a pixel in memory, those of one
image at a time.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.datasets.checked import CheckedSample
from service.datasets.formats.nifti import is_packed, open_volume, planes, unpack
from service.datasets.storing import Unpacking
from service.resources.annotators import Agreement, Annotator, AnnotatorPair

Bits = NDArray[np.uint8]


def measure(
    samples: Sequence[CheckedSample], foreground: Callable[[CheckedSample], Bits]
) -> tuple[list[CheckedSample], Agreement | None]:
    """The samples with their agreement, and all of it in short; None where nobody is named.

    Args:
        samples: those that have passed.
        foreground: the foreground of a sample's mask, one bit a pixel.
    """
    images: defaultdict[str, list[int]] = defaultdict(list)
    for place, sample in enumerate(samples):
        if sample.facts.annotator is not None:
            images[sample.image_sha256].append(place)
    agreed = list(samples)
    pairs: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for places in images.values():
        found: defaultdict[int, list[float]] = defaultdict(list)
        masks = {place: foreground(samples[place]) for place in places} if len(places) > 1 else {}
        for a, b in combinations(masks, 2):
            first, second = (samples[place].facts.annotator or "" for place in (a, b))
            if first != second:
                value = dice(masks[a], masks[b])
                found[a].append(value)
                found[b].append(value)
                pairs[min(first, second), max(first, second)].append(value)
        for place, values in found.items():
            facts = replace(samples[place].facts, agreement=float(np.mean(values)))
            agreed[place] = replace(samples[place], facts=facts)
    return agreed, summary([vars(sample.facts) for sample in agreed], pairs)


def summary(
    facts: Iterable[Mapping[str, Any]], pairs: Mapping[tuple[str, str], list[float]] | None = None
) -> Agreement | None:
    """What is known of the annotators together; None where nobody is named.

    Args:
        facts: with `annotator` and `agreement`, of each sample.
        pairs: the Dice of their common images, by two annotators.
    """
    people: defaultdict[str, list[float | None]] = defaultdict(list)
    for fact in facts:
        if fact["annotator"] is not None:
            people[fact["annotator"]].append(fact["agreement"])
    if not people:
        return None
    listed = []
    for name, values in sorted(people.items()):
        known = [value for value in values if value is not None]
        mean = float(np.mean(known)) if known else None
        listed.append(Annotator(annotator=name, masks=len(values), agreement=mean))
    both = [
        AnnotatorPair(first=first, second=second, images=len(values), dice=float(np.mean(values)))
        for (first, second), values in sorted((pairs or {}).items())
    ]
    return Agreement(annotators=listed, pairs=both)


def dice(first: Bits, second: Bits) -> float:
    """Dice of two foregrounds, one bit a pixel; 1 where both are empty."""
    total = int(np.bitwise_count(first).sum()) + int(np.bitwise_count(second).sum())
    return 2 * int(np.bitwise_count(first & second).sum()) / total if total else 1.0


def foreground_in(source: Unpacking) -> Callable[[CheckedSample], Bits]:
    """Reads masks of an upload that have passed, as they will be stored.

    Args:
        source: the upload.
    """

    def read(sample: CheckedSample) -> Bits:
        with tempfile.TemporaryDirectory(prefix="dale-agreement-") as folder:
            scratch = Path(folder)
            path = source.unpacked(sample.pair.mask, sample.mask_sha256, scratch, encoded=sample.mask_encoded)
            if sample.depth is None:
                with Image.open(path) as image:
                    return np.packbits(np.asarray(image) != 0)
            if is_packed(path):
                unpack(path, scratch / "unpacked", source.limits.max_volume_bytes)
                path = scratch / "unpacked"
            some = [np.packbits(plane != 0) for plane in planes(open_volume(path, source.limits.max_voxels))]
            return np.concatenate(some)

    return read
