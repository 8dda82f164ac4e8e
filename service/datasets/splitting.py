"""Which samples are held out to judge the trained network: as the upload says, or drawn by group and seed.

A draw needs no list of what there is: a group is held out if and only if its hash falls below the share, so that more
samples change nothing for those that are there.
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
from workers.contract.tables import TEST, TRAIN

Pair = tuple[int, int]
R = TypeVar("R", bound=Mapping[str, Any])


def split(
    samples: Sequence[CheckedSample], options: ImportOptions, alike: Iterable[Pair], found: Findings
) -> list[CheckedSample]:
    """The samples with their groups and splits, in the order of their ordinals; faults and warnings go to `found`.

    Args:
        samples: those that have passed, with what is said of them.
        options: how groups are called, and how many samples are to be held out.
        alike: places in `samples` of two whose images are nearly the same.
        found: takes the faults and warnings.
    """
    grouped = list(samples)
    if options.group_pattern is not None:
        grouped = _grouped_by(options.group_pattern, grouped, found)
    grouped = [_of_its_image(sample) for sample in grouped]
    given = any(sample.facts.split for sample in grouped)
    if given and options.test_share:
        hint = "say which samples are held out there, or how many here"
        found.faults.append(FieldError(field="test_share", reason="samples.csv has splits already", hint=hint))
        return grouped
    if given:
        _check_given(grouped, alike, found)
    held_out = [sample.facts.split == TEST for sample in grouped]
    if options.test_share:
        held_out = _drawn(grouped, options, alike)
        if not any(held_out):
            groups = len({_key(sample) for sample in grouped})
            reason = f"holds out none of the {groups} groups"
            found.warn("", reason, "take a larger share or another split_seed")
    if any(held_out):
        _check_rest(grouped, held_out, "split" if given else "test_share", found)
        grouped = [
            replace(sample, facts=replace(sample.facts, split=TEST if out else TRAIN))
            for sample, out in zip(grouped, held_out, strict=True)
        ]
    return sorted(grouped, key=lambda sample: (sample.facts.split == TEST, sample.pair.name))


def numbered(rows: Iterable[R]) -> list[dict[str, Any]]:
    """Rows with their ordinals: those that are trained on in the order of their names, then those that are held out."""
    ordered = sorted(rows, key=lambda row: (row["split"] == TEST, row["name"]))
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


def _drawn(samples: list[CheckedSample], options: ImportOptions, alike: Iterable[Pair]) -> list[bool]:
    """Whether each is held out; groups with images that are nearly the same go the same way."""
    groups = united([_key(sample) for sample in samples], alike)
    return [is_held_out(options.split_seed, group, options.test_share) for group in groups]


def _check_given(samples: list[CheckedSample], alike: Iterable[Pair], found: Findings) -> None:
    """A split that tears a group is none; one that parts nearly equal images deserves a look."""
    members: defaultdict[str, dict[bool, str]] = defaultdict(dict)
    for sample in samples:
        if sample.facts.group is not None:
            members[sample.facts.group].setdefault(sample.facts.split == TEST, sample.pair.name)
    for group, split_of in members.items():
        if len(split_of) > 1:
            reason = f"tears group {group!r}: {split_of[False]!r} is trained on, {split_of[True]!r} held out"
            found.refuse("samples.csv", reason, "a group belongs to one split as a whole")
    for a, b in alike:
        if (samples[a].facts.split == TEST) != (samples[b].facts.split == TEST):
            reason = f"is nearly the same image as {samples[b].pair.image.path}, and one is trained on, one held out"
            found.warn(samples[a].pair.image.path, reason, "the Dice on held-out samples flatters: put both in one")


def _check_rest(samples: list[CheckedSample], held_out: list[bool], field: str, found: Findings) -> None:
    """What is left to train on must be something to learn from."""
    rest = [sample for sample, out in zip(samples, held_out, strict=True) if not out]
    if not rest:
        hint = "leave some samples to train on" + ("" if field == "split" else ", or take another split_seed")
        found.faults.append(FieldError(field=field, reason="holds out every sample", hint=hint))
    elif not any(sample.foreground for sample in rest):
        reason = "leaves only empty masks to train on"
        found.faults.append(FieldError(field=field, reason=reason, hint="hold out other samples"))
