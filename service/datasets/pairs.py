"""What every layout is read into: pairs of an image and its mask, and what is wrong with the rest."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from service.datasets.archive import Member
from service.datasets.formats.sources import Source, source_of
from service.datasets.kinds import LayoutKind, Media
from service.errors import FieldError

MAX_NAME = 200


@dataclass(frozen=True)
class Pair:
    """A sample as it lies in the archive."""

    name: str
    image: Source
    mask: Source
    channels: tuple[Source, ...] = ()  # the image files behind the first, where each channel has its own
    annotator: str | None = None  # where the layout says it; the name is then that of the image, "@" and this

    @property
    def image_name(self) -> str:
        """What its image is called; several samples may have the same."""
        return self.name if self.annotator is None else self.name.removesuffix(f"@{self.annotator}")


@dataclass(frozen=True)
class Layout:
    """The pairs in the order of their names, and what is wrong with the rest.

    Attributes:
        kind: how the archive is laid out.
        media: what its files are.
        pairs: the samples.
        faults: files that cannot be used.
        warnings: what is accepted and still deserves a look.
        classes: the name of each class by its value in the masks, where the dataset declares them.
        declared_in: the file that does.
        channels: the names of the channels that a network will see, where the dataset declares them.
        facts: the file that says more of the samples, if there is one.
    """

    kind: LayoutKind
    media: Media
    pairs: list[Pair]
    faults: list[FieldError]
    warnings: list[FieldError]
    classes: Mapping[int, str] | None = None
    declared_in: str = "dataset.json"
    channels: tuple[str, ...] | None = None
    facts: Member | None = None


class Half:
    """One of the two folders on its way into pairs: the files by sample, and the faults met on the way."""

    def __init__(self, what: str) -> None:
        self.what = what  # "image", "mask" or "label": what a file of this folder is
        self.files: dict[str, Source] = {}
        self.faults: list[FieldError] = []

    def add(self, member: Member, name: str) -> None:
        """Take a file as the one of the sample `name`, unless it cannot be."""
        name = unicodedata.normalize("NFC", name)
        if fault := name_fault(name):
            self.refuse(member, *fault)
        elif name in self.files:
            self.refuse(member, "has the same name as " + self.files[name].path, "give every sample its own name")
        else:
            self.files[name] = source_of(member)

    def refuse(self, member: Source, reason: str, hint: str) -> None:
        """Note why a file cannot be used."""
        self.faults.append(FieldError(file=member.path, reason=reason, hint=hint))


def pair_up(images: Half, masks: Half, expected: Mapping[str, str]) -> tuple[list[Pair], list[FieldError]]:
    """The samples that both folders have, and every fault of the two.

    Args:
        images: the images.
        masks: the masks.
        expected: by `Half.what`, how the file of a sample would be called; `{}` stands for the sample.
    """
    faults = images.faults + masks.faults
    for own, other in ((images, masks), (masks, images)):
        faults += [
            FieldError(
                file=own.files[name].path,
                reason=f"has no {other.what}",
                hint=f"add {expected[other.what].format(name)} or leave this file out",
            )
            for name in sorted(own.files.keys() - other.files.keys())
        ]
    both = sorted(images.files.keys() & masks.files.keys())
    return [Pair(name, images.files[name], masks.files[name]) for name in both], faults


def split_channel(name: str) -> tuple[str, int] | None:
    """A case and the number of the channel, of a file called as nnU-Net has it (`case_0001`); None if it is not."""
    found = re.fullmatch(r"(.+)_(\d{4})", name)
    return (found[1], int(found[2])) if found else None


def add_channels(
    pairs: list[Pair], further: Sequence[Half], names: Sequence[str], expected: str
) -> tuple[list[Pair], list[FieldError]]:
    """Pairs with the files of their further channels, and a fault for each that is missing, or of no case.

    Args:
        pairs: of the files of the first channel.
        further: the files of each channel behind it.
        names: of all channels.
        expected: how the file of a channel would be called; `{case}` and `{channel}` stand for the two.
    """
    faults = [fault for half in further for fault in half.faults]
    cases = {pair.name for pair in pairs}
    complete = []
    for pair in pairs:
        missing = [number for number, half in enumerate(further, start=1) if pair.name not in half.files]
        faults += [
            FieldError(
                file=pair.image.path,
                reason=f"case {pair.name!r} has no channel {number} ({names[number]})",
                hint=f"add {expected.format(case=pair.name, channel=number)} or leave the case out",
            )
            for number in missing
        ]
        if not missing:
            complete.append(replace(pair, channels=tuple(half.files[pair.name] for half in further)))
    for number, half in enumerate(further, start=1):
        faults += [
            FieldError(
                file=half.files[name].path,
                reason=f"is channel {number} ({names[number]}) of case {name!r}, which lacks channel 0 or its mask",
                hint=f"add {expected.format(case=name, channel=0)} and its mask, or leave this file out",
            )
            for name in sorted(half.files.keys() - cases)
        ]
    return complete, faults


def split_ending(path: PurePosixPath) -> tuple[str, str]:
    """A file's name without its ending, and the ending in lower case; `.nii.gz` is one ending."""
    ending = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix
    return path.name[: len(path.name) - len(ending)], ending.lower()


def tops(paths: Iterable[str], folders: tuple[str, str]) -> list[str]:
    """Where in the archive both folders lie side by side: at its top (""), or in a folder of it ("name/")."""
    found: dict[str, set[str]] = {}
    for path in paths:
        parts = path.split("/")
        if len(parts) > 1 and parts[0] in folders:
            found.setdefault("", set()).add(parts[0])
        elif len(parts) > 2 and parts[1] in folders:
            found.setdefault(parts[0] + "/", set()).add(parts[1])
    return [top for top, seen in found.items() if len(seen) == len(folders)]


def name_fault(name: str) -> tuple[str, str] | None:
    """Why a sample cannot be called so, and what to do; None if it can."""
    if name.strip(". ") == "" or name != name.strip():
        return "has no usable name", "rename it to letters and digits"
    if len(name) > MAX_NAME:
        return f"has a name of {len(name)} characters", f"at most {MAX_NAME} are accepted"
    return None
