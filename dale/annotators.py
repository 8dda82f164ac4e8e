"""Noise by annotator: some of the people who drew the labels have a style, and it shows in every mask of theirs.

A style is one fault of `dale.faults` done by one hand. A hand is a seed: each mask of an annotator is corrupted
with the same random state, so what a fault draws relative to the lesion (a width as a share of the radius, a
direction, a number of corners) is the same in all of them, and differs from one annotator to the next.

Such noise is one-sided: no statistics over samples alone can tell the style from the standard once it is common,
but the annotator of each sample is known in many datasets, and tells it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from dale.faults import FAULTS, Mask, dice
from dale.noise import CLEAN, ImpossibleCorruption, Truth, corrupt

# A mask swapped with another sample's is an accident, not a style.
STYLES: tuple[str, ...] = tuple(FAULTS)


def assign_annotators(names: Iterable[str], annotators: int, rng: np.random.Generator) -> dict[str, str]:
    """Deal samples out to annotators at random, the same number to each, give or take one.

    Args:
        names: the samples; their order does not matter.
        annotators: how many people drew them, 1 or more.
        rng: the source of chance.

    Returns:
        The annotator of each sample, `a0`, `a1` and so on, in the order of names.

    Raises:
        ValueError: fewer than one annotator.
    """
    if annotators < 1:
        raise ValueError(f"annotators is {annotators}; it must be 1 or more")
    ordered = sorted(names)
    return {name: f"a{hand % annotators}" for name, hand in zip(ordered, rng.permutation(len(ordered)), strict=True)}


def corrupt_by_annotator(
    masks: Mapping[str, Mask], ratio: float, annotators: Mapping[str, str], kind: str, rng: np.random.Generator
) -> Iterator[tuple[Mask, Truth]]:
    """Give some annotators a style and corrupt all that they drew, one mask in memory at a time.

    Styled are those annotators whose samples together come nearest to `ratio * len(masks)`. A mask that the fault
    cannot be done to stays clean. Where the hand is too light for a real change (a Dice below `MAX_DICE`), which
    happens on lesions of a few pixels, `corrupt` makes it heavier for that mask.

    Args:
        masks: (H, W) class indices of each sample.
        ratio: share of the samples to corrupt, in [0, 1].
        annotators: the annotator of each sample, of `assign_annotators` or of the dataset itself.
        kind: one of `STYLES`.
        rng: the source of chance.

    Yields:
        The new mask of each sample, once, in the order of names, and what was done, annotator included.

    Raises:
        ValueError: an unknown style, a ratio outside [0, 1], or a sample without an annotator.
        ImpossibleCorruption: the ratio is above 0, but no mask was corrupted.
    """
    if kind not in STYLES:
        raise ValueError(f"unknown style {kind!r}; known: {', '.join(STYLES)}")
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio {ratio} is not within 0 and 1")
    names = sorted(masks)
    unknown = [name for name in names if name not in annotators]
    if unknown:
        raise ValueError(f"no annotator is given for {', '.join(unknown[:10])}")
    people, counts = np.unique([annotators[name] for name in names], return_counts=True)
    order = rng.permutation(len(people))
    styled = _nearest(dict(zip(people[order].tolist(), counts[order].tolist(), strict=True)), ratio * len(names))
    hands = {person: int(rng.integers(2**63)) for person in styled}
    done = 0
    for name in names:
        person, mask = annotators[name], masks[name]
        new, truth = mask, Truth(name, CLEAN, 1.0, person)
        if person in hands:
            try:
                new = corrupt(mask, kind, np.random.default_rng(hands[person]))
                truth = replace(truth, kind=kind, dice=dice(new, mask))
                done += 1
            except ImpossibleCorruption:
                pass
        yield new, truth
    if ratio > 0 and not done:
        raise ImpossibleCorruption(
            f"{kind} at ratio {ratio} of {len(people)} annotators corrupted no mask; ask for more annotators"
            if not styled
            else f"{kind} can be done to no mask of {', '.join(styled)}; choose another style"
        )


def _nearest(counts: Mapping[str, int], wanted: float) -> tuple[str, ...]:
    """The people whose counts sum up nearest to what is wanted."""
    sums: dict[int, tuple[str, ...]] = {0: ()}
    for person, count in counts.items():
        for total, group in list(sums.items()):
            sums.setdefault(total + count, (*group, person))
    return sums[min(sums, key=lambda total: abs(total - wanted))]
