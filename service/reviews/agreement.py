"""How far two people who looked at the same labels agree."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

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
        dices = [_dice(read_mask, a, b) for a, b in masks if a and b] if read_mask else []
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


def _dice(read_mask: Callable[[str], bytes], one: str, other: str) -> float:
    a, b = (imaging.decode_mask(io.BytesIO(read_mask(digest))) > 0 for digest in (one, other))
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
