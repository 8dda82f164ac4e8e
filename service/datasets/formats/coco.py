"""The layout `coco`: one JSON file in COCO's format, and the images that it names, in any folders."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from service.datasets.archive import Archive, Extracted, Member
from service.datasets.formats.coco_json import CocoImage, Description, read_description, unusable
from service.datasets.formats.coco_shapes import Drawn
from service.datasets.kinds import COCO_NAMES, ENDINGS, LayoutKind, Media
from service.datasets.limits import ImportLimits
from service.datasets.pairs import Half, Layout, Pair, split_ending
from service.errors import FieldError


@dataclass(frozen=True)
class CocoMask:
    """All annotations of an image as one mask, 8 bits a pixel; where they overlap the smaller one lies above."""

    file: str
    image: CocoImage

    @property
    def path(self) -> str:
        """The description, and which image of it."""
        return f"{self.file} (image {self.image.id})"

    def extract(self, archive: Archive, target: Path) -> Extracted:
        """Draw it as PNG; notes what hides another class, and what covers no pixel."""
        size = (self.image.height, self.image.width)
        drawn = [(Drawn(instance.shape, *size), instance) for instance in self.image.instances]
        notes = [f"{instance.annotation} covers no pixel" for shape, instance in drawn if shape.area == 0]
        mask = np.zeros(size, dtype=np.uint8)
        hidden = 0
        for shape, instance in sorted(drawn, key=lambda one: -one[0].area):
            pixels = shape.pixels()
            hidden += int(np.count_nonzero(pixels & (mask != 0) & (mask != instance.value)))
            mask[pixels] = instance.value
        if hidden:
            share = hidden / np.count_nonzero(mask)
            notes.append(f"has annotations of different classes over each other ({share:.1%} of what is annotated)")
        Image.fromarray(mask).save(target, "PNG")
        with target.open("rb") as file:
            return Extracted(target.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest(), tuple(notes))


def descriptions(members: Iterable[Member]) -> list[Member]:
    """The JSON files that may describe the dataset: those that are named as usual, else all."""
    files = [member for member in members if member.path.lower().endswith(".json")]
    return [member for member in files if COCO_NAMES.search(member.path)] or files


def read_coco(archive: Archive, limits: ImportLimits, scratch: Path) -> Layout:
    """Pair every image of the description with its annotations; one without any has an empty mask.

    Args:
        archive: the upload.
        limits: what is accepted.
        scratch: a folder for what is unpacked.

    Raises:
        Invalid: there is not one description, or it is not in COCO's format.
    """
    found = descriptions(archive.members)
    if len(found) != 1:
        names = ", ".join(member.path for member in found[:5])
        reason = f"has several descriptions: {names}" if found else "has no description in COCO's format"
        raise unusable("annotations.json", reason, "put one .json with images, categories and annotations into the zip")
    about = read_description(archive, found[0], limits, scratch)
    images = _files(archive, about)
    stems = Counter(_stem(member) for member in images.values())
    half = Half("image")
    of_file = {}
    for key, member in images.items():
        short, ending = _stem(member), split_ending(PurePosixPath(member.path))[1]
        if ending not in ENDINGS[Media.IMAGE]:
            half.refuse(member, f"is not PNG, JPEG or TIFF by its name ({ending or 'no ending'})", "convert it")
            continue
        half.add(member, short if stems[short] == 1 else _joined(member))
        of_file[member.path] = about.images[key]
    pairs = [
        Pair(name, source, CocoMask(about.file, of_file[source.path])) for name, source in sorted(half.files.items())
    ]
    used = {about.file, *(member.path for member in images.values())}
    warnings = _ignored([member.path for member in archive.members if member.path not in used], about.file)
    return Layout(
        LayoutKind.COCO, Media.IMAGE, pairs, about.faults + half.faults, warnings, about.classes, declared_in=about.file
    )


def _files(archive: Archive, about: Description) -> dict[int, Member]:
    """The file of each image, by its id; what has none of its own is a fault of the description."""
    by_name: defaultdict[str, list[Member]] = defaultdict(list)
    for member in archive.members:
        by_name[PurePosixPath(member.path).name].append(member)
    files: dict[int, Member] = {}
    taken: dict[str, int] = {}
    for key, image in about.images.items():
        name = image.file_name.replace("\\", "/").removeprefix("./")
        fitting = [m for m in by_name[name.rpartition("/")[2]] if f"/{m.path}".endswith(f"/{name}")]
        whole = [member for member in fitting if member.path == name] or fitting
        shown = image.file_name[:200]
        if not whole:
            about.refuse(f"image {key}: there is no file {shown!r}", "add it, or remove the image from the description")
        elif len(whole) > 1:
            about.refuse(f"image {key}: {shown!r} is in several folders", "say in file_name which one it is")
        elif whole[0].path in taken:
            about.refuse(f"image {key}: has the file of image {taken[whole[0].path]}", "list every file once")
        else:
            files[key] = whole[0]
            taken[whole[0].path] = key
    return files


def _ignored(paths: list[str], description: str) -> list[FieldError]:
    """One warning for each folder of files that the description does not name."""
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        folders[path.rpartition("/")[0]].append(path)
    return [
        FieldError(
            file=inside[0],
            reason=f"is not listed in {description}, ignored"
            + (f", and {len(inside) - 1} more of its folder" if len(inside) > 1 else ""),
        )
        for inside in folders.values()
    ]


def _stem(member: Member) -> str:
    return split_ending(PurePosixPath(member.path))[0]


def _joined(member: Member) -> str:
    path = PurePosixPath(member.path)
    return "_".join([*path.parts[:-1], _stem(member)])
