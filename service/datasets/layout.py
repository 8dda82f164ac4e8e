"""Which layout an archive has, told from its folders, and the archive read by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from service.datasets import facts, folders, nnunet
from service.datasets.archive import LAYOUT_HINT, Archive, Member
from service.datasets.formats import coco, dicom
from service.datasets.kinds import COCO_NAMES, LayoutKind
from service.datasets.limits import ImportLimits
from service.datasets.pairs import Layout, tops
from service.errors import FieldError, Invalid

FOLDERS = {LayoutKind.FOLDERS: folders.FOLDERS, LayoutKind.NNUNET: nnunet.FOLDERS}


def recognise(members: Iterable[Member], holds_dicom: Callable[[], bool] = lambda: False) -> LayoutKind:
    """The layout whose two folders are there, else that of a description or of the files' content.

    Args:
        members: what there is.
        holds_dicom: looks whether there are DICOM files, where names do not tell.

    Raises:
        Invalid: it is none, or it has the folders of both.
    """
    members = list(members)
    paths = [member.path for member in members]
    found = [kind for kind, names in FOLDERS.items() if tops(paths, names)]
    if len(found) == 1:
        return found[0]
    if found:
        raise _refused("has the folders of several layouts", f"say which one is meant: layout={' or '.join(found)}")
    half = any(part in nnunet.FOLDERS for path in paths for part in path.split("/")[:2])
    if any(COCO_NAMES.search(path) for path in paths) and not half:
        return LayoutKind.COCO
    if holds_dicom():
        return LayoutKind.DICOM
    if coco.descriptions(members) and not half:
        return LayoutKind.COCO
    raise _refused(_seen(paths, "has no images/ and masks/, nor imagesTr/ and labelsTr/"), LAYOUT_HINT)


def read_layout(archive: Archive, limits: ImportLimits, scratch: Path, asked: LayoutKind | None = None) -> Layout:
    """Pair images with masks; the folders may lie in one common folder.

    Args:
        archive: the upload.
        limits: what is accepted.
        scratch: a folder for what is unpacked.
        asked: the layout to read it by; None recognises it.

    Raises:
        Invalid: it has no such layout, or has it more than once; or what describes it cannot be used.
    """
    kind = asked or recognise(archive.members, lambda: dicom.holds_dicom(archive))
    if kind is LayoutKind.COCO:
        return coco.read_coco(archive, limits, scratch)
    if kind is LayoutKind.DICOM:
        return dicom.read_dicom(archive, limits, scratch)
    names, paths = FOLDERS[kind], [member.path for member in archive.members]
    both = f"{names[0]}/ and {names[1]}/"
    whole = tops(paths, names)
    if not whole:
        raise _refused(_seen(paths, f"has no {both}"), LAYOUT_HINT)
    if len(whole) > 1:
        places = ", ".join(sorted(top or "the top of the zip" for top in whole))
        raise _refused(f"has {both} more than once: in {places}", LAYOUT_HINT)
    if kind is LayoutKind.NNUNET:
        layout = nnunet.read_nnunet(archive, whole[0], limits, scratch)
    else:
        layout = folders.read_folders(archive, whole[0])
    about = [member for member in archive.members if member.path == whole[0] + facts.FILE]
    return replace(layout, facts=about[0] if about else None)


def _seen(paths: list[str], missing: str) -> str:
    seen = sorted({path.rpartition("/")[0] or path for path in paths})[:5]
    return f"{missing}; it has {', '.join(seen)}" if seen else "is empty"


def _refused(reason: str, hint: str) -> Invalid:
    return Invalid(
        "The archive does not have the expected layout.", [FieldError(field="file", reason=reason, hint=hint)]
    )
