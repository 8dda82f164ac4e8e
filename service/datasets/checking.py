"""Checks every file of an upload before anything of it is kept, and collects every fault that it finds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from service.datasets import remap
from service.datasets.annotators import foreground_in, measure
from service.datasets.archive import Archive, Extracted, MemberFault, sha256
from service.datasets.checked import CheckedDataset, CheckedFile, CheckedSample, Findings
from service.datasets.duplicates import find_alike
from service.datasets.facts import read_facts
from service.datasets.kinds import Media
from service.datasets.layout import read_layout
from service.datasets.limits import ImportLimits
from service.datasets.options import ImportOptions
from service.datasets.pairs import Layout, Pair
from service.datasets.pixels import ImageFacts, inspect_image, inspect_mask
from service.datasets.rows import sample_row
from service.datasets.splitting import split
from service.datasets.storing import Unpacking
from service.datasets.volumes import VolumeCheck
from service.datasets.warned import repetitions
from service.errors import FieldError, Invalid
from workers.contract.tables import default_channels

Progress = Callable[[int, int], None]  # (samples done, samples in all)
OFFERED = 12  # values at most that a hint offers to replace; more are not classes
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
    mapping = options.mapping
    volumes = VolumeCheck(archive, limits, scratch, mapping)
    samples: list[CheckedSample] = []
    for done, pair in enumerate(layout.pairs):
        progress(done, len(layout.pairs))
        if layout.media is Media.VOLUME:
            sample = volumes.check(pair, found)
        else:
            sample = check_pair(archive, pair, limits, threshold, mapping, scratch, found)
        if sample:
            samples.append(sample)
    progress(len(layout.pairs), len(layout.pairs))
    samples = _with_facts(archive, layout, samples, scratch, found)
    if layout.classes:
        values, value_faults = declared_values(
            found.values, layout.classes, found.warnings, mapping, layout.declared_in
        )
    else:
        remedy = GREY if layout.media is Media.IMAGE else "save class numbers, not intensities"
        values, value_faults = class_values(found.values, found.lossy, limits.max_classes, remedy, mapping)
    faults += value_faults
    found.warnings += [
        FieldError(field="remap", reason=f"replaces the value {value}, which no mask has")
        for value in sorted(mapping.keys() - found.remapped)
    ]
    if not layout.pairs and not faults:
        faults.append(FieldError(field="file", reason="has no images", hint="add images and their masks"))
    paths = {sample.pair.name: sample.pair.image.path for sample in samples}
    warnings = repetitions([sample_row(0, sample) for sample in samples], paths)
    agreement = None
    if not faults:
        samples = split(samples, options, find_alike(samples, found), found)
        samples, agreement = measure(samples, foreground_in(Unpacking(archive, limits, layout.media, options)))
    # Of an image with several masks everything is found as often.
    faults = _once(faults)
    if faults:
        files = len({fault.file for fault in faults if fault.file})
        raise Invalid(
            f"{files} files of the upload cannot be used; nothing was stored." if files else faults[0].reason, faults
        )
    channels = list(layout.channels or default_channels(layout.media.spatial_dims))
    return CheckedDataset(
        layout.kind, layout.media, samples, values, _once(found.warnings + warnings), channels, agreement
    )


def _with_facts(
    archive: Archive, layout: Layout, samples: list[CheckedSample], scratch: Path, found: Findings
) -> list[CheckedSample]:
    """The samples with what the layout and `samples.csv` say of them."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for pair in layout.pairs:
        for name in {pair.name, pair.image_name}:
            names[name].append(pair.name)
    known = read_facts(archive, layout.facts, names, scratch, found) if layout.facts else {}
    told = []
    for sample in samples:
        facts, drew = known.get(sample.pair.name, sample.facts), sample.pair.annotator
        if drew is not None and facts.annotator not in {None, drew} and layout.facts:
            reason = f"says that {facts.annotator!r} drew {sample.pair.name!r}"
            found.refuse(layout.facts.path, reason, "the folder says who did")
        told.append(replace(sample, facts=replace(facts, annotator=drew or facts.annotator)))
    return told


def _once(found: list[FieldError]) -> list[FieldError]:
    """The same without repetitions."""
    return list({tuple(vars(fault).values()): fault for fault in found}.values())


