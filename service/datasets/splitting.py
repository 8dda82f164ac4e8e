"""Which samples are held out to judge the network, and which are to choose an epoch: as the upload says, or drawn.

A draw needs no list of what there is: a group is held out if and only if its hash falls below the share, so that more
samples change nothing for those that are there. Those to choose by come next: they are taken from the training alone.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from service.datasets.checked import CheckedSample, Findings
from service.datasets.options import ImportOptions, compile_pattern
from service.errors import FieldError
from workers.contract.tables import SPLITS, TEST, TRAIN, VALIDATION, place_of_split

Pair = tuple[int, int]
R = TypeVar("R", bound=Mapping[str, Any])
IN_WORDS = {TRAIN: "trained on", VALIDATION: "for validation", TEST: "held out"}


def split(
    samples: Sequence[CheckedSample], options: ImportOptions, alike: Iterable[Pair], found: Findings
) -> list[CheckedSample]:
    """The samples with their groups and splits, in the order of their ordinals; faults and warnings go to `found`.

    Args:
        samples: those that have passed, with what is said of them.
        options: how groups are called, and how many samples are not to be trained on.
        alike: places in `samples` of two whose images are nearly the same.
        found: takes the faults and warnings.
    """
    grouped = list(samples)
    if options.group_pattern is not None:
        grouped = _grouped_by(options.group_pattern, grouped, found)
    grouped = [_of_its_image(sample) for sample in grouped]
    given = any(sample.facts.split for sample in grouped)
    shares = {"test_share": options.test_share, "validation_share": options.validation_share}
    asked = [name for name, share in shares.items() if share]
    if given and asked:
        hint = "say which samples are held out there, or how many here"
        found.faults.append(FieldError(field=asked[0], reason="samples.csv has splits already", hint=hint))
        return grouped
    if given:
        _check_given(grouped, alike, found)
    splits = _drawn(grouped, options, alike) if asked else [sample.facts.split or TRAIN for sample in grouped]
    groups = len({_key(sample) for sample in grouped})
    for name, share, what in (("test_share", TEST, "holds out"), ("validation_share", VALIDATION, "validates by")):
        if name in asked and share not in splits:
            found.warn("", f"{what} none of the {groups} groups", "take a larger share or another split_seed")
    if any(one != TRAIN for one in splits):
        _check_rest(grouped, splits, "split" if given else asked[0], found)
        grouped = [
            replace(sample, facts=replace(sample.facts, split=one)) for sample, one in zip(grouped, splits, strict=True)
        ]
    return sorted(grouped, key=lambda sample: (place_of_split(sample.facts.split), sample.pair.name))


def numbered(rows: Iterable[R]) -> list[dict[str, Any]]:
    """Rows with their ordinals: one split after the other (`tables.SPLITS`), each in the order of the names."""
    ordered = sorted(rows, key=lambda row: (place_of_split(row["split"]), row["name"]))
    return [{**row, "ordinal": ordinal} for ordinal, row in enumerate(ordered)]


def united(groups: Sequence[str], links: Iterable[Pair]) -> list[str]:
    """What each sample is drawn with: its group, or where groups hang together the smallest of their names.

    Args:
        groups: of each sample.
        links: places of two that belong together.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while (above := parent.get(key, key)) != key:
            parent[key] = parent.get(above, above)
            key = above
        return key

    for a, b in links:
        first, second = sorted((root(groups[a]), root(groups[b])))
        parent[second] = first
    return [root(group) for group in groups]


def is_held_out(seed: int, group: str, share: float) -> bool:
    """Whether a group is held out: its hash, as a number in [0, 1), is below the share."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def _key(sample: CheckedSample) -> str:
    """What a sample is drawn with: its group, or itself."""
    return sample.facts.group or sample.pair.name


def _of_its_image(sample: CheckedSample) -> CheckedSample:
    """Masks of one image are a group, if nothing else is said."""
    if sample.pair.annotator is None or sample.facts.group is not None:
        return sample
    return replace(sample, facts=replace(sample.facts, group=sample.pair.image_name))


def _grouped_by(pattern: str, samples: list[CheckedSample], found: Findings) -> list[CheckedSample]:
    """Those without a group get the one that the pattern finds in their name."""
    search = compile_pattern(pattern).search
    grouped, missed = [], []
    for sample in samples:
        if sample.facts.group is None:
            match = search(sample.pair.image_name)
            group = match.group(1) if match else None
            if group:
                sample = replace(sample, facts=replace(sample.facts, group=group))  # noqa: PLW2901 - it is the same one
            else:
                missed.append(sample.pair.name)
        grouped.append(sample)
    if len(missed) == len(samples) and samples:
        reason = f"finds a group in no name, such as {missed[0]!r}"
        found.faults.append(FieldError(field="group_pattern", reason=reason, hint=r"such as ^(P\d+)_ for P12_left"))
    elif missed:
        reason = f"has no group by its name, nor have {len(missed) - 1} others: each is a group of its own"
        found.warn(missed[0], reason, "see group_pattern")
    return grouped


def _drawn(samples: list[CheckedSample], options: ImportOptions, alike: Iterable[Pair]) -> list[str]:
    """The split of each; groups with images that are nearly the same go the same way."""

    def drawn(group: str) -> str:
        if is_held_out(options.split_seed, group, options.test_share):
            return TEST
        validated = is_held_out(options.split_seed, group, options.test_share + options.validation_share)
        return VALIDATION if validated else TRAIN

    return [drawn(group) for group in united([_key(sample) for sample in samples], alike)]


def _check_given(samples: list[CheckedSample], alike: Iterable[Pair], found: Findings) -> None:
    """A split that tears a group is none; one that parts nearly equal images deserves a look."""
    members: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        if sample.facts.group is not None:
            members[sample.facts.group].setdefault(sample.facts.split or TRAIN, sample.pair.name)
    for group, split_of in members.items():
        if len(split_of) > 1:
            first, second = sorted(split_of, key=place_of_split)[:2]
            torn = f"{split_of[first]!r} is {IN_WORDS[first]}, {split_of[second]!r} {IN_WORDS[second]}"
            found.refuse("samples.csv", f"tears group {group!r}: {torn}", "a group belongs to one split as a whole")
    for a, b in alike:
        first, second = (SPLITS[place] for place in sorted(place_of_split(samples[i].facts.split) for i in (a, b)))
        if first != second:
            parted = f"and one is {IN_WORDS[first]}, one {IN_WORDS[second]}"
            reason = f"is nearly the same image as {samples[b].pair.image.path}, {parted}"
            hint = f"the Dice on {'held-out' if second == TEST else 'validation'} samples flatters: put both in one"
            found.warn(samples[a].pair.image.path, reason, hint)


def _check_rest(samples: list[CheckedSample], splits: list[str], field: str, found: Findings) -> None:
    """What is left to train on must be something to learn from."""
    rest = [sample for sample, one in zip(samples, splits, strict=True) if one == TRAIN]
    if not rest:
        hint = "leave some samples to train on" + ("" if field == "split" else ", or take another split_seed")
        found.faults.append(FieldError(field=field, reason="holds out every sample", hint=hint))
    elif not any(sample.foreground for sample in rest):
        reason = "leaves only empty masks to train on"
        found.faults.append(FieldError(field=field, reason=reason, hint="hold out other samples"))
