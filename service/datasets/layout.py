"""Which image belongs to which mask: `images/` and `masks/`, paired by file stem."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath

from service.datasets.archive import LAYOUT_HINT, Archive, Member
from service.errors import FieldError, Invalid

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
MAX_NAME = 200
FOLDERS = ("images", "masks")


@dataclass(frozen=True)
class Pair:
    """A sample as it lies in the archive."""

    name: str
    image: Member
    mask: Member


@dataclass(frozen=True)
class Layout:
    """The pairs in the order of their names, and what is wrong with the rest."""

    pairs: list[Pair]
    faults: list[FieldError]
    warnings: list[FieldError]


def read_layout(archive: Archive) -> Layout:
    """Pair images with masks; the two folders may lie in one common folder.

    Raises:
        Invalid: there is no such pair of folders, or more than one.
    """
    top = _common_folder([member.path for member in archive.members])
    faults: list[FieldError] = []
    warnings: list[FieldError] = []
    found: dict[str, dict[str, Member]] = {folder: {} for folder in FOLDERS}
    for member in archive.members:
        path = PurePosixPath(member.path).relative_to(top) if member.path.startswith(top) else None
        if path is None or path.parts[0] not in FOLDERS:
            warnings.append(FieldError(file=member.path, reason="is not in images/ or masks/, ignored"))
            continue
        name = unicodedata.normalize("NFC", path.stem)
        fault = _name_fault(path, name)
        others = found[path.parts[0]]
        if fault is None and name in others:
            fault = ("has the same name as " + others[name].path, "give every sample its own name")
        if fault:
            faults.append(FieldError(file=member.path, reason=fault[0], hint=fault[1]))
        else:
            others[name] = member
    images, masks = found["images"], found["masks"]
    for own, other, what in ((images, masks, "mask"), (masks, images, "image")):
        faults += [
            FieldError(
                file=own[name].path,
                reason=f"has no {what}",
                hint=f"add {what}s/{name}.png or leave this file out",
            )
            for name in sorted(own.keys() - other.keys())
        ]
    pairs = [Pair(name, images[name], masks[name]) for name in sorted(images.keys() & masks.keys())]
    return Layout(pairs, faults, warnings)


def _common_folder(paths: list[str]) -> str:
    tops: dict[str, set[str]] = {}
    for path in paths:
        parts = path.split("/")
        if len(parts) > 1 and parts[0] in FOLDERS:
            tops.setdefault("", set()).add(parts[0])
        elif len(parts) > 2 and parts[1] in FOLDERS:
            tops.setdefault(parts[0] + "/", set()).add(parts[1])
    whole = [top for top, folders in tops.items() if len(folders) == len(FOLDERS)]
    if len(whole) == 1:
        return whole[0]
    if whole:
        places = ", ".join(sorted(top or "the top of the zip" for top in whole))
        reason = f"has images/ and masks/ more than once: in {places}"
    else:
        seen = sorted({"/".join(path.split("/")[:-1]) or path for path in paths})[:5]
        reason = f"has no images/ and masks/; it has {', '.join(seen)}" if seen else "is empty"
    raise Invalid(
        "The archive does not have the expected layout.",
        [FieldError(field="file", reason=reason, hint=LAYOUT_HINT)],
    )


def _name_fault(path: PurePosixPath, name: str) -> tuple[str, str] | None:
    if len(path.parts) != 2:
        return "is in a folder below " + path.parts[0], "put the files directly into images/ and masks/"
    if path.suffix.lower() not in FORMATS:
        return f"is not PNG, JPEG or TIFF by its name ({path.suffix or 'no ending'})", "convert or remove it"
    if name.strip(". ") == "" or name != name.strip():
        return "has no usable name", "rename it to letters and digits"
    if len(name) > MAX_NAME:
        return f"has a name of {len(name)} characters", f"at most {MAX_NAME} are accepted"
    return None
