"""How far two people who looked at the same labels agree."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from service import imaging
from service.db.reviews import Opinion
from service.reviews.decisions import Decision

MOST_MASKS = 200  # of a pair of people, that are compared pixel by pixel


@dataclass(frozen=True)
class Agreement:
    """Of two people.

    Attributes:
        keys: ids of their keys, in the order of their names.
        names: of their keys.
        both: labels that both have decided about.
        same: of these, on how many they agree whether the label may stay.
        kappa: Cohen's kappa of that question, in [-1, 1], 1 = always agree, 0 = as often as by chance; None where one
            of them always says the same, so that chance alone explains everything.
        masks: samples for which both gave a mask and the two were compared.
        dice: mean Dice of these masks' foregrounds, in [0, 1]; None where there are none.
    """

    keys: tuple[str, str]
    names: tuple[str, str]
    both: int
    same: int
    kappa: float | None
    masks: int
    dice: float | None


def agreements(opinions: Sequence[Opinion], read_mask: Callable[[str], bytes] | None) -> Iterator[Agreement]:
    """Of every two people who have a label in common.

    Args:
        opinions: of everybody.
        read_mask: gives a stored 2D mask by its sha256; None: masks are not compared.
    """
    people: dict[str, dict[str, Opinion]] = {}
    for opinion in opinions:
        people.setdefault(opinion.key_id, {})[opinion.sample] = opinion
    ordered = sorted(people, key=lambda key: (next(iter(people[key].values())).key_name, key))
    for one, other in combinations(ordered, 2):
        first, second = people[one], people[other]
        common = sorted(first.keys() & second.keys())
        if not common:
            continue
        votes = [(first[name].decision.believes, second[name].decision.believes) for name in common]
        masks = [
            (first[name].new_mask_sha256, second[name].new_mask_sha256)
            for name in common
            if first[name].decision is second[name].decision is Decision.CORRECTED
        ][:MOST_MASKS]
        dices = [dice(foreground(read_mask(a)), foreground(read_mask(b))) for a, b in masks if read_mask and a and b]
        yield Agreement(
            keys=(one, other),
            names=(first[common[0]].key_name, second[common[0]].key_name),
            both=len(votes),
            same=sum(a == b for a, b in votes),
            kappa=cohens_kappa(votes),
            masks=len(dices),
            dice=sum(dices) / len(dices) if dices else None,
        )


def cohens_kappa(votes: Sequence[tuple[bool, bool]]) -> float | None:
    """Cohen's kappa of two people's yes and no (Cohen, 1960): (p_o - p_e) / (1 - p_e); None where p_e is 1."""
    n = len(votes)
    observed = sum(a == b for a, b in votes) / n
    yes = sum(a for a, _ in votes) / n, sum(b for _, b in votes) / n
    chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    return None if chance == 1 else (observed - chance) / (1 - chance)


def foreground(mask: bytes) -> NDArray[np.bool_]:
    """Where a stored 2D mask is not background, (H, W)."""
    found: NDArray[np.bool_] = imaging.decode_mask(io.BytesIO(mask)) > 0
    return found


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Dice of two foregrounds of one shape, in [0, 1]; 1 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0