def check_pair(
    archive: Archive,
    pair: Pair,
    limits: ImportLimits,
    threshold: int | None,
    mapping: Mapping[int, int],
    scratch: Path,
    found: Findings,
) -> CheckedSample | None:
    """Check the files of a sample of images, so that a fault in one does not hide a fault in the other.

    Args:
        archive: the upload.
        pair: the files.
        limits: what is accepted.
        threshold: mask pixels from this value on are foreground; None: as they are.
        mapping: what values of masks become.
        scratch: a folder for what is unpacked.
        found: takes faults, warnings and values.
    """
    mask = None
    images: list[tuple[Extracted, ImageFacts]] = []
    for source in (pair.image, *pair.channels):
        try:
            file = source.extract(archive, scratch / "image")
            images.append((file, inspect_image(scratch / "image", limits.max_pixels, grey=bool(pair.channels))))
        except MemberFault as fault:
            found.refuse(source.path, fault.reason, fault.hint)
    try:
        mask_file = pair.mask.extract(archive, scratch / "mask")
        for note in mask_file.notes:
            found.warn(pair.mask.path, note)
        mask = inspect_mask(scratch / "mask", limits.max_pixels, threshold, scratch / "stored", mapping)
        found.remapped |= mask.remapped
        found.values[pair.mask.path] = mask.values
        if mask.lossy:
            found.lossy.add(pair.mask.path)
    except MemberFault as fault:
        found.refuse(pair.mask.path, fault.reason, fault.hint)
    if mask is None or len(images) < 1 + len(pair.channels):
        return None
    image_file, image = images[0]
    for member, (_, facts) in zip(pair.channels, images[1:], strict=True):
        if (facts.width, facts.height) != (image.width, image.height):
            reason = f"is {facts.width} x {facts.height}, channel 0 {image.width} x {image.height} pixels"
            found.refuse(member.path, reason, "all channels of a case must have one size")
            return None
    if (image.width, image.height) != (mask.width, mask.height):
        reason = f"is {mask.width} x {mask.height}, its image {image.width} x {image.height} pixels"
        found.refuse(pair.mask.path, reason, "a mask must have the size of its image")
        return None
    if mask.foreground == 0:
        found.warn(pair.mask.path, "is empty", "fine if there is nothing to see")
    for member, (_, facts) in zip((pair.image, *pair.channels), images, strict=True):
        if facts.constant:
            found.warn(member.path, "has the same colour everywhere")
    return CheckedSample(
        pair=pair,
        channels=tuple(CheckedFile(file.sha256, facts.media_type) for file, facts in images[1:]),
        image_sha256=image_file.sha256,
        mask_sha256=sha256(scratch / "stored") if mask.encoded else mask_file.sha256,
        media_type=image.media_type,
        mask_media_type="image/png" if mask.encoded else mask.media_type,
        width=image.width,
        height=image.height,
        foreground=mask.foreground,
        label_values=tuple(value for value in mask.values if value),
        mask_encoded=mask.encoded,
        fingerprint=image.fingerprint,
    )


def class_values(
    masks: dict[str, tuple[int, ...]],
    lossy: set[str],
    max_classes: int,
    remedy: str = GREY,
    mapping: Mapping[int, int] | None = None,
) -> tuple[list[int], list[FieldError]]:
    """Which pixel value stands for which class, over the whole dataset.

    Either 0 and one other value (two classes), or 0, 1, …, K-1 without a gap. Where neither holds, the files that
    differ from what most files have are named; if there is no sound majority, every unsound file is.

    Args:
        masks: the values found in each mask, by file.
        lossy: masks from a format that blurs values.
        max_classes: the largest K.
        remedy: what to do about a mask of many values.
        mapping: what values were replaced by already.
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
        hint = "use 0 and one other value, or 0, 1, 2, …" if len(values) <= 2 else remedy
        foreign = set(values) - usual
        if len(usual) > 1 and len(foreign) <= OFFERED and path not in lossy:
            # Where the lesion's value is not in the mask, the foreign one probably stands for it.
            meant = max(usual) if len(usual) == 2 and len(foreign) == 1 and max(usual) not in values else None
            hint = f"most masks use {_listed(usual)}; {_offer(foreign, mapping or {}, meant)}"
        faults.append(FieldError(file=path, reason=f"has mask values {_listed(values)}", hint=hint))
    numbers = {value: number for number, value in enumerate(sorted(seen)) if value != number}
    if not lossy and len(seen) <= min(max_classes, OFFERED):
        remedy += f"; to number the classes from 0 on: {remap.composed(mapping or {}, numbers)}"
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
    mapping: Mapping[int, int] | None = None,
    file: str = "dataset.json",
) -> tuple[list[int], list[FieldError]]:
    """The declared values in order, and each mask that has others; a class that no mask has is a warning.

    Args:
        masks: the values found in each mask, by file.
        classes: names by value.
        warnings: where warnings go.
        mapping: what values were replaced by already.
        file: which declares them.
    """
    declared = f"{file} declares {_listed(classes)}"
    seen = set().union(*masks.values())
    strange, unused = seen - classes.keys(), sorted(classes.keys() - seen - {0})
    meant = unused[0] if len(strange) == len(unused) == 1 else None  # such as 255 for the only class, 1
    faults = []
    for path, values in sorted(masks.items()):
        if foreign := set(values) - classes.keys():
            hint = f"{declared}; {_offer(foreign, mapping or {}, meant)}" if len(foreign) <= OFFERED else declared
            faults.append(FieldError(file=path, reason=f"has the values {_listed(foreign)}", hint=hint))
    if masks and seen == {0}:  # files alone do not tell classes, so `class_values` refuses this
        reason = "every label is empty: a model can predict these images, none can learn from them"
        warnings.append(FieldError(file=file, reason=reason))
        return sorted(classes), faults
    warnings += [
        FieldError(file=file, reason=f"declares class {name!r} ({value}), which no label has")
        for value, name in classes.items()
        if value not in seen
    ]
    return sorted(classes), faults


def _offer(foreign: Iterable[int], mapping: Mapping[int, int], meant: int | None = None) -> str:
    """The option of the upload that makes these values background, or what they were meant as, ready to be given."""
    if meant is not None:
        as_meant, as_background = (remap.composed(mapping, dict.fromkeys(foreign, value)) for value in (meant, 0))
        return f"to make {_listed(foreign)} class {meant}: {as_meant}; to make it background: {as_background}"
    return f"to make {_listed(foreign)} background: {remap.composed(mapping, dict.fromkeys(foreign, 0))}"


def _sound(values: set[int], max_classes: int) -> bool:
    if 0 not in values or len(values) < 2:
        return False
    return len(values) == 2 or (max(values) == len(values) - 1 and len(values) <= max_classes)


def _listed(values: Iterable[int]) -> str:
    ordered = sorted(values)
    return ", ".join(map(str, ordered[:12])) + (f", … ({len(ordered)} values)" if len(ordered) > 12 else "")
