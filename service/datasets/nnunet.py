"""The layout `nnunet`: nnU-Net v2 raw, that is `imagesTr/`, `labelsTr/` and a `dataset.json` that declares classes.

The format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from service.datasets import facts
from service.datasets.archive import Archive, MemberFault
from service.datasets.kinds import LayoutKind, Media
from service.datasets.limits import ImportLimits
from service.datasets.pairs import Half, Layout, add_channels, pair_up, split_channel
from service.errors import FieldError, Invalid

FOLDERS = ("imagesTr", "labelsTr")
DESCRIPTION = "dataset.json"
MAX_DESCRIPTION = 1 << 20  # bytes
RGB = 3  # channels that one PNG may hold
MAX_CHANNELS = 64


class Description(BaseModel):
    """The part of `dataset.json` that says what the files are."""

    channel_names: dict[int, str] = Field(min_length=1)
    labels: dict[str, int | list[int]] = Field(min_length=2)
    file_ending: Literal[".nii.gz", ".nii", ".png"]

    @property
    def media(self) -> Media:
        """What the files are."""
        return Media.IMAGE if self.file_ending == ".png" else Media.VOLUME

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the channels, in order."""
        return tuple(name for _, name in sorted(self.channel_names.items()))


def read_nnunet(archive: Archive, top: str, limits: ImportLimits, scratch: Path) -> Layout:
    """Pair the training images with their labels; test images are left out.

    Args:
        archive: the upload.
        top: where in it the folders lie.
        limits: how many classes there may be.
        scratch: a folder for what is unpacked.

    Raises:
        Invalid: `dataset.json` is missing, or describes what cannot be trained.
    """
    about = _description(archive, top, limits, scratch)
    files = _files_of_a_case(archive, top, about)
    channels, labels = [Half("image") for _ in range(files)], Half("label")
    images = channels[0]
    ignored: Counter[str] = Counter()
    for member in archive.members:
        path = PurePosixPath(member.path).relative_to(top) if member.path.startswith(top) else None
        if path is None or path.parts[0] not in FOLDERS:
            if member.path not in {top + DESCRIPTION, top + facts.FILE}:
                ignored[member.path.rpartition("/")[0]] += 1
            continue
        half = images if path.parts[0] == "imagesTr" else labels
        name = path.name.removesuffix(about.file_ending)
        place = split_channel(name) if half is images else None
        if len(path.parts) != 2:
            half.refuse(member, f"is in a folder below {path.parts[0]}", f"put it directly into {path.parts[0]}/")
        elif name == path.name:
            half.refuse(member, f"does not end in {about.file_ending}", "dataset.json says that all files do")
        elif half is labels:
            labels.add(member, name)
        elif place is None:
            half.refuse(member, "has no number of a channel", f"call it {name}_0000{about.file_ending}")
        elif place[1] >= files:
            declared = f"declares {len(about.names)} channels ({', '.join(about.names)}), numbered from 0"
            half.refuse(member, f"is channel {place[1]} of case {place[0]!r}", f"dataset.json {declared}")
        else:
            channels[place[1]].add(member, place[0])
    expected = {"image": f"imagesTr/{{}}_0000{about.file_ending}", "label": f"labelsTr/{{}}{about.file_ending}"}
    pairs, faults = pair_up(images, labels, expected)
    pairs, more = add_channels(pairs, channels[1:], about.names, f"imagesTr/{{case}}_{{channel:04}}{about.file_ending}")
    warnings = [
        FieldError(file=f"{folder}/" if folder else None, reason=f"files that are ignored: {count}")
        for folder, count in ignored.items()
    ]
    classes = {value: name for name, value in about.labels.items() if isinstance(value, int)}
    # One PNG of one channel is trained as RGB, as any other image is.
    names = about.names if about.media is Media.VOLUME or len(about.names) > 1 else None
    return Layout(LayoutKind.NNUNET, about.media, pairs, faults + more, warnings, classes, channels=names)


