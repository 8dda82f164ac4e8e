"""The layout `folders`: `images/` and `masks/`, files of the same names, all images or all NIfTI volumes.

Where several people drew the same images, each has a folder: `masks/<annotator>/`. Every mask is then a sample of
its own, called `<image>@<annotator>`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

from service.datasets import facts
from service.datasets.archive import Archive, Member
from service.datasets.kinds import ENDINGS, NAMED, LayoutKind, Media
from service.datasets.pairs import MAX_NAME, Half, Layout, Pair, pair_up, split_ending
from service.errors import FieldError

FOLDERS = ("images", "masks")
OF_ANNOTATOR = 3  # parts of the path of a mask in an annotator's folder
MAX_ANNOTATOR = 100
EXPECTED = {
    Media.IMAGE: {"image": "images/{}.png", "mask": "masks/{}.png"},
    Media.VOLUME: {"image": "images/{}.nii.gz", "mask": "masks/{}.nii.gz"},
}


def read_folders(archive: Archive, top: str) -> Layout:
    """Pair images with masks by their names.

    Args:
        archive: the upload.
        top: where in it the two folders lie.
    """
    warnings: list[FieldError] = []
    inside: list[tuple[Member, PurePosixPath]] = []
    for member in archive.members:
        path = PurePosixPath(member.path).relative_to(top) if member.path.startswith(top) else None
        if member.path == top + facts.FILE:
            continue
        if path is None or path.parts[0] not in FOLDERS:
            warnings.append(FieldError(file=member.path, reason="is not in images/ or masks/, ignored"))
        else:
            inside.append((member, path))
    media = _media([path for _, path in inside])
    images, masks = Half("image"), Half("mask")
    by_annotator = any(path.parts[0] == "masks" and len(path.parts) == OF_ANNOTATOR for _, path in inside)
    of_people: defaultdict[str, Half] = defaultdict(lambda: Half("mask"))
    for member, path in inside:
        half = images if path.parts[0] == "images" else masks
        if half is masks and by_annotator and len(path.parts) == OF_ANNOTATOR:
            half = of_people[path.parts[1]]
        if fault := _fault(path, media, by_annotator):
            half.refuse(member, *fault)
        else:
            half.add(member, split_ending(path)[0])
    if by_annotator:
        pairs, faults = _pair_up_by_annotator(images, of_people, EXPECTED[media])
        faults += masks.faults
    else:
        pairs, faults = pair_up(images, masks, EXPECTED[media])
    return Layout(LayoutKind.FOLDERS, media, pairs, faults, warnings)


def _fault(path: PurePosixPath, media: Media, by_annotator: bool) -> tuple[str, str] | None:
    """Why a file cannot be used, and what to do, told from where it lies and how it is called."""
    ending = split_ending(path)[1]
    of_annotator = by_annotator and path.parts[0] == "masks"
    if of_annotator and len(path.parts) < OF_ANNOTATOR:
        return "is in no annotator's folder, as other masks are", "put it into masks/<annotator>/"
    if of_annotator and not _can_be_annotator(path.parts[1]):
        hint = f"at most {MAX_ANNOTATOR} printable characters, without '@'"
        return "is in a folder whose name cannot be an annotator's", hint
    if len(path.parts) != (OF_ANNOTATOR if of_annotator else 2):
        return f"is in a folder below {path.parts[0]}", "put the files directly into images/ and masks/"
    if ending in ENDINGS[media]:
        return None
    if any(ending in others for others in ENDINGS.values()):
        mixed = "a volume among images" if media is Media.IMAGE else "an image among volumes"
        return f"is {mixed}", "a dataset holds one kind of files: upload two datasets"
    return f"is not {NAMED[media]} by its name ({ending or 'no ending'})", "convert or remove it"


def _media(paths: list[PurePosixPath]) -> Media:
    """What most of the files are by their names."""
    endings = Counter(split_ending(path)[1] for path in paths)
    volumes, images = (sum(endings[ending] for ending in ENDINGS[media]) for media in (Media.VOLUME, Media.IMAGE))
    return Media.VOLUME if volumes > images else Media.IMAGE


def _pair_up_by_annotator(
    images: Half, masks: Mapping[str, Half], expected: Mapping[str, str]
) -> tuple[list[Pair], list[FieldError]]:
    """A sample for each mask; an image may have masks of some of the annotators only."""
    pairs, faults, drawn = [], list(images.faults), set()
    for annotator, half in sorted(masks.items()):
        faults += half.faults
        for name, mask in sorted(half.files.items()):
            drawn.add(name)
            sample = f"{name}@{annotator}"
            if name not in images.files:
                hint = f"add {expected['image'].format(name)} or leave this file out"
                faults.append(FieldError(file=mask.path, reason="has no image", hint=hint))
            elif len(sample) > MAX_NAME:
                reason = f"makes a sample named with {len(sample)} characters"
                faults.append(FieldError(file=mask.path, reason=reason, hint=f"at most {MAX_NAME} are accepted"))
            else:
                pairs.append(Pair(sample, images.files[name], mask, annotator=annotator))
    for name in sorted(images.files.keys() - drawn):
        hint = "add one to an annotator's folder or leave this file out"
        faults.append(FieldError(file=images.files[name].path, reason="has no mask", hint=hint))
    return sorted(pairs, key=lambda pair: pair.name), faults


def _can_be_annotator(name: str) -> bool:
    return "@" not in name and name.isprintable() and len(name) <= MAX_ANNOTATOR and name == name.strip()
