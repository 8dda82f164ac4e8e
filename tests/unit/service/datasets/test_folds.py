"""How groups are dealt out into folds: properties that scikit-learn's folds have as well, and what is our own."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from service.datasets.folds import check, deal, fold_rows
from service.errors import Invalid
from tests.folded import sample_row


def patients(sizes: list[int], **facts: Any) -> list[dict[str, Any]]:
    """Rows of as many patients as there are sizes."""
    groups = [f"P{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return [sample_row(f"case {place:03}", place, group=group, **facts) for place, group in enumerate(groups)]


@pytest.mark.parametrize("folds", [2, 5, 20])
def test_folds_are_as_even_and_as_whole_as_those_of_scikit_learn(folds: int) -> None:
    rows = patients(np.random.default_rng(0).integers(1, 12, 60).tolist())
    groups = [row["group"] for row in rows]
    fold_of, counts = deal(rows, folds, seed=3)
    places: dict[str, set[int | None]] = {}
    for group, fold in zip(groups, fold_of, strict=True):
        places.setdefault(group, set()).add(fold)
    assert all(len(found) == 1 for found in places.values())  # no patient in two folds
    sizes = Counter(fold_of)
    assert sizes.keys() == set(range(folds))  # every sample in one, no fold empty
    assert [(sizes[n], sum(found == {n} for found in places.values())) for n in range(folds)] == [
        (one["samples"], one["groups"]) for one in counts
    ]
    theirs = [len(test) for _, test in GroupKFold(folds).split(rows, groups=groups)]
    assert max(sizes.values()) - min(sizes.values()) <= max(theirs) - min(theirs)


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_the_samples() -> None:
    rows = patients([1] * 40)
    first = dict(zip((row["name"] for row in rows), deal(rows, 4, seed=1)[0], strict=True))
    other = dict(zip((row["name"] for row in rows), deal(rows, 4, seed=2)[0], strict=True))
    shuffled = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    assert dict(zip((row["name"] for row in shuffled), deal(shuffled, 4, seed=1)[0], strict=True)) == first
    assert sum(first[name] != other[name] for name in first) > 15  # of 40, 30 are expected
    assert Counter(first.values()) == {0: 10, 1: 10, 2: 10, 3: 10}


def test_images_that_are_the_same_or_nearly_go_together() -> None:
    rows = [sample_row(f"case {place}", place) for place in range(30)]
    rows[7]["image_sha256"] = rows[3]["image_sha256"]
    mark = bytes(range(32))
    near = bytes([mark[0] ^ 0b111, *mark[1:]])  # 3 of 256 bits
    rows[11]["fingerprint"], rows[20]["fingerprint"] = mark.hex(), near.hex()
    for seed in range(20):
        fold_of, counts = deal(rows, 5, seed)
        assert fold_of[7] == fold_of[3]
        assert fold_of[20] == fold_of[11]
        assert sum(one["groups"] for one in counts) == 28


def test_what_is_held_out_is_in_no_fold() -> None:
    rows = [
        *patients([2] * 6),
        sample_row("test 1", 12, split="test", group="Q"),
        sample_row("later", 13, split="validation"),
    ]
    fold_of, counts = deal(rows, 3, seed=0)
    assert fold_of[12:] == [None, None]
    assert sum(one["samples"] for one in counts) == 12
    for fold in range(3):
        made = fold_rows(rows, fold_of, fold)
        assert [row["ordinal"] for row in made] == list(range(13))
        held_out = [row["name"] for row in made if row["split"] == "test"]
        assert held_out == [row["name"] for row, own in zip(rows, fold_of, strict=True) if own == fold]
        assert [row["name"] for row in made[-len(held_out) :]] == held_out  # they have the last ordinals
        assert "test 1" not in {row["name"] for row in made}
        assert [row["split"] for row in made if row["name"] == "later"] == ["validation"]  # parts of other kinds stay


def test_fewer_groups_than_folds_are_refused() -> None:
    with pytest.raises(Invalid) as error:
        deal(patients([4, 4, 4]), 4, seed=0)
    assert error.value.errors[0].field == "folds"
    assert "12 samples to train on are in 3" in error.value.errors[0].reason


def test_only_empty_masks_beside_a_fold_are_refused() -> None:
    rows = patients([1] * 4, foreground=0.0)
    rows[2]["foreground"] = 0.5
    fold_of, _ = deal(rows, 2, seed=0)
    with pytest.raises(Invalid) as error:
        check(rows, fold_of, 2)
    assert f"beside fold {(fold_of[2] or 0) + 1}" in error.value.errors[0].reason
    other = next(place for place in range(4) if fold_of[place] != fold_of[2])
    rows[other]["foreground"] = 0.5
    check(rows, fold_of, 2)
