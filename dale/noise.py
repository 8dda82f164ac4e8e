"""Seeded, realistic corruption of label masks, for benchmarks and for the demonstration.

Every kind imitates a fault that readers of medical images commit. Its strength is relative to the lesion:
the unit is the equivalent radius, sqrt(area / pi), of the mean component. A corruption is always real: the
Dice of the corrupted and the given mask stays below `MAX_DICE`. Where a draw is too mild it is repeated with
more strength; where a kind cannot be done (one pixel cannot be eroded, an empty mask has nothing to miss),
`corrupt` raises `ImpossibleCorruption`, and `corrupt_dataset` takes another of the kinds asked for, or
another sample.

Masks are (H, W) arrays of class indices, 0 = background. Kinds that move the border treat the lesion as a
whole: a pixel that joins takes the class of the nearest lesion pixel, so nested classes stay nested.

Command: `python -m dale.noise --data FOLDER --out FOLDER2 --ratio 0.25 --seed 0` (see `--help`). With
`--noise style:dilate --annotators 5` whole annotators are corrupted instead, see `dale.annotators`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dale.faults import FAULTS, MAX_DICE, Mask, dice, equivalent_radius, swapped

CLEAN = "clean"
KINDS: tuple[str, ...] = (*FAULTS, "swapped")
# A draw that is too mild is repeated this often, each time GROWTH times as strong.
TRIES = 10
GROWTH = 1.2


class ImpossibleCorruption(ValueError):
    """This kind of corruption cannot be done to this mask."""


def corrupt(mask: Mask, kind: str, rng: np.random.Generator, *, donor: Mask | None = None) -> Mask:
    """A corrupted copy of a mask, with a Dice to it below `MAX_DICE`.

    Args:
        mask: (H, W) class indices, 0 = background; may be empty (then only `extra` is possible, of class 1).
        kind: one of `KINDS`.
        rng: the source of chance; the same state gives the same mask.
        donor: for `swapped`, the mask of another sample, of any size.

    Raises:
        ImpossibleCorruption: this kind cannot be done to this mask.
        ValueError: unknown kind, or not a mask.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of noise {kind!r}; known: {', '.join(KINDS)}")
    if mask.ndim != 2 or mask.dtype.kind not in "iub":
        raise ValueError(f"a mask is (H, W) class indices; got shape {mask.shape} of {mask.dtype}")
    if not mask.any() and kind != "extra":
        raise ImpossibleCorruption(f"{kind}: the mask is empty")
    if kind == "swapped":
        if donor is None or not donor.any():
            raise ImpossibleCorruption("swapped: it needs the mask of another sample, with a lesion in it")
        result = swapped(mask, donor)
        if result.any() and dice(result, mask) < MAX_DICE:
            return result
        raise ImpossibleCorruption("swapped: the other mask is too much like this one")
    radius = equivalent_radius(mask)
    for attempt in range(TRIES):
        result = FAULTS[kind](mask, radius, GROWTH**attempt, rng)
        if (result.any() or kind == "missed") and dice(result, mask) < MAX_DICE:
            return result
    raise ImpossibleCorruption(f"{kind}: no real change in {TRIES} tries of growing strength")


@dataclass(frozen=True)
class Truth:
    """What was done to the label of one sample."""

    id: str
    kind: str  # CLEAN or one of KINDS
    dice: float  # of the new and the given mask; 1 where clean
    annotator: str = ""  # who drew it, where that is known


def parse_kinds(text: str) -> tuple[str, ...]:
    """Kinds from the words of a command line: `mixed` (all), or names with commas between.

    Raises:
        ValueError: an unknown kind.
    """
    kinds = KINDS if text == "mixed" else tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"unknown kind of noise {', '.join(map(repr, unknown))}; known: mixed, {', '.join(KINDS)}")
    return kinds


def corruptions(
    masks: Mapping[str, Mask], ratio: float, kinds: Sequence[str], rng: np.random.Generator
) -> Iterator[tuple[Mask, Truth]]:
    """Corrupt a share of a dataset, one mask in memory at a time; yields every sample once, in random order.

    `round(ratio * len(masks))` samples are corrupted, the kinds taken in turn. Where the kind whose turn it
    is cannot be done, another of `kinds` is; where none can, another sample takes this one's place.

    Raises:
        ImpossibleCorruption: too few samples can be corrupted by these kinds.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio {ratio} is not within 0 and 1")
    names = sorted(masks)
    wanted = round(ratio * len(names))
    done = 0
    turn = list(rng.permutation(list(kinds)))
    for name in rng.permutation(names).tolist():
        mask = masks[name]
        new = None
        if done < wanted:
            for kind in dict.fromkeys([turn[done % len(turn)], *rng.permutation(turn)]):
                new = _try(masks, name, str(kind), rng)
                if new is not None:
                    done += 1
                    yield new, Truth(name, str(kind), dice(new, mask))
                    break
        if new is None:
            yield mask, Truth(name, CLEAN, 1.0)
    if done < wanted:
        raise ImpossibleCorruption(
            f"only {done} of {wanted} masks can be corrupted by {', '.join(kinds)}; allow more kinds (mixed)"
        )


def _try(masks: Mapping[str, Mask], name: str, kind: str, rng: np.random.Generator) -> Mask | None:
    """One kind on one sample; `swapped` may ask a few donors. None where it cannot be done."""
    others = [other for other in masks if other != name] if kind == "swapped" else []
    for _ in range(TRIES if others else 1):
        donor = masks[others[int(rng.integers(len(others)))]] if others else None
        try:
            return corrupt(masks[name], kind, rng, donor=donor)
        except ImpossibleCorruption:
            continue
    return None


def corrupt_dataset(
    masks: Mapping[str, Mask], ratio: float, kinds: Sequence[str], rng: np.random.Generator
) -> tuple[dict[str, Mask], list[Truth]]:
    """`corruptions` of a dataset that fits into memory: the new masks, and the truth sorted by name."""
    new: dict[str, Mask] = {}
    truth = []
    for mask, record in corruptions(masks, ratio, kinds, rng):
        new[record.id] = mask
        truth.append(record)
    return new, sorted(truth, key=lambda record: record.id)


__all__ = [
    "CLEAN",
    "KINDS",
    "MAX_DICE",
    "ImpossibleCorruption",
    "Mask",
    "Truth",
    "corrupt",
    "corrupt_dataset",
    "corruptions",
    "dice",
    "equivalent_radius",
    "parse_kinds",
]

if __name__ == "__main__":
    from dale.folders import noise_command

    noise_command()
