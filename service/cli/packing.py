"""A dataset folder as one zip, the shape that the service takes."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from service.datasets.kinds import COCO_NAMES, DICOM_MAGIC, ENDINGS, LayoutKind, Media

PARTS = ("images", "masks")
NNUNET = ("imagesTr", "labelsTr")
DESCRIPTION = "dataset.json"  # of nnU-Net's raw format
ABOUT = "samples.csv"  # what is known of the samples


@contextmanager
def as_archive(source: Path, packed: Callable[[int, int], None] | None = None, layout: str = "auto") -> Iterator[Path]:
    """The zip to upload: `source` itself, or what of a folder belongs to a dataset packed into a temporary file.

    Images are compressed already, so packing stores them as they are. What nnU-Net keeps beside its training data is
    left out; of a folder of DICOM files everything that is none.

    Args:
        source: a zip or a folder.
        packed: is told after every file how many are packed, of how many.
        layout: as in `ImportOptions`; "auto" recognises it.

    Raises:
        ValueError: there is nothing to upload at `source`.
    """
    if source.is_file():
        if not zipfile.is_zipfile(source):
            raise ValueError(f"{source} is no zip archive. Give a zip, or a folder with images/ and masks/.")
        yield source
        return
    if not source.is_dir():
        raise ValueError(f"{source} does not exist. Give a zip, or a folder with images/ and masks/.")
    kind = recognised(source) if layout == "auto" else LayoutKind(layout)
    if kind is LayoutKind.COCO:
        files = _coco(source)
    elif kind is LayoutKind.DICOM:
        files = _dicom(source)
    else:
        files = _side_by_side(source, kind)
    if not files:
        raise ValueError(f"{source} has no files of the layout {kind}.")
    with _packed(source, {path: path.relative_to(source).as_posix() for path in files}, packed) as archive:
        yield archive


def recognised(source: Path) -> LayoutKind:
    """How a folder is laid out, by what is in it: two folders by their names, a description, DICOM files."""
    if all((source / part).is_dir() for part in PARTS):
        return LayoutKind.FOLDERS
    if (source / NNUNET[0]).is_dir() and not (source / PARTS[0]).is_dir():
        return LayoutKind.NNUNET
    described = [path for path in _inside(source) if path.suffix.lower() == ".json"]
    if any(COCO_NAMES.search(path.name) for path in described):
        return LayoutKind.COCO
    if any(map(_is_dicom, _inside(source))):
        return LayoutKind.DICOM
    return LayoutKind.COCO if described else LayoutKind.FOLDERS


def _side_by_side(source: Path, kind: LayoutKind) -> list[Path]:
    """The files of the two folders."""
    parts = NNUNET if kind is LayoutKind.NNUNET else PARTS
    missing = [part for part in parts if not (source / part).is_dir()]
    if missing:
        raise ValueError(f"{source} has no folder {' and no folder '.join(missing)}; files are paired by name.")
    files = [path for part in parts for path in sorted((source / part).iterdir()) if path.is_file()]
    if parts is PARTS:  # annotators may have folders of their own
        files += sorted(path for path in (source / PARTS[1]).glob("*/*") if path.is_file())
    if parts is NNUNET and (source / DESCRIPTION).is_file():
        files.append(source / DESCRIPTION)
    if (source / ABOUT).is_file():
        files.append(source / ABOUT)
    return files


def _coco(source: Path) -> list[Path]:
    """The descriptions, and the images in any folders."""
    return [path for path in _inside(source) if path.suffix.lower() in (".json", *ENDINGS[Media.IMAGE])]


def _dicom(source: Path) -> list[Path]:
    """Every DICOM file, told by its content."""
    return [path for path in _inside(source) if _is_dicom(path)]


def _inside(source: Path) -> Iterator[Path]:
    """The files below a folder that are not hidden, in the order of their paths."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(source).parts):
            yield path


def _is_dicom(path: Path) -> bool:
    start, magic = DICOM_MAGIC
    with path.open("rb") as file:
        return file.read(start + len(magic))[start:] == magic


@contextmanager
def masks_as_archive(source: Path | None) -> Iterator[Path | None]:
    """The zip of corrected masks to send: `source` itself, or the files of a folder as `masks/…`; None without any.

    A folder of `images/` and `masks/` holds new samples, and perhaps corrected masks among them; it is packed as it is.

    Raises:
        ValueError: there are no masks at `source`.
    """
    if source is None or source.is_file():
        yield source
        return
    files = (
        {path: f"masks/{path.name}" for path in sorted(source.iterdir()) if path.is_file()} if source.is_dir() else {}
    )
    files |= {
        path: f"{part}/{path.name}"
        for part in PARTS
        if (source / part).is_dir()
        for path in sorted((source / part).iterdir())
        if path.is_file()
    }
    if not files:
        raise ValueError(f"{source} holds no masks. Give a folder of masks named as their samples, or a zip of masks/.")
    with _packed(source, files) as archive:
        yield archive


@contextmanager
def _packed(
    source: Path, files: Mapping[Path, str], packed: Callable[[int, int], None] | None = None
) -> Iterator[Path]:
    """A temporary zip of files, under the names given."""
    with tempfile.TemporaryDirectory(prefix="dale-upload-") as scratch:
        archive = Path(scratch) / f"{source.resolve().name}.zip"
        # Times before 1980, which zip cannot tell, are no reason to refuse a file.
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as pack:
            for done, (path, name) in enumerate(files.items(), start=1):
                pack.write(path, name)
                if packed:
                    packed(done, len(files))
        yield archive
