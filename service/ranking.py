"""How well a ranking finds what it should find; the lower the score, the earlier a sample is looked at."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import groupby


def auroc(scores: Sequence[float], faulty: Sequence[bool]) -> float:
    """Probability that a faulty sample has a lower score than a sound one, ties counting half; in [0, 1].

    Raises:
        ValueError: it is not defined, because all samples are faulty or none is.
    """
    sound = sorted(score for score, bad in zip(scores, faulty, strict=True) if not bad)
    found = [score for score, bad in zip(scores, faulty, strict=True) if bad]
    if not sound or not found:
        raise ValueError("AUROC needs faulty and sound samples")
    above = sum(len(sound) - (bisect_left(sound, score) + bisect_right(sound, score)) / 2 for score in found)
    return above / (len(sound) * len(found))


def average_precision(scores: Sequence[float], faulty: Sequence[bool]) -> float:
    """Mean over the faulty samples of the precision among all that rank no later, equal scores together.

    Raises:
        ValueError: no sample is faulty.
    """
    if not any(faulty):
        raise ValueError("average precision needs faulty samples")
    seen = hits = 0
    total = 0.0
    ranked = sorted(zip(scores, faulty, strict=True))
    for _, group in groupby(ranked, key=lambda pair: pair[0]):
        flags = [bad for _, bad in group]
        seen += len(flags)
        hits += sum(flags)
        total += sum(flags) * hits / seen
    return total / sum(faulty)


def precision_at(scores: Sequence[float], faulty: Sequence[bool], k: int) -> float:
    """Share of faulty samples among the first k."""
    order = sorted(range(len(scores)), key=lambda i: scores[i])[:k]
    return sum(faulty[i] for i in order) / len(order)