def _files_of_a_case(archive: Archive, top: str, about: Description) -> int:
    """How many image files a case has: one for each channel, unless its PNG are RGB."""
    count = len(about.names)
    if about.media is Media.IMAGE and count == RGB:
        folder = f"{top}{FOLDERS[0]}/"
        names = (
            member.path.removesuffix(about.file_ending)
            for member in archive.members
            if member.path.startswith(folder) and member.path.endswith(about.file_ending)
        )
        if not any(place and place[1] for place in map(split_channel, names)):
            return 1
    return count


def _description(archive: Archive, top: str, limits: ImportLimits, scratch: Path) -> Description:
    """`dataset.json`, once it is known to describe what can be trained."""
    file = top + DESCRIPTION
    found = [member for member in archive.members if member.path == file]
    if not found:
        raise _unusable(FieldError(file=file, reason="is missing", hint="nnU-Net's raw format needs it: add it"))
    try:
        size = archive.extract(found[0], scratch / "description").size
    except MemberFault as fault:
        raise _unusable(FieldError(file=file, reason=fault.reason, hint=fault.hint)) from fault
    if size > MAX_DESCRIPTION:
        raise _unusable(FieldError(file=file, reason=f"has {size} bytes", hint=f"at most {MAX_DESCRIPTION} are read"))
    try:
        content: Any = json.loads((scratch / "description").read_bytes())
    except (ValueError, RecursionError) as error:
        raise _unusable(FieldError(file=file, reason=f"is not JSON: {error}", hint="write it anew")) from error
    if isinstance(content, dict) and "modality" in content:
        hint = "convert the dataset: nnUNetv2_convert_MSD_dataset"
        raise _unusable(FieldError(file=file, reason="is of nnU-Net v1 or the Decathlon", hint=hint))
    try:
        about = Description.model_validate(content)
    except ValidationError as error:
        raise _unusable(*_faults_of(file, error)) from error
    faults = [
        FieldError(file=file, reason=reason, hint=hint)
        for reason, hint in (*_channel_faults(about), *_label_faults(about, limits.max_classes))
    ]
    if faults:
        raise _unusable(*faults)
    return about


def _channel_faults(about: Description) -> Iterator[tuple[str, str]]:
    numbers = sorted(about.channel_names)
    if numbers != list(range(len(numbers))):
        yield f"has the channels {', '.join(map(str, numbers[:12]))}", "number them 0, 1, 2, … without a gap"
    if len(numbers) > MAX_CHANNELS:
        yield f"has {len(numbers)} channels", f"at most {MAX_CHANNELS} are accepted"


def _label_faults(about: Description, max_classes: int) -> Iterator[tuple[str, str]]:
    regions = [name for name, value in about.labels.items() if isinstance(value, list)]
    for name in regions:
        yield f"label {name!r} is a region of several values", "give each class one value of its own"
    if "ignore" in about.labels:
        yield "has an ignore label", "every voxel must have a class: leave out what is not annotated"
    values = sorted(value for value in about.labels.values() if isinstance(value, int))
    if values != list(range(len(values))) and not regions:
        listed = ", ".join(map(str, values[:12]))
        yield f"has the label values {listed}", "use 0 for the background, then 1, 2, … without a gap, each once"
    if len(values) > max_classes:
        yield f"has {len(values)} classes", f"at most {max_classes} are accepted"


def _faults_of(file: str, error: ValidationError) -> Iterator[FieldError]:
    hint = "see nnU-Net's dataset_format.md: channel_names, labels (name to value) and file_ending are needed"
    reasons: dict[str, str] = {}
    for fault in error.errors():  # several about one entry: what each type that it may have says
        reasons.setdefault(".".join(map(str, fault["loc"][:2])) or "the whole", fault["msg"])
    for where, reason in reasons.items():
        yield FieldError(file=file, reason=f"{where}: {reason}", hint=hint)


def _unusable(*faults: FieldError) -> Invalid:
    return Invalid("The dataset.json of the upload cannot be used; nothing was stored.", list(faults))
