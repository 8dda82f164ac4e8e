"""Warnings that a version keeps of its base, and those that only all samples together give rise to."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from service.datasets.pairs import split_channel, split_ending
from service.errors import FieldError

REPEATS = "is the same image as "
HAS_ALREADY = "is the mask that is there already in version "


def repetitions(rows: Sequence[Mapping[str, Any]], paths: Mapping[str, str] | None = None) -> list[FieldError]:
    """Identical images: they weigh double, and with different masks at least one of them is wrong.

    Args:
        rows: of all samples.
        paths: how the image of each sample was called in its upload, by the sample's name; None: nobody knows any more.
    """
    named = paths or {}
    groups: defaultdict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["image_sha256"], *(row["channels"] or ())].append(row)
    warnings = []
    for first, *others in groups.values():
        for other in others:
            if _image_name(other) == _image_name(first):
                continue  # one image, which several people labelled
            same = other["mask_sha256"] == first["mask_sha256"]
            what = named.get(first["name"], first["name"])
            reason = f"{REPEATS}{what}, with {'the same' if same else 'another'} mask"
            hint = "keep one of them" if same else "one of the two masks must be wrong: look at both"
            warnings.append(FieldError(file=named.get(other["name"], other["name"]), reason=reason, hint=hint))
    return warnings


def _image_name(row: Mapping[str, Any]) -> str:
    """What the image of a sample is called; that of a mask by one of several annotators is `image@annotator`."""
    return str(row["name"]).removesuffix(f"@{row['annotator']}")


def carried(warnings: Sequence[FieldError], samples: Collection[str], changed: Collection[str]) -> list[FieldError]:
    """The warnings that are about samples which stay as they are. Repetitions are not among them: they are found anew.

    Args:
        warnings: of the base.
        samples: names of those of the base.
        changed: names of those that are left out, or have another mask.
    """
    kept = []
    for warning in warnings:
        sample = _sample_of(warning.file, samples)
        if sample is not None and sample not in changed and not warning.reason.startswith((REPEATS, HAS_ALREADY)):
            kept.append(warning)
    return kept


def _sample_of(file: str | None, samples: Collection[str]) -> str | None:
    """The sample that a file of an upload is of, told from the file's name; None: it is of none."""
    if file is None:
        return None
    name = unicodedata.normalize("NFC", split_ending(PurePosixPath(file))[0])
    if name in samples:
        return name
    place = split_channel(name)
    return place[0] if place and place[0] in samples else None
