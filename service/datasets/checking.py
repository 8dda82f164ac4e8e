"""Checks every file of an upload before anything of it is kept, and collects every fault that it finds."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from service.datasets.archive import Archive, MemberFault
from service.datasets.checked import CheckedDataset, CheckedSample, Findings
from service.datasets.layout import read_layout
from service.datasets.limits import ImportLimits
from service.datasets.options import ImportOptions
from service.datasets.pairs import Media, Pair
from service.datasets.pixels import inspect_image, inspect_mask
from service.datasets.volumes import VolumeCheck
from service.errors import FieldError, Invalid

Progress = Callable[[int, int], None]  # (samples done, samples in all)
GREY = "pass mask_threshold (for example 128) to turn grey values into 0 and 255"


def check(
    archive: Archive,
    limits: ImportLimits,
    options: ImportOptions,
    scratch: Path,
    progress: Progress = lambda done, total: None,
) -> CheckedDataset:
    """Check every file; one pair at a time is unpacked to `scratch`, so memory does not grow with the upload.

    Args:
        archive: the upload.
        limits: what is accepted.
        options: how it is meant.
        scratch: a folder for what is unpacked.
        progress: is told after every pair.

    Raises:
        Invalid: lists every file that cannot be used, with the reason and what to do.
    """
    layout = read_layout(archive, limits, scratch, options.asked)
    threshold = options.mask_threshold
    found = Findings(list(layout.faults), list(layout.warnings))
    faults = found.faults
    if threshold is not None and (layout.media is Media.VOLUME or layout.classes):
        reason = "is for masks of images without declared classes"
        faults.append(FieldError(field="mask_threshold", reason=reason, hint="leave it out"))
        threshold = None
    volumes = VolumeCheck(archive, limits, scratch)
    samples: list[CheckedSample] = []
    for done, pair in enumerate(layout.pairs):
        progress(done, len(layout.pairs))
        if layout.media is Media.VOLUME:
            sample = volumes.check(pair, found)
        else:
            sample = _check_pair(archive, pair, limits, threshold, scratch, found)
        if sample:
            samples.append(sample)
    progress(len(layout.pairs), len(layout.pairs))
    if layout.classes:
        values, value_faults = declared_values(found.values, layout.classes, found.warnings, layout.declared_in)
    else:
        remedy = GREY if layout.media is Media.IMAGE else "save class numbers, not intensities"
        values, value_faults = class_values(found.values, found.lossy, limits.max_classes, remedy)
    faults += value_faults
    if not layout.pairs and not faults:
        faults.append(FieldError(field="file", reason="has no images", hint="add images and their masks"))
    if faults:
        files = len({fault.file for fault in faults if fault.file})
        raise Invalid(
            f"{files} files of the upload cannot be used; nothing was stored." if files else faults[0].reason, faults
        )
    return CheckedDataset(layout.kind, layout.media, samples, values, found.warnings + _repeated(samples))


def _check_pair(
    archive: Archive, pair: Pair, limits: ImportLimits, threshold: int | None, scratch: Path, found: Findings
) -> CheckedSample | None:
    """Check both files, so that a fault in one does not hide a fault in the other."""
    image = mask = None
    try:
        image_file = pair.image.extract(archive, scratch / "image")
        image = inspect_image(scratch / "image", limits.max_pixels)
    except MemberFault as fault:
        found.refuse(pair.image.path, fault.reason, fault.hint)
    try:
        mask_file = pair.mask.extract(archive, scratch / "mask")
        for note in mask_file.notes:
            found.warn(pair.mask.path, note)
        mask = inspect_mask(scratch / "mask", limits.max_pixels, threshold, scratch / "stored")
        found.values[pair.mask.path] = mask.values
        if mask.lossy:
            found.lossy.add(pair.mask.path)
    except MemberFault as fault:
        found.refuse(pair.mask.path, fault.reason, fault.hint)
    if image is None or mask is None:
        return None
    if (image.width, image.height) != (mask.width, mask.height):
        reason = f"is {mask.width} x {mask.height}, its image {image.width} x {image.height} pixels"
        found.refuse(pair.mask.path, reason, "a mask must have the size of its image")
        return None
    if mask.foreground == 0:
        found.warn(pair.mask.path, "is empty", "fine if there is nothing to see")
    if image.constant:
        found.warn(pair.image.path, "has the same colour everywhere")
    return CheckedSample(
        pair=pair,
        image_sha256=image_file.sha256,
        mask_sha256=sha256(scratch / "stored") if mask.encoded else mask_file.sha256,
        media_type=image.media_type,
        mask_media_type="image/png" if mask.encoded else mask.media_type,
        width=image.width,
        height=image.height,
        foreground=mask.foreground,
        mask_encoded=mask.encoded,
    )


def class_values(
    masks: dict[str, tuple[int, ...]], lossy: set[str], max_classes: int, remedy: str = GREY
) -> tuple[list[int], list[FieldError]]:
    """Which pixel value stands for which class, over the whole dataset.

    Either 0 and one other value (two classes), or 0, 1, …, K-1 without a gap. Where neither holds, the files that
    differ from what most files have are named; if there is no sound majority, every unsound file is.

    Args:
        masks: the values found in each mask, by file.
        lossy: masks from a format that blurs values.
        max_classes: the largest K.
        remedy: what to do about a mask of many values.
    """
    if not masks:
        return [], []
    seen = set().union(*masks.values())
    if _sound(seen, max_classes) and not (lossy and len(seen) > 2):
        return sorted(seen), []
    if seen == {0}:
        return [], [FieldError(field="file", reason="every mask is empty", hint="masks mark lesions with 1 or 255")]
    usual = set(Counter(masks.values()).most_common(1)[0][0]) | {0}
    if not _sound(usual, max_classes):
        usual = {0}
    faults = []
    for path, values in sorted(masks.items()):
        if set(values) <= usual or (usual == {0} and path not in lossy and _sound({0, *values}, max_classes)):
            continue
        hint = (
            remedy
            if len(values) > 2
            else (f"most masks use {_listed(usual)}" if len(usual) > 1 else "use 0 and one other value, or 0, 1, 2, …")
        )
        faults.append(FieldError(file=path, reason=f"has mask values {_listed(values)}", hint=hint))
    overall = FieldError(
        field="file",
        reason=f"the masks together have the values {_listed(seen)}",
        hint=f"use 0 and one other value in all masks, or the class numbers 0, 1, 2, … without a gap; or {remedy}",
    )
    return [], [overall, *faults]


def declared_values(
    masks: dict[str, tuple[int, ...]],
    classes: Mapping[int, str],
    warnings: list[FieldError],
    file: str = "dataset.json",
) -> tuple[list[int], list[FieldError]]:
    """The declared values in order, and each mask that has others; a class that no mask has is a warning.

    Args:
        masks: the values found in each mask, by file.
        classes: names by value.
        warnings: where warnings go.
        file: which declares them.
    """
    declared = f"{file} declares {_listed(classes)}"
    faults = [
        FieldError(file=path, reason=f"has the values {_listed(set(values) - classes.keys())}", hint=declared)
        for path, values in sorted(masks.items())
        if not set(values) <= classes.keys()
    ]
    seen = set().union(*masks.values())
    if masks and seen == {0}:
        faults.append(FieldError(field="file", reason="every label is empty", hint=declared))
    warnings += [
        FieldError(file=file, reason=f"declares class {name!r} ({value}), which no label has")
        for value, name in classes.items()
        if value not in seen
    ]
    return sorted(classes), faults


def sha256(path: Path) -> str:
    """Hash a file in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sound(values: set[int], max_classes: int) -> bool:
    if 0 not in values or len(values) < 2:
        return False
    return len(values) == 2 or (max(values) == len(values) - 1 and len(values) <= max_classes)


def _listed(values: Iterable[int]) -> str:
    ordered = sorted(values)
    return ", ".join(map(str, ordered[:12])) + (f", … ({len(ordered)} values)" if len(ordered) > 12 else "")


def _repeated(samples: list[CheckedSample]) -> list[FieldError]:
    """Identical images: they weigh double, and with different masks at least one of them is wrong."""
    groups: defaultdict[str, list[CheckedSample]] = defaultdict(list)
    for sample in samples:
        groups[sample.image_sha256].append(sample)
    warnings = []
    for first, *others in groups.values():
        for other in others:
            same = other.mask_sha256 == first.mask_sha256
            reason = f"is the same image as {first.pair.image.path}, with {'the same' if same else 'another'} mask"
            hint = "keep one of them" if same else "one of the two masks must be wrong: look at both"
            warnings.append(FieldError(file=other.pair.image.path, reason=reason, hint=hint))
    return warnings
