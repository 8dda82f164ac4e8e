"""Folds of a version for a cross-validation: groups are dealt out whole, each fold is a version of its own.

A fold's version has what is trained on without that fold, and the fold as held-out samples. What the version holds out
itself is in none of them: it stays unseen.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from service.datasets.checked import Findings
from service.datasets.duplicates import alike
from service.datasets.rows import Row
from service.datasets.splitting import Pair, numbered, united
from service.db.tables import DatasetVersion
from service.errors import FieldError, Invalid
from service.resources.cross_validations import Derived
from workers.contract.tables import TEST, TRAIN

# From here on derived versions have their numbers, so that those which people make are counted 1, 2, 3, … as ever.
FIRST_NUMBER = 1_000_000_000
LAST_NUMBER = 2**31 - 1  # of a column of integers


def deal(rows: Sequence[Row], folds: int, seed: int) -> tuple[list[int | None], list[dict[str, int]]]:
    """Deal the groups of a version out to folds of about equal size.

    Groups that hold the same or nearly the same image are dealt as one. The largest go first, those of one size in an
    order that only `seed` and their names decide, each to the fold that has the fewest samples so far: so two folds
    differ at most by the largest group.

    Args:
        rows: the samples of the version.
        folds: how many.
        seed: of the order.

    Returns:
        Of each row the fold, counted from 0, None where it is not trained on; and of each fold the number of its
        `samples` and `groups`.

    Raises:
        Invalid: there are fewer groups than folds.
    """
    trained = [place for place, row in enumerate(rows) if row["split"] in {None, TRAIN}]
    names = [row["group"] or row["name"] for row in rows]
    keys = united([names[place] for place in trained], _links([rows[place] for place in trained]))
    sizes = Counter(keys)
    if len(sizes) < folds:
        reason = f"is more than there are groups: {len(trained)} samples to train on are in {len(sizes)}"
        hint = "take fewer folds; images that are nearly the same count as one group"
        raise Invalid(
            "There are too few groups for so many folds.", [FieldError(field="folds", reason=reason, hint=hint)]
        )
    counts = [{"samples": 0, "groups": 0} for _ in range(folds)]
    fold_of = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], _hash(seed, name))):
        fold = min(range(folds), key=lambda number: counts[number]["samples"])
        fold_of[group] = fold
        counts[fold]["samples"] += sizes[group]
        counts[fold]["groups"] += 1
    found: list[int | None] = [None] * len(rows)
    for place, key in zip(trained, keys, strict=True):
        found[place] = fold_of[key]
    return found, counts


def fold_rows(rows: Sequence[Row], fold_of: Sequence[int | None], fold: int) -> list[dict[str, Any]]:
    """The rows of a fold's version, numbered: its own samples are held out, what the version holds out is left out.

    Args:
        rows: the samples of the version.
        fold_of: as `deal` gives it.
        fold: which, counted from 0.
    """
    kept = []
    for row, own in zip(rows, fold_of, strict=True):
        if own is not None:
            kept.append({**row, "split": TEST if own == fold else TRAIN})
        elif row["split"] != TEST:
            kept.append(row)
    return numbered(kept)


def check(rows: Sequence[Row], fold_of: Sequence[int | None], folds: int) -> None:
    """What is left to train on beside each fold must be something to learn from; raises `Invalid`."""
    for fold in range(folds):
        if not any(row["foreground"] for row, own in zip(rows, fold_of, strict=True) if own not in {None, fold}):
            reason = f"leave only empty masks to train on beside fold {fold + 1}"
            hint = "take another seed, or fewer folds"
            raise Invalid("The folds cannot be trained.", [FieldError(field="folds", reason=reason, hint=hint)])


def version_of_fold(version: DatasetVersion, number: int, derived: Derived) -> DatasetVersion:
    """The row of a fold's version: all but its samples is as in the version that it is derived from."""
    return DatasetVersion(
        dataset_id=version.dataset_id,
        number=number,
        mask_values=version.mask_values,
        warnings=[],
        layout=version.layout,
        spatial_dims=version.spatial_dims,
        channels=version.channels,
        agreement=version.agreement,
        derived=derived.model_dump(),
    )


def _hash(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()


def _links(rows: Sequence[Row]) -> Iterator[Pair]:
    """Places of samples whose images are the same, or nearly: fingerprints of images from before 0017 are not known."""
    first: dict[tuple[str, ...], int] = {}
    for place, row in enumerate(rows):
        image = (row["image_sha256"], *(row["channels"] or ()))
        yield first.setdefault(image, place), place
    kinds = [(row["width"], row["height"], row["depth"]) if row["depth"] else None for row in rows]
    fingerprints = [bytes.fromhex(row["fingerprint"]) if row["fingerprint"] else None for row in rows]
    yield from ((a, b) for a, b, _ in alike(fingerprints, kinds, Findings([], [])))
