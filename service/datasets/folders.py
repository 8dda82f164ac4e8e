"""The layout `folders`: `images/` and `masks/`, files of the same names, all images or all NIfTI volumes."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

from service.datasets import facts
from service.datasets.archive import Archive, Member
from service.datasets.pairs import ENDINGS, NAMED, Half, Layout, LayoutKind, Media, pair_up, split_ending
from service.errors import FieldError

FOLDERS = ("images", "masks")
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
    for member, path in inside:
        half = images if path.parts[0] == "images" else masks
        name, ending = split_ending(path)
        if len(path.parts) != 2:
            half.refuse(
                member, f"is in a folder below {path.parts[0]}", "put the files directly into images/ and masks/"
            )
        elif ending in ENDINGS[media]:
            half.add(member, name)
        elif any(ending in others for others in ENDINGS.values()):
            mixed = "a volume among images" if media is Media.IMAGE else "an image among volumes"
            half.refuse(member, f"is {mixed}", "a dataset holds one kind of files: upload two datasets")
        else:
            reason = f"is not {NAMED[media]} by its name ({ending or 'no ending'})"
            half.refuse(member, reason, "convert or remove it")
    pairs, faults = pair_up(images, masks, EXPECTED[media])
    return Layout(LayoutKind.FOLDERS, media, pairs, faults, warnings)


def _media(paths: list[PurePosixPath]) -> Media:
    """What most of the files are by their names."""
    endings = Counter(split_ending(path)[1] for path in paths)
    volumes, images = (sum(endings[ending] for ending in ENDINGS[media]) for media in (Media.VOLUME, Media.IMAGE))
    return Media.VOLUME if volumes > images else Media.IMAGE
